#include "governance/registry/registry_change.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

namespace inferd {
namespace {

using Json = nlohmann::json;

constexpr std::array<std::pair<RegistryStep, std::string_view>, 8> kNames = {{
    {RegistryStep::kRegistered, "registered"},
    {RegistryStep::kApproved, "approved"},
    {RegistryStep::kRolloutProposed, "rollout_proposed"},
    {RegistryStep::kRolloutApproved, "rollout_approved"},
    {RegistryStep::kCanary, "canary"},
    {RegistryStep::kAliasMoved, "alias_moved"},
    {RegistryStep::kRolledBack, "rolled_back"},
    {RegistryStep::kRevoked, "revoked"},
}};

// The members that are texts, with their keys.
template <typename Change, typename Visit>
void VisitTexts(Change& change, const Visit& visit) {
  visit("actor", change.actor);
  visit("alias", change.alias);
  visit("approved_by", change.approved_by);
  visit("model", change.model);
  visit("previous", change.previous);
  visit("proposed_by", change.proposed_by);
  visit("signer", change.signer);
  visit("source", change.source);
  visit("version", change.version);
}

int64_t Micros(WallTime time) {
  return std::chrono::floor<std::chrono::microseconds>(time).time_since_epoch().count();
}

template <typename T>
bool Read(const Json& json, const char* key, T& out) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_integer()) {
    return false;
  }
  out = found->get<T>();
  return true;
}

bool Read(const Json& json, const char* key, Digest& out) {
  const auto found = json.find(key);
  const auto digest =
      Digest::FromHex(found != json.end() && found->is_string() ? found->get<std::string>() : "");
  out = digest.ok() ? *digest : Digest();
  return digest.ok();
}

}  // namespace

std::string_view Name(RegistryStep step) { return kNames[static_cast<size_t>(step)].second; }

std::string EncodeChange(const RegistryChange& change) {
  Json json = {{"v", 1},
               {"number", change.number},
               {"step", Name(change.step)},
               {"at_us", Micros(change.at)},
               {"digest", change.digest.Hex()}};
  if (change.files != Digest()) {
    json["files"] = change.files.Hex();
  }
  if (change.percent != 0) {
    json["percent"] = change.percent;
  }
  VisitTexts(change, [&](const char* key, const std::string& text) {
    if (!text.empty()) {
      json[key] = text;
    }
  });
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

StatusOr<RegistryChange> DecodeChange(std::string_view bytes) {
  const Json json = Json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  RegistryChange change;
  int64_t at = 0;
  bool good = json.is_object() && Read(json, "number", change.number) && Read(json, "at_us", at) &&
              Read(json, "digest", change.digest);
  if (good) {
    const std::string step = json.value("step", Json()).dump();
    for (const auto& [value, name] : kNames) {
      change.step = step == absl::StrFormat("\"%s\"", name) ? value : change.step;
    }
    (void)Read(json, "files", change.files);
    (void)Read(json, "percent", change.percent);
    VisitTexts(change, [&](const char* key, std::string& text) {
      const auto found = json.find(key);
      text = found != json.end() && found->is_string() ? found->get<std::string>() : "";
    });
    change.at = WallTime(std::chrono::microseconds(at));
    good = EncodeChange(change) == bytes;
  }
  return good ? StatusOr<RegistryChange>(std::move(change))
              : ErrorF(StatusCode::kDataLoss, "not a change as this program writes it");
}

}  // namespace inferd
