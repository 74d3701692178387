#include <nlohmann/json.hpp>

#include "daemon/config.h"
#include "daemon/config_schema.h"
#include "daemon/config_values.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;

// Writes the effective config as YAML that ParseConfig reads back.
class Printer final : public FieldVisitor {
 public:
  explicit Printer(const std::map<std::string, std::string>& origins) : origins_(origins) {}

  void Integer(std::string_view key,
               int64_t& value,
               const IntegerField& /*field*/,
               std::string_view /*doc*/) override {
    Line(key, std::to_string(value));
  }
  void Bytes(std::string_view key,
             int64_t& value,
             const IntegerField& /*field*/,
             std::string_view /*doc*/) override {
    Line(key, FormatBytes(value));
  }
  void Time(std::string_view key,
            Duration& value,
            Duration /*max*/,
            std::string_view /*doc*/) override {
    Line(key, FormatDuration(value));
  }
  void Bool(std::string_view key, bool& value, std::string_view /*doc*/) override {
    Line(key, value ? "true" : "false");
  }
  void String(std::string_view key,
              std::string& value,
              const StringField& /*field*/,
              std::string_view /*doc*/) override {
    Line(key, Json(value).dump());  // a JSON string is a YAML string
  }
  void Strings(std::string_view key,
               std::vector<std::string>& values,
               const StringField& /*field*/,
               size_t /*size_max*/,
               std::string_view /*doc*/) override {
    Line(key, Json(values).dump());
  }
  void Enter(std::string_view key, std::string_view /*doc*/) override {
    text_ += absl::StrFormat("%s%s:\n", Indent(), key);
    Push(std::string(key));
  }
  void Leave() override { paths_.pop_back(); }
  size_t BeginList(std::string_view key,
                   size_t size,
                   const IntegerField& /*length*/,
                   std::string_view /*doc*/) override {
    text_ += absl::StrFormat("%s%s:%s\n", Indent(), key, size == 0 ? " []" : "");
    list_key_ = key;
    return size;
  }
  void EnterItem(size_t index) override {
    Push(absl::StrFormat("%s[%d]", list_key_, index));
    item_starts_ = true;
  }
  void EndList() override {}

  const std::string& text() const { return text_; }

 private:
  void Push(const std::string& name) {
    paths_.push_back(paths_.empty() ? name : paths_.back() + "." + name);
  }
  std::string Indent() const { return std::string(2 * paths_.size(), ' '); }
  void Line(std::string_view key, const std::string& value) {
    const std::string path =
        paths_.empty() ? std::string(key) : absl::StrFormat("%s.%s", paths_.back(), key);
    std::string indent = Indent();
    if (item_starts_) {
      indent.replace(indent.size() - 2, 2, "- ");
      item_starts_ = false;
    }
    const auto origin = origins_.find(path);
    text_ += absl::StrFormat("%s%s: %s  # %s\n",
                             indent,
                             key,
                             value,
                             origin == origins_.end() ? "default" : origin->second);
  }

  const std::map<std::string, std::string>& origins_;
  std::vector<std::string> paths_;
  std::string list_key_;
  bool item_starts_ = false;
  std::string text_;
};

// Builds the JSON Schema. The stack holds the object schemas that are open.
class SchemaWriter final : public FieldVisitor {
 public:
  SchemaWriter() { open_.push_back(Object("")); }

  void Integer(std::string_view key,
               int64_t& value,
               const IntegerField& field,
               std::string_view doc) override {
    Json schema = {{"type", "integer"}, {"minimum", field.min}, {"maximum", field.max}};
    Add(key, std::move(schema), Json(value), field.required, doc);
  }
  void Bytes(std::string_view key,
             int64_t& value,
             const IntegerField& field,
             std::string_view doc) override {
    Json schema = {{"type", {"integer", "string"}},
                   {"pattern", "^(0|[1-9][0-9]*)(B|KiB|MiB|GiB|TiB)?$"}};
    Add(key, std::move(schema), Json(FormatBytes(value)), field.required, doc);
  }
  void Time(std::string_view key,
            Duration& value,
            Duration /*max*/,
            std::string_view doc) override {
    Json schema = {{"type", {"integer", "string"}}, {"pattern", "^(0|[1-9][0-9]*(ms|s|min|h))$"}};
    Add(key, std::move(schema), Json(FormatDuration(value)), false, doc);
  }
  void Bool(std::string_view key, bool& value, std::string_view doc) override {
    Add(key, {{"type", "boolean"}}, Json(value), false, doc);
  }
  void String(std::string_view key,
              std::string& value,
              const StringField& field,
              std::string_view doc) override {
    Json schema = {{"type", "string"}};
    if (!field.choices.empty()) {
      schema["enum"] = field.choices;
    }
    Add(key, std::move(schema), Json(value), field.required, doc);
  }
  void Strings(std::string_view key,
               std::vector<std::string>& values,
               const StringField& field,
               size_t size_max,
               std::string_view doc) override {
    Json item = {{"type", "string"}};
    if (!field.choices.empty()) {
      item["enum"] = field.choices;
    }
    // The name "items" is left to lists of maps: this is one value.
    Json schema = {{"type", "array"}, {"prefixItems", Json::array({item})}, {"maxItems", size_max}};
    Add(key, std::move(schema), Json(values), field.required, doc);
  }
  void Enter(std::string_view key, std::string_view doc) override {
    keys_.emplace_back(key);
    open_.push_back(Object(doc));
  }
  void Leave() override {
    Json closed = std::move(open_.back());
    open_.pop_back();
    open_.back()["properties"][keys_.back()] = std::move(closed);
    keys_.pop_back();
  }
  size_t BeginList(std::string_view key,
                   size_t /*size*/,
                   const IntegerField& length,
                   std::string_view doc) override {
    if (length.required) {
      open_.back()["required"].push_back(key);
    }
    list_key_ = key;
    list_ = {{"type", "array"},
             {"description", doc},
             {"minItems", length.min},
             {"maxItems", length.max}};
    return 1;  // one item shows the shape of all
  }
  void EnterItem(size_t /*index*/) override { Enter(list_key_, ""); }
  void EndList() override {
    Json& slot = open_.back()["properties"][list_key_];
    list_["items"] = std::move(slot);
    slot = std::move(list_);
  }

  std::string Finish() {
    Json root = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                 {"title", "inferd configuration"}};
    root.update(open_.back());
    return root.dump(2) + "\n";
  }

 private:
  static Json Object(std::string_view doc) {
    Json object = {{"type", "object"}};
    if (!doc.empty()) {
      object["description"] = doc;
    }
    object["additionalProperties"] = false;
    object["properties"] = Json::object();
    object["required"] = Json::array();
    return object;
  }
  void Add(std::string_view key, Json schema, Json value, bool required, std::string_view doc) {
    schema["description"] = doc;
    if (required) {
      open_.back()["required"].push_back(key);
    } else {
      schema["default"] = std::move(value);
    }
    open_.back()["properties"][std::string(key)] = std::move(schema);
  }

  std::vector<Json> open_;
  std::vector<std::string> keys_;
  std::string list_key_;
  Json list_;
};

}  // namespace

std::string PrintConfig(const ConfigResult& result) {
  Config config = result.config.value_or(Config());
  Printer printer(result.origins);
  VisitConfig(printer, config);
  return printer.text();
}

std::string PrintConfigSchema() {
  Config defaults;
  SchemaWriter writer;
  VisitConfig(writer, defaults);
  return writer.Finish();
}

}  // namespace inferd
