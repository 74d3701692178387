#include "daemon/config_reader.h"

#include <algorithm>
#include <set>

#include "base/utf8.h"
#include "daemon/config_values.h"

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

}  // namespace

std::string JoinPath(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : absl::StrFormat("%s.%s", path, key);
}

YamlReader::YamlReader(const YAML::Node& root,
                       const std::string& file,
                       const std::map<std::string, std::string>& overrides)
    : file_(file), overrides_(overrides) {
  Open(root, "");
}

void YamlReader::Integer(std::string_view key,
                         int64_t& value,
                         const IntegerField& field,
                         std::string_view /*doc*/) {
  Number(key, value, field, ParseInteger, [](int64_t number) { return std::to_string(number); });
}

void YamlReader::Bytes(std::string_view key,
                       int64_t& value,
                       const IntegerField& field,
                       std::string_view /*doc*/) {
  Number(key, value, field, ParseBytes, FormatBytes);
}

void YamlReader::Time(std::string_view key,
                      Duration& value,
                      Duration max,
                      std::string_view /*doc*/) {
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

void YamlReader::Bool(std::string_view key, bool& value, std::string_view /*doc*/) {
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

void YamlReader::String(std::string_view key,
                        std::string& value,
                        const StringField& field,
                        std::string_view /*doc*/) {
  const YAML::Node node = Scalar(key, field.required);
  if (!node.IsDefined()) {
    return;
  }
  value = node.Scalar();
  CheckText(node, key, value, field);
}

void YamlReader::CheckText(const YAML::Node& node,
                           std::string_view key,
                           const std::string& value,
                           const StringField& field) {
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

void YamlReader::Strings(std::string_view key,
                         std::vector<std::string>& values,
                         const StringField& field,
                         size_t size_max,
                         std::string_view /*doc*/) {
  const YAML::Node node = Child(key);
  if (!node.IsDefined()) {
    if (field.required) {
      Error(open_.back().node, key, "is missing");
    }
    return;
  }
  if (!node.IsSequence() || node.size() > size_max || (field.required && node.size() == 0)) {
    Error(node, key, absl::StrFormat("must be a list of at most %d texts", size_max));
    return;
  }
  KeepOrigin(node, JoinPath(open_.back().path, key));
  values.clear();
  for (const auto& item : node) {
    if (!item.IsScalar()) {
      Error(item, key, "must be a list of texts");
      return;
    }
    values.push_back(item.Scalar());
    CheckText(item, key, values.back(), field);
  }
}

void YamlReader::Enter(std::string_view key, std::string_view /*doc*/) {
  Open(Child(key), JoinPath(open_.back().path, key));
}

void YamlReader::Leave() {
  ReportStrangers();
  open_.pop_back();
}

size_t YamlReader::BeginList(std::string_view key,
                             size_t /*size*/,
                             const IntegerField& length,
                             std::string_view /*doc*/) {
  const YAML::Node node = Child(key);
  list_.reset(node);
  list_path_ = JoinPath(open_.back().path, key);
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

void YamlReader::EnterItem(size_t index) {
  Open(list_[index], absl::StrFormat("%s[%d]", list_path_, index));
}

std::string YamlReader::Where(const YAML::Node& node, const std::string& path) const {
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

void YamlReader::ErrorAt(const std::string& where,
                         const std::string& path,
                         const std::string& what) {
  errors_.push_back(path.empty() ? absl::StrFormat("%s: error: %s", where, what)
                                 : absl::StrFormat("%s: error: %s: %s", where, path, what));
}

void YamlReader::Open(const YAML::Node& node, const std::string& path) {
  OpenMap map{.node = YAML::Node(YAML::NodeType::Undefined), .path = path, .known = {}};
  if (node.IsDefined() && !node.IsMap()) {
    ErrorAt(Where(node, path), path, "must be a map of keys and values");
  } else {
    map.node.reset(node);
  }
  open_.push_back(map);
}

// The value of `key` in the open map; undefined if absent.
YAML::Node YamlReader::Child(std::string_view key) {
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

YAML::Node YamlReader::Scalar(std::string_view key, bool required) {
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
  KeepOrigin(node, JoinPath(open_.back().path, key));
  return node;
}

void YamlReader::KeepOrigin(const YAML::Node& node, const std::string& path) {
  const std::string where = Where(node, path);
  origins_[path] = where.starts_with("--set") ? where : where.substr(0, where.rfind(':'));
}

void YamlReader::Number(std::string_view key,
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

void YamlReader::Error(const YAML::Node& node, std::string_view key, const std::string& what) {
  const std::string path = JoinPath(open_.back().path, key);
  // A missing key in a map that is itself missing is reported at the file's start.
  const bool has_place = node.IsDefined();
  ErrorAt(has_place ? Where(node, path) : file_ + ":1:1", path, what);
}

// Keys that nobody asked for, and keys that stand twice, in the map that is about to close.
void YamlReader::ReportStrangers() {
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
      const YAML::Node found = readable[std::string(key.substr(begin, end - begin))];
      if (found.IsDefined()) {
        child.reset(found);
      }
    }
    if (!child.IsDefined()) {
      break;
    }
    node.reset(child);
    key.remove_prefix(end);
  }
  return node;
}

std::vector<std::string> ReadYaml(
    std::string_view text,
    const std::string& file_name,
    const std::function<void(YamlReader& reader, const YAML::Node& root)>& visit) {
  if (!IsValidUtf8(text)) {
    return {file_name + ":1:1: error: not valid UTF-8"};
  }
  try {
    YAML::Node root = YAML::Load(std::string(text));
    if (root.IsNull()) {
      root = YAML::Node(YAML::NodeType::Map);
    }
    const std::map<std::string, std::string> no_overrides;
    YamlReader reader(root, file_name, no_overrides);
    visit(reader, root);
    return reader.TakeErrors();
  } catch (const YAML::Exception& error) {
    return {absl::StrFormat(
        "%s:%d:%d: error: %s", file_name, error.mark.line + 1, error.mark.column + 1, error.msg)};
  }
}

}  // namespace inferd
