#include "daemon/model_loader.h"

#include <atomic>

#include "base/log.h"
#include "daemon/config_schema.h"
#include "daemon/model_reading.h"
#include "daemon/scheduling.h"
#include "model/model_file.h"

namespace inferd {

Status ModelLoader::Load(const ModelEntry& entry, const Progress& progress) {
  MutexLock lock(mutex_);
  return LoadLocked(entry, progress).status();
}

StatusOr<Digest> ModelLoader::Load(const ModelEntry& entry) {
  RETURN_IF_ERROR(CheckModelName(entry.name));
  MutexLock lock(mutex_);
  if (models_.Find(entry.name).ok()) {
    return ErrorF(StatusCode::kAlreadyExists, "model %s is there already", entry.name);
  }
  ASSIGN_OR_RETURN(const auto model, LoadLocked(entry, [](const std::string&) {}));
  return model->digest;
}

StatusOr<std::shared_ptr<const ResidentModel>> ModelLoader::LoadLocked(const ModelEntry& entry,
                                                                       const Progress& progress) {
  const TimePoint start = SystemClock().Now();
  std::atomic<uint64_t> shown{0};
  ASSIGN_OR_RETURN(ModelReading reading, ReadModel(entry.path, [&](uint64_t done, uint64_t total) {
                     const uint64_t percent = done * 100 / total;
                     if (shown.exchange(percent) != percent) {
                       progress(absl::StrFormat("loading %s: %d %% read", entry.name, percent));
                     }
                   }));
  // From here on nothing of the files is read any more.
  const Digest digest = reading.contents.root;
  ASSIGN_OR_RETURN(
      const std::unique_ptr<ModelFile> file,
      ModelFile::FromBytes(
          entry.path, std::move(reading.files), {.context_tokens_max = entry.context_tokens_max}));
  progress(absl::StrFormat("loading %s: packing weights", entry.name));
  ASSIGN_OR_RETURN(
      std::shared_ptr<const ResidentModel> model,
      engine_.LoadModel(entry.name, digest, *file, ReservedBlocks(config_, entry.name)));
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
       {"digest", DigestText(digest)},
       {"numerics_id", DigestText(model->numerics_id)},
       {"quantization", model->quantization},
       {"weight_bytes", std::to_string(model->weight_bytes)},
       {"kv_tokens_max", std::to_string(model->kv_tokens_max)},
       {"device", device_.capabilities().name},
       {"duration_ms", std::to_string(millis.count())}});
  models_.SetReady(device_.capabilities().name, model);
  LogPlan();
  return model;
}

Status ModelLoader::Unload(const std::string& name, Duration drain_max) {
  MutexLock lock(mutex_);
  const auto entry = models_.Find(name);
  if (!entry.ok() || !entry->ready() || entry->name != name) {
    return ErrorF(StatusCode::kNotFound, "no model of that name is loaded");
  }
  // Nobody finds it by name any more; requests that had found it are refused or finished.
  models_.Remove(name);
  RETURN_IF_ERROR(engine_.UnloadModel(entry->model->slot, drain_max));
  Log(LogLevel::kInfo, "model unloaded", {{"model", name}});
  LogPlan();
  return Record(LeafType::kModelUnloaded, *entry->model);
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
  ModelFacts facts{.ref = model.name, .digest = model.digest, .quant = model.quantization};
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
