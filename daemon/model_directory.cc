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

void ModelDirectory::Announce(const std::string& name) {
  MutexLock lock(mutex_);
  entries_[name].name = name;
}

void ModelDirectory::SetReady(const std::string& device,
                              std::shared_ptr<const ResidentModel> model) {
  MutexLock lock(mutex_);
  Entry& entry = entries_[model->name];
  entry.name = model->name;
  entry.device = device;
  entry.model = std::move(model);
}

void ModelDirectory::Remove(const std::string& name) {
  MutexLock lock(mutex_);
  entries_.erase(name);
}

StatusOr<ModelDirectory::Entry> ModelDirectory::Find(std::string_view reference) const {
  const size_t at = std::min(reference.find('@'), reference.size());
  const std::string_view name = reference.substr(0, at);
  Entry entry;
  {
    MutexLock lock(mutex_);
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
      // Not the name that was asked for: errors show nothing that callers wrote.
      return MakeError(Reason::kModelNotFound, "no model of that name; ListModels names them");
    }
    entry = found->second;
  }
  if (at < reference.size() && entry.ready()) {
    RETURN_IF_ERROR(CheckDigest(*entry.model, reference.substr(at + 1), "model"));
  }
  return entry;
}

StatusOr<std::shared_ptr<const ResidentModel>> ModelDirectory::Resolve(
    std::string_view reference) const {
  ASSIGN_OR_RETURN(const Entry entry, Find(reference));
  if (!entry.ready()) {
    return MakeError(Reason::kModelLoading, absl::StrFormat("model %s is loading", entry.name));
  }
  return entry.model;
}

std::vector<ModelDirectory::Entry> ModelDirectory::List() const {
  MutexLock lock(mutex_);
  std::vector<Entry> entries;
  entries.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) {
    entries.push_back(entry);
  }
  return entries;
}

}  // namespace inferd
