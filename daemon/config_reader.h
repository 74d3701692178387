// YamlReader: fills plain values from a YAML tree as a visitor of their fields, and collects
// every error instead of stopping at the first.
#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/config_schema.h"

namespace inferd {

// "a" and "b" to "a.b"; an empty path is left out.
std::string JoinPath(const std::string& path, std::string_view key);

// The node at a key as the reader names it ("a.b[1].c"), or the last on the way that is there.
YAML::Node NodeAt(const YAML::Node& root, std::string_view key);

// One thread; `file` and `overrides` outlive it.
class YamlReader final : public FieldVisitor {
 public:
  // `overrides`: keys whose value came from elsewhere, and where that was.
  YamlReader(const YAML::Node& root,
             const std::string& file,
             const std::map<std::string, std::string>& overrides);

  void Integer(std::string_view key,
               int64_t& value,
               const IntegerField& field,
               std::string_view doc) override;
  void Bytes(std::string_view key,
             int64_t& value,
             const IntegerField& field,
             std::string_view doc) override;
  void Time(std::string_view key, Duration& value, Duration max, std::string_view doc) override;
  void Bool(std::string_view key, bool& value, std::string_view doc) override;
  void String(std::string_view key,
              std::string& value,
              const StringField& field,
              std::string_view doc) override;
  void Strings(std::string_view key,
               std::vector<std::string>& values,
               const StringField& field,
               size_t size_max,
               std::string_view doc) override;
  void Enter(std::string_view key, std::string_view doc) override;
  void Leave() override;
  size_t BeginList(std::string_view key,
                   size_t size,
                   const IntegerField& length,
                   std::string_view doc) override;
  void EnterItem(size_t index) override;
  void EndList() override {}

  // After the visit: reports what nobody asked for.
  void Finish() { Leave(); }
  bool has_errors() const { return !errors_.empty(); }
  std::vector<std::string> TakeErrors() { return std::move(errors_); }
  std::map<std::string, std::string> TakeOrigins() { return std::move(origins_); }

  // "file:3:7", or the override that the value came from.
  std::string Where(const YAML::Node& node, const std::string& path) const;
  void ErrorAt(const std::string& where, const std::string& path, const std::string& what);

 private:
  struct OpenMap {
    YAML::Node node;  // undefined if absent
    std::string path;
    std::vector<std::string> known;
  };
  using Parse = std::function<StatusOr<int64_t>(std::string_view)>;
  using Format = std::function<std::string(int64_t)>;

  void Open(const YAML::Node& node, const std::string& path);
  YAML::Node Child(std::string_view key);
  YAML::Node Scalar(std::string_view key, bool required);
  void KeepOrigin(const YAML::Node& node, const std::string& path);
  void CheckText(const YAML::Node& node,
                 std::string_view key,
                 const std::string& value,
                 const StringField& field);
  void Number(std::string_view key,
              int64_t& value,
              const IntegerField& field,
              const Parse& parse,
              const Format& format);
  void Error(const YAML::Node& node, std::string_view key, const std::string& what);
  void ReportStrangers();

  const std::string& file_;
  const std::map<std::string, std::string>& overrides_;
  std::vector<OpenMap> open_;
  YAML::Node list_;
  std::string list_path_;
  std::vector<std::string> errors_;
  std::map<std::string, std::string> origins_;
};

// Reads a text of YAML (empty: a map without keys) by what `visit` asks for. Every error, with its
// place in the file of that name.
std::vector<std::string> ReadYaml(
    std::string_view text,
    const std::string& file_name,
    const std::function<void(YamlReader& reader, const YAML::Node& root)>& visit);

}  // namespace inferd
