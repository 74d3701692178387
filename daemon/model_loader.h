// ModelLoader: from a model's file to a model that answers, and away again: verify, load, register
// its public prefixes, record, tell the directory.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "backend/device.h"
#include "base/thread_annotations.h"
#include "daemon/audit_state.h"
#include "daemon/config.h"
#include "daemon/model_directory.h"
#include "daemon/queue_service.h"
#include "daemon/registry_state.h"
#include "engine/engine.h"
#include "governance/verify/leaf_types.h"

namespace inferd {

// Thread-safe: one load at a time. Everything it is given outlives it; `audit` may be
// absent.
class ModelLoader final : public ModelAdmin {
 public:
  // Called from several threads, with a line for people ("loading smollm2: 43 % verified").
  using Progress = std::function<void(const std::string&)>;

  ModelLoader(const Config& config,
              const Device& device,
              Engine& engine,
              ModelDirectory& models,
              RegistryState& registry,
              AuditState* audit)
      : config_(config),
        device_(device),
        engine_(engine),
        models_(models),
        registry_(registry),
        audit_(audit) {}

  // A model of the configuration, that is announced already. The engine runs.
  Status Load(const ModelEntry& entry, const Progress& progress) EXCLUDES(mutex_);

  StatusOr<Digest> Load(const ModelEntry& entry) override EXCLUDES(mutex_);
  Status Unload(const std::string& model, Duration drain_max) override EXCLUDES(mutex_);
  // Every version of these bytes, at once: what is in flight ends.
  Status UnloadBytes(const Digest& digest) override EXCLUDES(mutex_);

  // The records of an end of the process: every model leaves.
  void RecordEnd();

 private:
  Status Record(LeafType type, const ResidentModel& model);
  StatusOr<std::shared_ptr<const ResidentModel>> LoadLocked(const ModelEntry& entry,
                                                            RegistryState::Origin origin,
                                                            const Progress& progress)
      REQUIRES(mutex_);
  // Takes the entry from the directory, waits for who found it, and frees its memory.
  Status TakeAway(const ModelDirectory::Entry& entry, Duration drain_max);
  void LogPlan();

  const Config& config_;
  const Device& device_;
  Engine& engine_;
  ModelDirectory& models_;
  RegistryState& registry_;
  AuditState* const audit_;
  Mutex mutex_;
};

}  // namespace inferd
