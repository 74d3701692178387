#include "governance/identity/api_key_store.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file_batch.h"
#include "governance/identity/tenant_directory.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kFile[] = "api_keys.json";
constexpr int kVersion = 1;
constexpr size_t kScopesMax = 16;
constexpr size_t kSourcesMax = 64;
constexpr std::string_view kIdBytes =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kNameBytes = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr size_t kEnvironmentBytesMax = 16;

int64_t Micros(WallTime time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}
WallTime FromMicros(int64_t micros) { return WallTime(std::chrono::microseconds(micros)); }

bool HasOnly(std::string_view text, std::string_view bytes) {
  return !text.empty() && text.find_first_not_of(bytes) == std::string_view::npos;
}

// Tells whether the keys were made under this pepper, and nothing of it.
std::string PepperCheck(const SecretKey& pepper) {
  return HmacSha256(pepper, "inferd api key pepper check").Hex().substr(0, 16);
}

Status CheckKey(const ApiKey& key) {
  const auto wrong = [](std::string_view what) {
    return Status(StatusCode::kInvalidArgument, std::string(what));
  };
  if (!HasOnly(key.environment, kNameBytes) || key.environment.size() > kEnvironmentBytesMax) {
    return wrong("environment: is 1 to 16 of a-z 0-9");
  }
  if (!IsTenantName(key.tenant.value())) {
    return wrong("tenant: is 1 to 64 of a-z 0-9 -");
  }
  if (!key.project.empty() && !IsTenantName(key.project)) {
    return wrong("project: is 1 to 64 of a-z 0-9 -");
  }
  if (key.scopes.empty() || key.scopes.size() > kScopesMax ||
      !std::all_of(key.scopes.begin(), key.scopes.end(), IsTenantName)) {
    return wrong("scopes: are 1 to 16 names of a-z 0-9 -");
  }
  if (key.sources.size() > kSourcesMax) {
    return wrong("sources: are at most 64 networks");
  }
  return key.expires > key.created ? OkStatus() : wrong("expires: is not after the key's creation");
}

Json ToJson(const ApiKey& key) {
  Json sources = Json::array();
  for (const Network& network : key.sources) {
    sources.push_back(network.text());
  }
  return {{"id", key.id},
          {"environment", key.environment},
          {"tenant", key.tenant.value()},
          {"project", key.project},
          {"scopes", key.scopes},
          {"sources", std::move(sources)},
          {"created_us", Micros(key.created)},
          {"expires_us", Micros(key.expires)},
          {"revoked", key.revoked},
          {"mac", key.mac.Hex()}};
}

// Throws what nlohmann throws for a field that is missing or of another type.
StatusOr<ApiKey> FromJson(const Json& json) {
  ApiKey key;
  key.id = json.at("id").get<std::string>();
  key.environment = json.at("environment").get<std::string>();
  key.tenant = TenantId(json.at("tenant").get<std::string>());
  key.project = json.at("project").get<std::string>();
  key.scopes = json.at("scopes").get<std::vector<std::string>>();
  for (const auto& source : json.at("sources")) {
    ASSIGN_OR_RETURN(Network network, Network::Parse(source.get<std::string>()));
    key.sources.push_back(std::move(network));
  }
  key.created = FromMicros(json.at("created_us").get<int64_t>());
  key.expires = FromMicros(json.at("expires_us").get<int64_t>());
  key.revoked = json.at("revoked").get<bool>();
  ASSIGN_OR_RETURN(key.mac, Digest::FromHex(json.at("mac").get<std::string>()));
  if (key.id.size() != kApiKeyIdBytes || !HasOnly(key.id, kIdBytes)) {
    return Status(StatusCode::kInvalidArgument, "id: is none");
  }
  RETURN_IF_ERROR(CheckKey(key));
  return key;
}

StatusOr<std::vector<ApiKey>> Parse(const std::string& text, const SecretKey& pepper) {
  std::vector<ApiKey> keys;
  try {
    const Json json = Json::parse(text);
    if (json.at("version").get<int>() != kVersion) {
      return Status(StatusCode::kInvalidArgument, "is of another version");
    }
    if (json.at("pepper_check").get<std::string>() != PepperCheck(pepper)) {
      return Status(StatusCode::kFailedPrecondition,
                    "its keys were made under another pepper.api: bring that back, or remove the "
                    "file and issue new keys");
    }
    std::set<std::string> ids;
    for (const Json& entry : json.at("keys")) {
      auto key = FromJson(entry);
      const std::string what = absl::StrFormat("keys[%d]", keys.size());
      RETURN_IF_ERROR(Annotate(key.status(), what));
      if (!ids.insert(key->id).second || keys.size() >= kApiKeysMax) {
        return ErrorF(StatusCode::kInvalidArgument, "%s: stands twice, or is one too many", what);
      }
      keys.push_back(*std::move(key));
    }
  } catch (const nlohmann::json::exception& error) {
    return ErrorF(StatusCode::kInvalidArgument, "is not readable (JSON error %d)", error.id);
  }
  return keys;
}

}  // namespace

ApiKeyStore::ApiKeyStore(FileSystem& files, std::string folder, SecretKey pepper)
    : files_(files),
      folder_(std::move(folder)),
      pepper_(std::move(pepper)),
      ring_(std::make_shared<ApiKeyRing>(std::vector<ApiKey>(), pepper_)) {}

StatusOr<std::unique_ptr<ApiKeyStore>> ApiKeyStore::Open(FileSystem& files,
                                                         const std::string& folder,
                                                         SecretKey pepper) {
  std::unique_ptr<ApiKeyStore> store(new ApiKeyStore(files, folder, std::move(pepper)));
  const std::string path = folder + "/" + kFile;
  const auto text = files.Read(path, kApiKeyFileBytesMax);
  if (text.status().code() == StatusCode::kNotFound) {
    return store;
  }
  RETURN_IF_ERROR(text);
  auto keys = Parse(*text, store->pepper_);
  RETURN_IF_ERROR(Annotate(keys.status(), path));
  MutexLock lock(store->mutex_);
  store->Use(*std::move(keys));
  return store;
}

StatusOr<ApiKeyStore::Made> ApiKeyStore::Make(ApiKey wanted) const {
  RETURN_IF_ERROR(CheckKey(wanted));
  Made made{.key = std::move(wanted), .text = ""};
  made.text = MakeApiKey(pepper_, made.key);
  return made;
}

StatusOr<ApiKeyStore::Made> ApiKeyStore::MakeSuccessor(const std::string& id,
                                                       WallTime now,
                                                       WallTime expires) const {
  const auto all = ring();
  for (const ApiKey& key : all->keys()) {
    if (key.id == id) {
      if (key.revoked) {
        return ErrorF(StatusCode::kFailedPrecondition, "API key %s is revoked", id);
      }
      ApiKey wanted = key;
      wanted.created = now;
      wanted.expires = expires;
      wanted.use = std::make_shared<ApiKeyUse>();
      return Make(std::move(wanted));
    }
  }
  return ErrorF(StatusCode::kNotFound, "there is no API key of id \"%s\"", id);
}

Status ApiKeyStore::Add(const ApiKey& key) {
  MutexLock lock(mutex_);
  std::vector<ApiKey> keys = ring_->keys();
  if (keys.size() >= kApiKeysMax) {
    return ErrorF(StatusCode::kResourceExhausted, "there are %d API keys, the most", kApiKeysMax);
  }
  keys.push_back(key);
  RETURN_IF_ERROR(Save(keys));
  Use(std::move(keys));
  return OkStatus();
}

StatusOr<ApiKey> ApiKeyStore::Expire(const std::string& id, WallTime time) {
  return Change(
      id, [](ApiKey& key, WallTime at) { key.expires = std::min(key.expires, at); }, time);
}

StatusOr<ApiKey> ApiKeyStore::Revoke(const std::string& id) {
  return Change(id, [](ApiKey& key, WallTime) { key.revoked = true; }, WallTime());
}

StatusOr<ApiKey> ApiKeyStore::Change(const std::string& id,
                                     void (*change)(ApiKey&, WallTime),
                                     WallTime time) {
  MutexLock lock(mutex_);
  std::vector<ApiKey> keys = ring_->keys();
  const auto found =
      std::find_if(keys.begin(), keys.end(), [&](const ApiKey& key) { return key.id == id; });
  if (found == keys.end()) {
    return ErrorF(StatusCode::kNotFound, "there is no API key of id \"%s\"", id);
  }
  change(*found, time);
  const ApiKey changed = *found;
  // Rights that shrink do so at once, whatever becomes of the file.
  const Status saved = Save(keys);
  Use(std::move(keys));
  RETURN_IF_ERROR(saved);
  return changed;
}

std::shared_ptr<const ApiKeyRing> ApiKeyStore::ring() const {
  MutexLock lock(mutex_);
  return ring_;
}

Status ApiKeyStore::Save(const std::vector<ApiKey>& keys) const {
  Json list = Json::array();
  for (const ApiKey& key : keys) {
    list.push_back(ToJson(key));
  }
  const Json json = {
      {"version", kVersion}, {"pepper_check", PepperCheck(pepper_)}, {"keys", std::move(list)}};
  return WriteFileDurably(files_, folder_, kFile, json.dump(1) + "\n");
}

void ApiKeyStore::Use(std::vector<ApiKey> keys) {
  ring_ = std::make_shared<ApiKeyRing>(std::move(keys), pepper_);
}

}  // namespace inferd
