#include "daemon/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/utf8.h"
#include "daemon/config_schema.h"
#include "daemon/config_values.h"
#include "daemon/listen_address.h"

namespace inferd {
namespace {

// Levenshtein's distance.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

// ` (did you mean "x"?)`, or nothing if nothing is near.
std::string DidYouMean(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best.empty() ? "" : absl::StrFormat(" (did you mean \"%s\"?)", best);
}

std::string Join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : absl::StrFormat("%s.%s", path, key);
}

// Fills a Config from a YAML tree. Collects every error instead of stopping at the first.
class Reader final : public FieldVisitor {
 public:
  Reader(const YAML::Node& root,
         const std::string& file,
         const std::map<std::string, std::string>& overrides)
      : file_(file), overrides_(overrides) {
    Open(root, "");
  }

  void Integer(std::string_view key,
               int64_t& value,
               const IntegerField& field,
               std::string_view /*doc*/) override {
    Number(key, value, field, ParseInteger, [](int64_t number) { return std::to_string(number); });
  }
  void Bytes(std::string_view key,
             int64_t& value,
             const IntegerField& field,
             std::string_view /*doc*/) override {
    Number(key, value, field, ParseBytes, FormatBytes);
  }
  void Time(std::string_view key,
            Duration& value,
            Duration max,
            std::string_view /*doc*/) override {
    int64_t nanos = value.count();
    const auto parse = [](std::string_view text) -> StatusOr<int64_t> {
      ASSIGN_OR_RETURN(const Duration duration, ParseDuration(text));
      return duration.count();
    };
    Number(key, nanos, {.min = 0, .max = max.count(), .required = false}, parse, [](int64_t n) {
      return FormatDuration(Duration(n));
    });
    value = Duration(nanos);
  }
  void Bool(std::string_view key, bool& value, std::string_view /*doc*/) override {
    const YAML::Node node = Scalar(key, false);
    if (!node.IsDefined()) {
      return;
    }
    if (node.Scalar() != "true" && node.Scalar() != "false") {
      Error(node, key, absl::StrFormat("\"%s\" is neither true nor false", node.Scalar()));
      return;
    }
    value = node.Scalar() == "true";
  }
  void String(std::string_view key,
              std::string& value,
              const StringField& field,
              std::string_view /*doc*/) override {
    const YAML::Node node = Scalar(key, field.required);
    if (!node.IsDefined()) {
      return;
    }
    value = node.Scalar();
    if (!field.choices.empty() &&
        std::find(field.choices.begin(), field.choices.end(), value) == field.choices.end()) {
      Error(node,
            key,
            absl::StrFormat("unknown value \"%s\"%s", value, DidYouMean(value, field.choices)));
    } else if (field.check) {
      const Status status = field.check(value);
      if (!status.ok()) {
        Error(node, key, std::string(Message(status)));
      }
    }
  }
  void Enter(std::string_view key, std::string_view /*doc*/) override {
    Open(Child(key), Join(open_.back().path, key));
  }
  void Leave() override {
    ReportStrangers();
    open_.pop_back();
  }
  size_t BeginList(std::string_view key,
                   size_t /*size*/,
                   const IntegerField& length,
                   std::string_view /*doc*/) override {
    const YAML::Node node = Child(key);
    list_.reset(node);
    list_path_ = Join(open_.back().path, key);
    if (!node.IsDefined()) {
      if (length.required) {
        Error(open_.back().node, key, "is missing");
      }
      return 0;
    }
    if (!node.IsSequence() || node.size() < static_cast<size_t>(length.min) ||
        node.size() > static_cast<size_t>(length.max)) {
      Error(node, key, absl::StrFormat("must be a list of %d to %d items", length.min, length.max));
      return 0;
    }
    return node.size();
  }
  void EnterItem(size_t index) override {
    Open(list_[index], absl::StrFormat("%s[%d]", list_path_, index));
  }
  void EndList() override {}

  // After the visit.
  void Finish() { Leave(); }
  std::vector<std::string> TakeErrors() { return std::move(errors_); }
  std::map<std::string, std::string> TakeOrigins() { return std::move(origins_); }

  // "file:3:7", or the override that the value came from.
  std::string Where(const YAML::Node& node, const std::string& path) const {
    for (const auto& [key, origin] : overrides_) {
      if (path == key || path.starts_with(key + ".")) {
        return origin;
      }
    }
    const YAML::Mark mark = node.Mark();
    // A node that was made, not read, has no place: the file's start stands for it.
    return absl::StrFormat(
        "%s:%d:%d", file_, std::max(mark.line, 0) + 1, std::max(mark.column, 0) + 1);
  }
  void ErrorAt(const std::string& where, const std::string& path, const std::string& what) {
    errors_.push_back(path.empty() ? absl::StrFormat("%s: error: %s", where, what)
                                   : absl::StrFormat("%s: error: %s: %s", where, path, what));
  }

 private:
  struct OpenMap {
    YAML::Node node;  // undefined if absent
    std::string path;
    std::vector<std::string> known;
  };

  void Open(const YAML::Node& node, const std::string& path) {
    OpenMap map{.node = YAML::Node(YAML::NodeType::Undefined), .path = path, .known = {}};
    if (node.IsDefined() && !node.IsMap()) {
      ErrorAt(Where(node, path), path, "must be a map of keys and values");
    } else {
      map.node.reset(node);
    }
    open_.push_back(map);
  }

  // The value of `key` in the open map; undefined if absent.
  YAML::Node Child(std::string_view key) {
    OpenMap& map = open_.back();
    map.known.emplace_back(key);
    if (map.node.IsDefined() && map.node.IsMap()) {
      for (const auto& item : map.node) {
        if (item.first.IsScalar() && item.first.Scalar() == key) {
          return item.second;
        }
      }
    }
    return YAML::Node(YAML::NodeType::Undefined);
  }

  YAML::Node Scalar(std::string_view key, bool required) {
    const YAML::Node node = Child(key);
    if (!node.IsDefined()) {
      if (required) {
        Error(open_.back().node, key, "is missing");
      }
      return node;
    }
    if (!node.IsScalar()) {
      Error(node, key, "must be a single value");
      return YAML::Node(YAML::NodeType::Undefined);
    }
    const std::string path = Join(open_.back().path, key);
    const std::string where = Where(node, path);
    origins_[path] = where.substr(0, where.rfind(':'));
    if (where.starts_with("--set")) {
      origins_[path] = where;
    }
    return node;
  }

  template <typename Parse, typename Format>
  void Number(std::string_view key,
              int64_t& value,
              const IntegerField& field,
              const Parse& parse,
              const Format& format) {
    const YAML::Node node = Scalar(key, field.required);
    if (!node.IsDefined()) {
      return;
    }
    const StatusOr<int64_t> number = parse(std::string_view(node.Scalar()));
    if (!number.ok()) {
      Error(node, key, std::string(Message(number.status())));
    } else if (*number < field.min || *number > field.max) {
      Error(node,
            key,
            absl::StrFormat(
                "%s is not in [%s, %s]", node.Scalar(), format(field.min), format(field.max)));
    } else {
      value = *number;
    }
  }

  void Error(const YAML::Node& node, std::string_view key, const std::string& what) {
    const std::string path = Join(open_.back().path, key);
    // A missing key in a map that is itself missing is reported at the file's start.
    const bool has_place = node.IsDefined();
    ErrorAt(has_place ? Where(node, path) : file_ + ":1:1", path, what);
  }

  // Keys that nobody asked for, and keys that stand twice, in the map that is about to close.
  void ReportStrangers() {
    const OpenMap& map = open_.back();
    if (!map.node.IsDefined() || !map.node.IsMap()) {
      return;
    }
    std::set<std::string> seen;
    for (const auto& item : map.node) {
      const std::string key = item.first.IsScalar() ? item.first.Scalar() : "";
      if (std::find(map.known.begin(), map.known.end(), key) == map.known.end()) {
        Error(item.first, key, "unknown key" + DidYouMean(key, map.known));
      } else if (!seen.insert(key).second) {
        Error(item.first, key, "stands twice");
      }
    }
  }

  const std::string& file_;
  const std::map<std::string, std::string>& overrides_;
  std::vector<OpenMap> open_;
  YAML::Node list_;
  std::string list_path_;
  std::vector<std::string> errors_;
  std::map<std::string, std::string> origins_;
};

// Writes `value` at `path` below `node`, making maps on the way.
Status SetPath(YAML::Node node, std::string_view path, const YAML::Node& value) {
  const size_t dot = path.find('.');
  const std::string key(path.substr(0, dot));
  if (node.IsSequence()) {
    const auto index = ParseInteger(key);
    if (!index.ok() || *index < 0 || *index >= static_cast<int64_t>(node.size())) {
      return ErrorF(
          StatusCode::kInvalidArgument, "\"%s\" is not an item of a list of %d", key, node.size());
    }
    YAML::Node item = node[static_cast<size_t>(*index)];
    if (dot != std::string_view::npos) {
      return SetPath(item, path.substr(dot + 1), value);
    }
    node[static_cast<size_t>(*index)] = value;
    return OkStatus();
  }
  if (key.empty() || (node.IsDefined() && !node.IsMap() && !node.IsNull())) {
    return ErrorF(StatusCode::kInvalidArgument, "\"%s\" is not inside a map", path);
  }
  if (dot == std::string_view::npos) {
    node[key] = value;
    return OkStatus();
  }
  if (!node[key].IsDefined()) {
    node[key] = YAML::Node(YAML::NodeType::Map);
  }
  return SetPath(node[key], path.substr(dot + 1), value);
}

// "models.0.path" as the reader names it: "models[0].path".
std::string AsReadPath(std::string_view path) {
  std::string result;
  while (!path.empty()) {
    const size_t dot = std::min(path.find('.'), path.size());
    const std::string_view part = path.substr(0, dot);
    if (!result.empty() && ParseInteger(part).ok()) {
      result += absl::StrFormat("[%s]", part);
    } else {
      result = Join(result, part);
    }
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return result;
}

// Applies "a.b=c" to the tree; the reason if it cannot be.
Status ApplyOverride(const std::string& text, YAML::Node& root) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    return Status(StatusCode::kInvalidArgument, "write it as KEY.KEY=VALUE");
  }
  try {
    const YAML::Node value = YAML::Load(text.substr(equals + 1));
    return SetPath(root, std::string_view(text).substr(0, equals), value);
  } catch (const YAML::Exception& error) {
    return Status(StatusCode::kInvalidArgument, error.msg);
  }
}

// The node at a key as the reader names it ("a.b[1].c"), or the last on the way that is there.
YAML::Node NodeAt(const YAML::Node& root, std::string_view key) {
  YAML::Node node;
  node.reset(root);
  while (!key.empty()) {
    const size_t end = std::min(key.find_first_of(".[", 1), key.size());
    const size_t begin = key.front() == '.' ? 1 : 0;
    YAML::Node child(YAML::NodeType::Undefined);
    if (key.front() == '[') {
      const auto index = ParseInteger(key.substr(1, key.find(']') - 1));
      if (index.ok() && node.IsSequence() && static_cast<size_t>(*index) < node.size()) {
        child.reset(node[static_cast<size_t>(*index)]);
      }
    } else if (node.IsMap()) {
      const YAML::Node& readable = node;  // operator[] of one that is not const adds the key
      child.reset(readable[std::string(key.substr(begin, end - begin))]);
    }
    if (!child.IsDefined()) {
      break;
    }
    node.reset(child);
    key.remove_prefix(end);
  }
  return node;
}

// What hosts may reach us how.
void CheckListener(const Config& config, Reader& reader, const YAML::Node& root) {
  const Config::DataListener::Tls& tls = config.data.tls;
  const auto address = ParseListenAddress(config.data.address);
  if (!address.ok()) {
    return;  // said already
  }
  const bool whole = !tls.certificate.empty() && !tls.key.empty() && !tls.client_ca.empty();
  const bool none = tls.certificate.empty() && tls.key.empty() && tls.client_ca.empty();
  const auto report = [&](const std::string& key, const std::string& what) {
    // The place of what is there of the way to it.
    YAML::Node node = root;
    for (const std::string& part : {std::string("listeners"), std::string("data"), key}) {
      const YAML::Node child = node.IsMap() ? std::as_const(node)[part] : YAML::Node();
      if (!child.IsDefined() || child.IsNull()) {
        break;
      }
      node.reset(child);
    }
    const std::string path = "listeners.data." + key;
    reader.ErrorAt(reader.Where(node, path), path, what);
  };
  if (!whole && !none) {
    report("tls", "certificate, key and client_ca are needed together");
  } else if (whole && address->is_unix) {
    report("tls", "a Unix socket has none: its permissions say who may connect");
  } else if (none && !address->IsLocal() && !config.data.insecure) {
    report("address",
           absl::StrFormat("other hosts reach \"%s\": tls is needed (inferctl cert dev makes "
                           "files for a first try), or insecure: true",
                           config.data.address));
  }
}

// Modes that serve without a record need what makes up for it.
void CheckAuditModes(const Config& config, Reader& reader, const YAML::Node& root) {
  const auto uses = [&config](std::string_view mode) {
    return config.audit.mode == mode ||
           std::any_of(config.audit.tenants.begin(),
                       config.audit.tenants.end(),
                       [mode](const TenantAudit& tenant) { return tenant.mode == mode; });
  };
  const auto report = [&](const char* key, const char* what) {
    const YAML::Node audit = root["audit"];
    const std::string path = absl::StrFormat("audit.%s", key);
    reader.ErrorAt(reader.Where(audit.IsDefined() ? audit : root, path), path, what);
  };
  if (uses("guarded") && config.audit.spill_directory.empty()) {
    report("spill_directory", "is needed for mode guarded: records go there meanwhile");
  }
  const std::set<std::string> persons(config.audit.best_effort_approved_by.begin(),
                                      config.audit.best_effort_approved_by.end());
  if (uses("best_effort") && persons.size() < 2) {
    report("best_effort_approved_by", "two persons have to approve mode best_effort");
  }
}

void CheckWhole(const Config& config, Reader& reader, const YAML::Node& root) {
  CheckListener(config, reader, root);
  for (const ConfigFault& fault : CheckScheduling(config)) {
    reader.ErrorAt(reader.Where(NodeAt(root, fault.key), fault.key), fault.key, fault.what);
  }
  CheckAuditModes(config, reader, root);
  std::set<std::string> names;
  for (size_t i = 0; i < config.models.size(); ++i) {
    if (!names.insert(config.models[i].name).second) {
      const std::string path = absl::StrFormat("models[%d].name", i);
      reader.ErrorAt(reader.Where(root["models"][i], path),
                     path,
                     absl::StrFormat("\"%s\" stands twice", config.models[i].name));
    }
  }
}

}  // namespace

ConfigResult ParseConfig(std::string_view text,
                         const std::string& file_name,
                         const std::vector<std::string>& overrides) {
  ConfigResult result;
  if (!IsValidUtf8(text)) {
    result.errors.push_back(file_name + ":1:1: error: not valid UTF-8");
    return result;
  }
  try {
    YAML::Node root = YAML::Load(std::string(text));
    if (root.IsNull()) {
      root = YAML::Node(YAML::NodeType::Map);
    }
    std::map<std::string, std::string> origins;
    for (const std::string& override_text : overrides) {
      const Status status = ApplyOverride(override_text, root);
      if (!status.ok()) {
        result.errors.push_back(
            absl::StrFormat("--set %s: error: %s", override_text, Message(status)));
      }
      const std::string key = override_text.substr(0, override_text.find('='));
      origins[AsReadPath(key)] = "--set " + override_text;
    }
    Reader reader(root, file_name, origins);
    Config config;
    VisitConfig(reader, config);
    CheckWhole(config, reader, root);
    reader.Finish();
    const std::vector<std::string> errors = reader.TakeErrors();
    result.errors.insert(result.errors.end(), errors.begin(), errors.end());
    result.origins = reader.TakeOrigins();
    if (result.errors.empty()) {
      result.config = std::move(config);
    }
  } catch (const YAML::Exception& error) {
    result.errors.push_back(absl::StrFormat(
        "%s:%d:%d: error: %s", file_name, error.mark.line + 1, error.mark.column + 1, error.msg));
  }
  return result;
}

ConfigResult LoadConfigFile(const std::string& path, const std::vector<std::string>& overrides) {
  const auto text = ReadFile(path, kConfigBytesMax);
  if (!text.ok()) {
    ConfigResult result;
    result.errors.push_back(absl::StrFormat("%s: error: %s", path, Message(text.status())));
    return result;
  }
  return ParseConfig(*text, path, overrides);
}

}  // namespace inferd
