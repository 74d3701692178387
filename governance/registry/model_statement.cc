#include "governance/registry/model_statement.h"

#include <nlohmann/json.hpp>
#include <set>

#include "governance/verify/base64.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kStatementType = "https://in-toto.io/Statement/v1";
constexpr std::string_view kPredicateType = "https://model_signing/signature/v1.0";

Status Bad(std::string_view why) {
  return ErrorF(StatusCode::kInvalidArgument, "not a model's signed statement: %s", why);
}

const Json* Member(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? nullptr : &*found;
}

const std::string* Text(const Json& object, const char* key) {
  const Json* member = Member(object, key);
  return member == nullptr ? nullptr : member->get_ptr<const std::string*>();
}

// A path inside the model: no way out of its folder.
bool IsInside(std::string_view path) {
  while (true) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.find('\0') != part.npos) {
      return false;
    }
    if (slash == path.size()) {
      return true;
    }
    path.remove_prefix(slash + 1);
  }
}

// "a/b:0:1000" with start before end.
bool IsShardName(std::string_view name) {
  const size_t second = name.rfind(':');
  const size_t first = second == name.npos || second == 0 ? name.npos : name.rfind(':', second - 1);
  if (first == name.npos || name.find(':') != first) {
    return false;
  }
  const auto start = ParseDecimal(name.substr(first + 1, second - first - 1));
  const auto end = ParseDecimal(name.substr(second + 1));
  return start.ok() && end.ok() && *start < *end && IsInside(name.substr(0, first));
}

StatusOr<ModelSerialization> ReadSerialization(const Json& json) {
  ModelSerialization serialization;
  const std::string* method = Text(json, "method");
  const std::string* hash = Text(json, "hash_type");
  const Json* links = Member(json, "allow_symlinks");
  const Json* shard = Member(json, "shard_size");
  if (method == nullptr || (*method != "files" && *method != "shards")) {
    return Bad("its serialization is neither files nor shards");
  }
  if (hash == nullptr || *hash != "sha256") {
    return Bad("its hashes are not SHA-256; sign the model again with hash_type sha256");
  }
  if (links == nullptr || !links->is_boolean() || links->get<bool>()) {
    return Bad("it follows symbolic links; sign the model again without");
  }
  if (*method == "files") {
    serialization.method = ModelSerialization::Method::kFiles;
  } else if (shard == nullptr || !shard->is_number_unsigned() || *shard == 0U) {
    return Bad("its shards have no size");
  } else {
    serialization.shard_bytes = *shard;
  }
  if (const Json* ignored = Member(json, "ignore_paths"); ignored != nullptr) {
    if (!ignored->is_array()) {
      return Bad("ignore_paths is no list");
    }
    for (const Json& path : *ignored) {
      if (!path.is_string()) {
        return Bad("ignore_paths has something that is no path");
      }
      serialization.ignore_paths.push_back(path);
    }
  }
  return serialization;
}

StatusOr<std::vector<ModelResource>> ReadResources(const Json& json,
                                                   const ModelSerialization& serialization) {
  if (!json.is_array() || json.size() > ModelHashOptions::kResourcesMax) {
    return Bad("its resources are no list, or too many");
  }
  const bool cut = serialization.method == ModelSerialization::Method::kShards;
  std::vector<ModelResource> resources;
  std::set<std::string_view> names;
  for (const Json& item : json) {
    const std::string* name = Text(item, "name");
    const std::string* algorithm = Text(item, "algorithm");
    const std::string* hex = Text(item, "digest");
    if (name == nullptr || algorithm == nullptr || hex == nullptr || *algorithm != "sha256") {
      return Bad("a resource lacks its name or its SHA-256");
    }
    const auto digest = Digest::FromHex(*hex);
    if (!digest.ok() || !(cut ? IsShardName(*name) : IsInside(*name))) {
      return Bad("a resource has a bad name or digest");
    }
    if (!names.insert(*name).second) {
      return Bad("two resources have one name");
    }
    resources.push_back({*name, *digest});
  }
  return resources;
}

}  // namespace

StatusOr<ModelStatement> ParseModelStatement(std::string_view text) {
  if (text.size() > ModelStatement::kPayloadBytesMax) {
    return Bad("it is too long");
  }
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const std::string* type = Text(json, "_type");
  const std::string* predicate_type = Text(json, "predicateType");
  const Json* subject = Member(json, "subject");
  const Json* predicate = Member(json, "predicate");
  if (type == nullptr || *type != kStatementType) {
    return Bad("it is no in-toto Statement v1");
  }
  if (predicate_type == nullptr || *predicate_type != kPredicateType || predicate == nullptr) {
    return Bad("its predicate is not of OpenSSF Model Signing v1.0");
  }
  if (subject == nullptr || !subject->is_array() || subject->size() != 1) {
    return Bad("it should have one subject");
  }
  const Json* digests = Member(subject->front(), "digest");
  const std::string* root = digests == nullptr ? nullptr : Text(*digests, "sha256");
  const std::string* name = Text(subject->front(), "name");
  const Json* serialization = Member(*predicate, "serialization");
  const Json* resources = Member(*predicate, "resources");
  if (root == nullptr || name == nullptr || serialization == nullptr || resources == nullptr) {
    return Bad("a part is missing");
  }
  ModelStatement statement;
  statement.name = *name;
  ASSIGN_OR_RETURN(statement.serialization, ReadSerialization(*serialization));
  ASSIGN_OR_RETURN(statement.resources, ReadResources(*resources, statement.serialization));
  statement.root = RootDigest(statement.resources);
  if (const auto stated = Digest::FromHex(*root); !stated.ok() || *stated != statement.root) {
    return Bad("its digest is not that of its resources");
  }
  return statement;
}

std::string FormatModelStatement(const ModelStatement& statement) {
  const ModelSerialization& how = statement.serialization;
  Json serialization = {{"hash_type", "sha256"}, {"allow_symlinks", false}};
  if (how.method == ModelSerialization::Method::kFiles) {
    serialization["method"] = "files";
  } else {
    serialization["method"] = "shards";
    serialization["shard_size"] = how.shard_bytes;
  }
  if (!how.ignore_paths.empty()) {
    serialization["ignore_paths"] = how.ignore_paths;
  }
  Json resources = Json::array();
  for (const ModelResource& resource : statement.resources) {
    resources.push_back(
        {{"name", resource.name}, {"algorithm", "sha256"}, {"digest", resource.digest.Hex()}});
  }
  const Json json = {
      {"_type", kStatementType},
      {"subject",
       Json::array({{{"name", statement.name}, {"digest", {{"sha256", statement.root.Hex()}}}}})},
      {"predicateType", kPredicateType},
      {"predicate", {{"serialization", serialization}, {"resources", resources}}}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace inferd
