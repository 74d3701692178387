#include "daemon/model_loader.h"

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "base/log.h"
#include "daemon/config_schema.h"
#include "daemon/model_reading.h"
#include "daemon/scheduling.h"
#include "model/model_file.h"

namespace inferd {

namespace {

// A line of the log every ten seconds: whoever asked for the load hears of its end alone.
ModelLoader::Progress SlowLog() {
  static constexpr auto kPeriod = std::chrono::seconds(10);
  struct Last {
    std::mutex mutex;
    TimePoint time = SystemClock().Now();
  };
  // Shared with the copies of the function, which the hashing threads call.
  return [last = std::make_shared<Last>()](const std::string& line) {
    const std::lock_guard lock(last->mutex);
    if (const TimePoint now = SystemClock().Now(); now - last->time >= kPeriod) {
      last->time = now;
      Log(LogLevel::kInfo, "model loading", {{"progress", line}});
    }
  };
}

}  // namespace

Status ModelLoader::Load(const ModelEntry& entry, const Progress& progress) {
  MutexLock lock(mutex_);
  const Status status = LoadLocked(entry, RegistryState::Origin::kConfiguration, progress).status();
  if (!status.ok()) {
    models_.Remove(entry.name, entry.version);
  }
  return status;
}

StatusOr<Digest> ModelLoader::Load(const ModelEntry& entry) {
  RETURN_IF_ERROR(CheckModelName(entry.name));
  RETURN_IF_ERROR(CheckModelName(entry.version));
  MutexLock lock(mutex_);
  for (const ModelDirectory::Entry& known : models_.Versions(entry.name)) {
    if (known.version == entry.version) {
      return ErrorF(
          StatusCode::kAlreadyExists, "model %s:%s is there already", entry.name, entry.version);
    }
  }
  ASSIGN_OR_RETURN(const auto model,
                   LoadLocked(entry, RegistryState::Origin::kAdministrator, SlowLog()));
  return model->digest;
}

StatusOr<std::shared_ptr<const ResidentModel>> ModelLoader::LoadLocked(const ModelEntry& entry,
                                                                       RegistryState::Origin origin,
                                                                       const Progress& progress) {
  const TimePoint start = SystemClock().Now();
  std::atomic<uint64_t> shown{0};
  ModelHashOptions options;
  options.progress = [&](uint64_t done, uint64_t total) {
    const uint64_t percent = done * 100 / total;
    if (shown.exchange(percent) != percent) {
      progress(absl::StrFormat("loading %s: %d %% read", entry.name, percent));
    }
  };
  ASSIGN_OR_RETURN(options.also, RegistryState::SignedBy(entry.signature));
  ASSIGN_OR_RETURN(ModelReading reading, ReadModel(entry.path, options));
  // From here on nothing of the files is read any more.
  const Digest digest = reading.contents.root;
  // Nothing that was not approved is even parsed.
  RETURN_IF_ERROR(registry_.AdmitLoad(entry, reading.contents, origin));
  if (const auto twin = models_.Find(entry.name, digest); twin.ok()) {
    return ErrorF(StatusCode::kAlreadyExists,
                  "model %s:%s is there already, with the same bytes",
                  entry.name,
                  twin->version);
  }
  ASSIGN_OR_RETURN(
      const std::unique_ptr<ModelFile> file,
      ModelFile::FromBytes(
          entry.path, std::move(reading.files), {.context_tokens_max = entry.context_tokens_max}));
  progress(absl::StrFormat("loading %s: packing weights", entry.name));
  ASSIGN_OR_RETURN(
      std::shared_ptr<const ResidentModel> model,
      engine_.LoadModel(
          entry.name, digest, *file, ReservedBlocks(config_, entry.name), entry.version));
  WarnOfWindow(config_, *model);
  Status status = RegisterPublicPrefixes(config_, *model, engine_);
  if (status.ok()) {
    status = Record(LeafType::kModelLoaded, *model);
  }
  if (!status.ok()) {
    RETURN_IF_ERROR(engine_.UnloadModel(model->slot, Duration::zero()));
    return status;
  }
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(SystemClock().Now() - start);
  Log(LogLevel::kInfo,
      "model loaded",
      {{"model", entry.name},
       {"version", entry.version},
       {"digest", DigestText(digest)},
       {"numerics_id", DigestText(model->numerics_id)},
       {"quantization", model->quantization},
       {"weight_bytes", std::to_string(model->weight_bytes)},
       {"kv_tokens_max", std::to_string(model->kv_tokens_max)},
       {"device", device_.capabilities().name},
       {"duration_ms", std::to_string(millis.count())}});
  models_.SetReady(device_.capabilities().name, model);
  LogPlan();
  // Revoked while it was packed, it was not yet there to be unloaded.
  if (const auto approved = registry_.registry().FindApproved(entry.name, digest); !approved.ok()) {
    RETURN_IF_ERROR(UnloadBytes(digest));
    return approved.status();
  }
  return model;
}

Status ModelLoader::Unload(const std::string& model, Duration drain_max) {
  ASSIGN_OR_RETURN(const ModelReference reference, ParseModelReference(model));
  std::vector<ModelDirectory::Entry> meant = models_.Versions(reference.name);
  std::erase_if(meant, [&](const ModelDirectory::Entry& entry) {
    using Kind = ModelReference::Kind;
    return !entry.ready() || reference.kind == Kind::kAlias ||
           (reference.kind == Kind::kVersion && entry.version != reference.label) ||
           (reference.kind == Kind::kDigest && entry.model->digest != reference.digest);
  });
  if (meant.empty()) {
    return ErrorF(StatusCode::kNotFound, "no model of that name and version is loaded");
  }
  if (meant.size() > 1) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%d versions of model %s are loaded: say which, %s:VERSION",
                  meant.size(),
                  reference.name,
                  reference.name);
  }
  return TakeAway(meant.front(), drain_max);
}

Status ModelLoader::UnloadBytes(const Digest& digest) {
  std::vector<ModelDirectory::Entry> meant = models_.List();
  std::erase_if(meant, [&](const ModelDirectory::Entry& entry) {
    return !entry.ready() || entry.model->digest != digest;
  });
  Status status = OkStatus();
  for (const ModelDirectory::Entry& entry : meant) {
    const Status taken = TakeAway(entry, Duration::zero());
    if (taken.code() != StatusCode::kNotFound) {  // somebody else takes it away
      status.Update(taken);
    }
  }
  return status;
}

Status ModelLoader::TakeAway(const ModelDirectory::Entry& entry, Duration drain_max) {
  constexpr Duration kDrainPoll = std::chrono::milliseconds(2);
  // Nobody finds it any more. Sessions that began with it are decided anew.
  if (!models_.Remove(entry.name, entry.version)) {
    return ErrorF(StatusCode::kNotFound, "model %s:%s is gone", entry.name, entry.version);
  }
  const Digest digest = entry.model->digest;
  registry_.sessions().Forget(digest);
  // Who had found it, and may not even have submitted a request, is finished; unless it is revoked.
  const TimePoint end = SystemClock().Now() + drain_max;
  while (entry.model.use_count() > 1 && SystemClock().Now() < end &&
         registry_.registry().FindApproved(entry.name, digest).ok()) {
    std::this_thread::sleep_for(kDrainPoll);
  }
  RETURN_IF_ERROR(engine_.UnloadModel(entry.model->slot, Duration::zero()));
  Log(LogLevel::kInfo, "model unloaded", {{"model", entry.name}, {"version", entry.version}});
  LogPlan();
  return Record(LeafType::kModelUnloaded, *entry.model);
}

// The memory plan: a line for each model, and what is left.
void ModelLoader::LogPlan() {
  const EngineReport report = engine_.Report();
  constexpr int64_t kMebibytesPerSlab = kSlabBytes >> 20;
  int64_t used = 0;
  for (const MemoryUse& use : report.memory) {
    used += use.weight_slabs + use.kv_slabs;
    Log(LogLevel::kInfo,
        "memory plan",
        {{"model", use.model},
         {"weights_mib", std::to_string(use.weight_slabs * kMebibytesPerSlab)},
         {"kv_mib", std::to_string(use.kv_slabs * kMebibytesPerSlab)}});
  }
  Log(LogLevel::kInfo,
      "memory plan",
      {{"model", "all"},
       {"used_mib", std::to_string(used * kMebibytesPerSlab)},
       {"of_mib", std::to_string(report.memory_slabs_max * kMebibytesPerSlab)}});
}

Status ModelLoader::Record(LeafType type, const ResidentModel& model) {
  if (audit_ == nullptr) {
    return OkStatus();
  }
  ModelFacts facts{
      .ref = model.name, .digest = model.digest, .ver = model.version, .quant = model.quantization};
  facts.num = DigestText(model.numerics_id);
  facts.hw = device_.capabilities().name;
  return Annotate(audit_->RecordOwn(type, {}, facts), "audit log");
}

void ModelLoader::RecordEnd() {
  for (const ModelDirectory::Entry& entry : models_.List()) {
    if (!entry.ready()) {
      continue;
    }
    const Status recorded = Record(LeafType::kModelUnloaded, *entry.model);
    if (!recorded.ok()) {
      Log(LogLevel::kError, "not recorded", {{"error", std::string(Message(recorded))}});
    }
  }
}

}  // namespace inferd
