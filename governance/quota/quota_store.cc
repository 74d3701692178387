#include "governance/quota/quota_store.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/file_batch.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kFile[] = "limits.jsonl";
constexpr uint64_t kFileBytesMax = 16 << 20;

int64_t Micros(WallTime time) {
  return std::chrono::floor<std::chrono::microseconds>(time).time_since_epoch().count();
}

// Reads members out of an object and remembers whether all were of their types.
class Members {
 public:
  explicit Members(const Json& json) : json_(json), good_(json.is_object()) {}
  void Read(const char* name, std::string& to) {
    if (const Json* const value = Find(name)) {
      good_ = good_ && value->is_string();
      to = value->is_string() ? value->get<std::string>() : "";
    }
  }
  void Read(const char* name, uint64_t& to) {
    if (const Json* const value = Find(name)) {
      good_ = good_ && value->is_number_unsigned();
      to = value->is_number_unsigned() ? value->get<uint64_t>() : 0;
    }
  }
  void Read(const char* name, bool& to) {
    if (const Json* const value = Find(name)) {
      good_ = good_ && value->is_boolean();
      to = value->is_boolean() && value->get<bool>();
    }
  }
  // All were read, and each is what it should be.
  bool good() const { return good_ && num_read_ == json_.size(); }

 private:
  const Json* Find(const char* name) {
    const auto found = good_ ? json_.find(name) : json_.end();
    if (!good_ || found == json_.end()) {
      return nullptr;
    }
    ++num_read_;
    return &*found;
  }
  const Json& json_;
  bool good_;
  size_t num_read_ = 0;
};

}  // namespace

std::string ToJson(const QuotaLimit& limit) {
  Json json = {{"id", limit.id}, {"org", limit.scope.org}};
  const auto add = [&json](const char* name, const std::string& value) {
    if (!value.empty()) {
      json[name] = value;
    }
  };
  add("tenant", limit.scope.tenant);
  add("project", limit.scope.project);
  add("key", limit.scope.key);
  add("model", limit.scope.model);
  json["metric"] = std::string(Name(limit.metric));
  json["limit"] = limit.limit;
  if (limit.burst != 0) {
    json["burst"] = limit.burst;
  }
  json["mode"] = std::string(Name(limit.mode));
  if (limit.cached_free) {
    json["cached_free"] = true;
  }
  if (limit.raise) {
    json["raise_limit"] = limit.raise->limit;
    json["raise_burst"] = limit.raise->burst;
    json["raise_until_us"] = static_cast<uint64_t>(Micros(limit.raise->until));
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

StatusOr<QuotaLimit> ParseQuotaLimit(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  Members members(json);
  QuotaLimit limit;
  std::string metric;
  std::string mode = "enforce";
  QuotaRaise raise;
  uint64_t until_us = 0;
  members.Read("id", limit.id);
  members.Read("org", limit.scope.org);
  members.Read("tenant", limit.scope.tenant);
  members.Read("project", limit.scope.project);
  members.Read("key", limit.scope.key);
  members.Read("model", limit.scope.model);
  members.Read("metric", metric);
  members.Read("limit", limit.limit);
  members.Read("burst", limit.burst);
  members.Read("mode", mode);
  members.Read("cached_free", limit.cached_free);
  members.Read("raise_limit", raise.limit);
  members.Read("raise_burst", raise.burst);
  members.Read("raise_until_us", until_us);
  const auto metric_value = QuotaMetricFromName(metric);
  const auto mode_value = QuotaModeFromName(mode);
  if (!members.good() || !metric_value || !mode_value || until_us > (uint64_t{1} << 53)) {
    return ErrorF(StatusCode::kInvalidArgument, "not a quota limit: docs/quota.md has the form");
  }
  limit.metric = *metric_value;
  limit.mode = *mode_value;
  if (until_us != 0) {
    raise.until = WallTime(std::chrono::microseconds(until_us));
    limit.raise = raise;
  }
  RETURN_IF_ERROR(Validate(limit));
  return limit;
}

StatusOr<QuotaStore::ById> QuotaStore::Checked(std::vector<QuotaLimit> limits) {
  ById by_id;
  for (QuotaLimit& limit : limits) {
    RETURN_IF_ERROR(Validate(limit));
    const std::string id = limit.id;
    if (!by_id.emplace(id, std::move(limit)).second) {
      return ErrorF(StatusCode::kInvalidArgument, "quota %s: there are two of this id", id);
    }
  }
  return by_id;
}

std::vector<QuotaLimit> QuotaStore::Merged(const ById& configured, const ById& set) {
  ById all = set;
  all.insert(configured.begin(), configured.end());
  std::vector<QuotaLimit> limits;
  for (auto& [id, limit] : all) {
    limits.push_back(std::move(limit));
  }
  return limits;
}

StatusOr<std::unique_ptr<QuotaStore>> QuotaStore::Open(Parts parts,
                                                       std::vector<QuotaLimit> configured) {
  std::unique_ptr<QuotaStore> store(new QuotaStore(std::move(parts)));
  MutexLock lock(store->mutex_);
  ASSIGN_OR_RETURN(store->configured_, Checked(std::move(configured)));
  RETURN_IF_ERROR(CreateFoldersDurably(store->parts_.files, store->parts_.folder));
  const std::string path = store->parts_.folder + "/" + kFile;
  const auto text = store->parts_.files.Read(path, kFileBytesMax);
  if (text.status().code() == StatusCode::kNotFound) {
    return store;
  }
  RETURN_IF_ERROR(text);
  std::string_view rest = *text;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    const auto limit = ParseQuotaLimit(rest.substr(0, end));
    if (end == std::string_view::npos || !limit.ok()) {
      return ErrorF(StatusCode::kDataLoss, "%s: is not as it was written", path);
    }
    store->set_[limit->id] = *limit;
    rest.remove_prefix(end + 1);
  }
  return store;
}

std::vector<QuotaLimit> QuotaStore::limits() const {
  MutexLock lock(mutex_);
  return Merged(configured_, set_);
}

Status QuotaStore::Set(const std::string& actor, const QuotaLimit& limit) {
  RETURN_IF_ERROR(Validate(limit));
  MutexLock lock(mutex_);
  ById set = set_;
  set[limit.id] = limit;
  if (set.size() > kLimitsSetMax) {
    return ErrorF(StatusCode::kResourceExhausted, "%d limits are set already", kLimitsSetMax);
  }
  return Change({.actor = actor, .limit = limit}, std::move(set));
}

Status QuotaStore::Remove(const std::string& actor, const std::string& id) {
  MutexLock lock(mutex_);
  ById set = set_;
  const auto found = set.find(id);
  if (found == set.end()) {
    return ErrorF(StatusCode::kNotFound,
                  "quota %s: no administrator set it; those of the configuration change there",
                  id);
  }
  const QuotaChange change = {.actor = actor, .limit = found->second, .removed = true};
  set.erase(found);
  return Change(change, std::move(set));
}

// The leaf, the file, the ledger: a crash between them leaves a leaf without effect, or an effect
// that the next start brings.
Status QuotaStore::Change(const QuotaChange& change, ById set) {
  std::string text;
  for (const auto& [id, limit] : set) {
    text += ToJson(limit) + '\n';
  }
  RETURN_IF_ERROR(parts_.record(change));
  RETURN_IF_ERROR(WriteFileDurably(parts_.files, parts_.folder, kFile, text));
  set_ = std::move(set);
  return parts_.apply(Merged(configured_, set_));
}

Status QuotaStore::Reconfigure(std::vector<QuotaLimit> configured) {
  ASSIGN_OR_RETURN(ById checked, Checked(std::move(configured)));
  MutexLock lock(mutex_);
  if (checked == configured_) {
    return OkStatus();
  }
  RETURN_IF_ERROR(parts_.apply(Merged(checked, set_)));
  configured_ = std::move(checked);
  return OkStatus();
}

}  // namespace inferd
