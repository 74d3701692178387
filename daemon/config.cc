#include "daemon/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/utf8.h"
#include "daemon/config_reader.h"
#include "daemon/config_schema.h"
#include "daemon/config_values.h"
#include "daemon/listen_address.h"

namespace inferd {
namespace {

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
      result = JoinPath(result, part);
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

// What hosts may reach us how.
void CheckListener(const Config& config, YamlReader& reader, const YAML::Node& root) {
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

void CheckWhole(const Config& config, YamlReader& reader, const YAML::Node& root) {
  CheckListener(config, reader, root);
  for (const auto& faults :
       {CheckScheduling(config), CheckAudit(config), CheckQuotas(config.quotas)}) {
    for (const ConfigFault& fault : faults) {
      reader.ErrorAt(reader.Where(NodeAt(root, fault.key), fault.key), fault.key, fault.what);
    }
  }
  std::set<std::string> names;
  for (size_t i = 0; i < config.models.size(); ++i) {
    const ModelEntry& model = config.models[i];
    if (!names.insert(model.name + ':' + model.version).second) {
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
    YamlReader reader(root, file_name, origins);
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
