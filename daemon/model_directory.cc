#include "daemon/model_directory.h"

#include "daemon/error_map.h"

namespace inferd {
namespace {

constexpr std::string_view kDigestPrefix = "sha256:";

}  // namespace

std::string DigestText(const Digest& digest) { return std::string(kDigestPrefix) + digest.Hex(); }

Status CheckDigest(const ResidentModel& model, std::string_view expected, std::string_view field) {
  const bool prefixed = expected.substr(0, kDigestPrefix.size()) == kDigestPrefix;
  const auto digest = Digest::FromHex(prefixed ? expected.substr(kDigestPrefix.size()) : "");
  if (!digest.ok()) {
    return MakeFieldError(field, "a digest is sha256: and 64 hex digits");
  }
  if (*digest != model.digest) {
    return MakeError(
        Reason::kVersionPinMismatch,
        absl::StrFormat(
            "model %s is %s, not %s", model.name, DigestText(model.digest), DigestText(*digest)));
  }
  return OkStatus();
}

void ModelDirectory::Announce(const std::string& name, const std::string& version) {
  MutexLock lock(mutex_);
  Entry& entry = entries_[{name, version}];
  entry.name = name;
  entry.version = version;
}

void ModelDirectory::SetReady(const std::string& device,
                              std::shared_ptr<const ResidentModel> model) {
  MutexLock lock(mutex_);
  Entry& entry = entries_[{model->name, model->version}];
  entry.name = model->name;
  entry.version = model->version;
  entry.device = device;
  // With a count of its own, beside that of the engine's uses.
  const ResidentModel* const resident = model.get();
  entry.model = std::shared_ptr<const ResidentModel>(
      resident, [kept = std::move(model)](const ResidentModel*) {});
}

bool ModelDirectory::Remove(const std::string& name, const std::string& version) {
  MutexLock lock(mutex_);
  return entries_.erase({name, version}) > 0;
}

StatusOr<ModelDirectory::Entry> ModelDirectory::Find(std::string_view name,
                                                     const Digest& digest) const {
  bool loading = false;
  const std::vector<Entry> versions = Versions(name);
  for (const Entry& entry : versions) {
    loading = loading || !entry.ready();
    if (entry.ready() && entry.model->digest == digest) {
      return entry;
    }
  }
  if (loading) {
    return MakeError(Reason::kModelLoading, absl::StrFormat("model %s is loading", name));
  }
  if (versions.empty()) {
    // Not the name that was asked for: errors show nothing that callers wrote.
    return MakeError(Reason::kModelNotFound, "no model of that name; ListModels names them");
  }
  return MakeError(Reason::kModelNotResident,
                   absl::StrFormat("model %s has another version in memory than the one that "
                                   "answers; an operator loads it",
                                   name));
}

std::vector<ModelDirectory::Entry> ModelDirectory::Versions(std::string_view name) const {
  MutexLock lock(mutex_);
  std::vector<Entry> versions;
  for (auto entry = entries_.lower_bound({std::string(name), ""});
       entry != entries_.end() && entry->first.first == name;
       ++entry) {
    versions.push_back(entry->second);
  }
  return versions;
}

std::vector<ModelDirectory::Entry> ModelDirectory::List() const {
  MutexLock lock(mutex_);
  std::vector<Entry> entries;
  entries.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) {
    entries.push_back(entry);
  }
  return entries;
}

}  // namespace inferd
