#include "engine/engine.h"

#include <future>
#include <thread>
#include <utility>

#include "engine/core.h"
#include "engine/inbox.h"
#include "engine/loaded_model.h"
#include "engine/prefix_root.h"
#include "engine/request_check.h"
#include "model/model_file.h"

namespace inferd {

using engine_internal::Arrival;
using engine_internal::Core;
using engine_internal::Inbox;
using engine_internal::LoadedModel;
using engine_internal::SlabBudget;

namespace {

constexpr Duration kDrainPoll = std::chrono::milliseconds(10);
constexpr Duration kDrainMax = std::chrono::hours(24 * 365);  // so that a time can be added

}  // namespace

// The door: checks on the caller's thread, an inbox, and the core thread behind it.
class Engine::Impl {
 public:
  Impl(Device& device, const Clock& clock, EventSink& sink, const EngineOptions& options)
      : device_(device),
        clock_(clock),
        options_(options),
        budget_(options.memory_bytes),
        inbox_(options.waiting_max),
        core_(device, clock, sink, options, inbox_) {}

  ~Impl() {
    inbox_.Stop();
    if (thread_.joinable()) {
      thread_.join();
    } else {
      core_.CancelAll();
    }
  }

  // Calls look(core) between two steps.
  template <typename Look>
  auto Between(const Look& look) EXCLUDES(core_mutex_) {
    MutexLock lock(core_mutex_);
    inbox_.Park();
    auto seen = look(core_);
    inbox_.Unpark();
    return seen;
  }

  StatusOr<std::shared_ptr<const ResidentModel>> LoadModel(const std::string& name,
                                                           const Digest& digest,
                                                           const ModelFile& file,
                                                           int64_t reserved_blocks,
                                                           const std::string& version)
      EXCLUDES(load_mutex_, core_mutex_, models_mutex_) {
    MutexLock lock(load_mutex_);
    const ModelSlot slot = NextSlot();
    ASSIGN_OR_RETURN(LoadedModel loaded,
                     engine_internal::Describe(device_,
                                               options_,
                                               {.name = name,
                                                .version = version,
                                                .digest = digest,
                                                .slot = slot,
                                                .reserved_blocks = reserved_blocks},
                                               file));
    SlabBudget::Need need = engine_internal::MemoryNeed(device_, loaded, file);
    // Two versions of a name are told apart where memory lacks, too.
    const std::string label = version.empty() ? name : name + ':' + version;
    RETURN_IF_ERROR(TakeMemory(slot, label, need));
    inbox_.Park();
    const auto let_run = [this] { inbox_.LetRun(); };
    Status status = engine_internal::Pack(device_, options_, file, let_run, loaded);
    if (status.ok()) {
      need.weight_bytes = loaded.resident->weight_bytes;
      status = TakeMemory(slot, label, need);
    }
    std::shared_ptr<const ResidentModel> resident = loaded.resident;
    if (status.ok()) {
      MutexLock core_lock(core_mutex_);
      status = core_.AddModel(std::move(loaded));
    }
    inbox_.Unpark();
    MutexLock models_lock(models_mutex_);
    if (!status.ok()) {
      budget_.Give(slot);
      return status;
    }
    models_.push_back({.model = resident, .reserved_blocks = reserved_blocks});
    return resident;
  }

  Status UnloadModel(ModelSlot slot, Duration drain_max)
      EXCLUDES(load_mutex_, core_mutex_, models_mutex_) {
    RETURN_IF_ERROR(BeginLeaving(slot));
    Between([slot](Core& core) {
      core.DrainModel(slot);
      return true;
    });
    const TimePoint end = clock_.Now() + std::min<Duration>(drain_max, kDrainMax);
    LoadedModel removed;
    while (!Between(
        [&](Core& core) { return core.RemoveModel(slot, clock_.Now() >= end, removed); })) {
      std::this_thread::sleep_for(kDrainPoll);
    }
    // Its requests have ended, whatever is packed meanwhile. Its memory waits for that: a device
    // takes and gives memory for one at a time.
    MutexLock lock(load_mutex_);
    removed = LoadedModel();
    MutexLock models_lock(models_mutex_);
    models_[slot.value()] = {};
    budget_.Give(slot);
    return OkStatus();
  }

  void Start() {
    inbox_.CoreRuns(true);
    thread_ = std::thread([this] {
      core_.Run();
      inbox_.CoreRuns(false);
    });
  }

  StatusOr<StreamHandle> Submit(GenerationRequest request) EXCLUDES(models_mutex_) {
    ASSIGN_OR_RETURN(const Served served, Find(request.model));
    ASSIGN_OR_RETURN(const int64_t tokens_max, Check(request, *served.model));
    Arrival arrival;
    if (options_.prefix_cache) {
      arrival.prefix =
          engine_internal::MakePrefix(request, *served.model, served.public_blocks > 0);
    }
    arrival.model = served.model;
    arrival.request = std::move(request);
    arrival.tokens_max = tokens_max;
    return inbox_.Push(std::move(arrival));
  }

  // One sequence of the prompt's whole blocks, on the operator's account.
  Status RegisterPublicPrefix(ModelSlot slot, const std::vector<TokenId>& prompt)
      EXCLUDES(models_mutex_) {
    const int64_t blocks = static_cast<int64_t>(prompt.size()) / kBlockTokens;
    if (blocks == 0 || !options_.prefix_cache) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "a public prefix of %d tokens: only whole blocks of %d tokens are kept, and "
                    "only with a prefix cache",
                    prompt.size(),
                    kBlockTokens);
    }
    if (!inbox_.core_runs()) {
      return ErrorF(StatusCode::kFailedPrecondition, "the engine does not run yet");
    }
    GenerationRequest request;
    request.tenant = TenantId(std::string(kOperatorTenant));
    request.model = slot;
    request.prompt = std::make_shared<const std::vector<TokenId>>(
        prompt.begin(), prompt.begin() + blocks * kBlockTokens);
    request.stopping.max_tokens = 1;
    request.want_text = false;
    request.arrival = clock_.Now();
    ASSIGN_OR_RETURN(const Served served, ReservePublic(slot, blocks));
    const Status computed = Compute(std::move(request), served.model);
    if (!computed.ok()) {
      MutexLock lock(models_mutex_);
      models_[slot.value()].public_blocks -= blocks;
    }
    return computed;
  }

  EngineReport Report() EXCLUDES(core_mutex_, models_mutex_) {
    EngineReport report = Between([](Core& core) { return core.Report(); });
    MutexLock lock(models_mutex_);
    report.memory = budget_.uses();
    report.memory_slabs_max = budget_.capacity();
    return report;
  }

  Inbox& inbox() { return inbox_; }
  EngineStats stats() const { return core_.stats(); }

 private:
  struct Served {
    std::shared_ptr<const ResidentModel> model;  // shared with whoever has a request of it
    int64_t reserved_blocks = 0;                 // of every group: no request counts on them
    int64_t public_blocks = 0;                   // of them, pinned
    bool leaving = false;                        // no new requests
  };

  ModelSlot NextSlot() EXCLUDES(models_mutex_) {
    MutexLock lock(models_mutex_);
    return ModelSlot(static_cast<uint32_t>(models_.size()));
  }

  Status TakeMemory(ModelSlot slot, const std::string& name, const SlabBudget::Need& need)
      EXCLUDES(models_mutex_) {
    MutexLock lock(models_mutex_);
    return budget_.Take(slot, name, need);
  }

  StatusOr<Served> Find(ModelSlot slot) EXCLUDES(models_mutex_) {
    MutexLock lock(models_mutex_);
    return FindLocked(slot);
  }

  // Once of each model: the next finds that it is leaving.
  Status BeginLeaving(ModelSlot slot) EXCLUDES(models_mutex_) {
    MutexLock lock(models_mutex_);
    RETURN_IF_ERROR(FindLocked(slot).status());
    models_[slot.value()].leaving = true;
    return OkStatus();
  }

  StatusOr<Served> FindLocked(ModelSlot slot) REQUIRES(models_mutex_) {
    if (slot.value() >= models_.size() || models_[slot.value()].model == nullptr) {
      return ErrorF(StatusCode::kNotFound, "no model in slot %d of this engine", slot.value());
    }
    const Served& served = models_[slot.value()];
    if (served.leaving) {
      return ErrorF(StatusCode::kUnavailable, "model %s is being taken away", served.model->name);
    }
    return served;
  }

  StatusOr<Served> ReservePublic(ModelSlot slot, int64_t blocks) EXCLUDES(models_mutex_) {
    RETURN_IF_ERROR(Find(slot).status());
    MutexLock lock(models_mutex_);
    Served& served = models_[slot.value()];
    if (served.public_blocks + blocks > served.reserved_blocks) {
      return ErrorF(StatusCode::kResourceExhausted,
                    "a public prefix of %d blocks: model %s has %d set aside, %d are taken",
                    blocks,
                    served.model->name,
                    served.reserved_blocks,
                    served.public_blocks);
    }
    served.public_blocks += blocks;
    return served;
  }

  // Runs a registration to its end.
  Status Compute(GenerationRequest request, const std::shared_ptr<const ResidentModel>& model) {
    Arrival arrival;
    ASSIGN_OR_RETURN(arrival.tokens_max, Check(request, *model));
    arrival.prefix = engine_internal::MakePublicPrefix(*request.prompt, *model);
    arrival.model = model;
    arrival.request = std::move(request);
    arrival.registration = std::make_shared<std::promise<Status>>();
    std::future<Status> done = arrival.registration->get_future();
    RETURN_IF_ERROR(inbox_.Push(std::move(arrival)).status());
    return done.get();
  }

  StatusOr<int64_t> Check(const GenerationRequest& request, const ResidentModel& model) const {
    if (request.service_class < 0 ||
        static_cast<size_t>(request.service_class) >= options_.classes.size()) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "service_class: %d, there are %d",
                    request.service_class,
                    options_.classes.size());
    }
    return engine_internal::CheckRequest(request, model, clock_.Now());
  }

  // Constant after construction.
  Device& device_;
  const Clock& clock_;
  const EngineOptions options_;

  Mutex load_mutex_;  // one takes or gives a model's memory at a time
  Mutex core_mutex_;  // of those who park, one touches the core
  Mutex models_mutex_;
  std::vector<Served> models_ GUARDED_BY(models_mutex_);  // by slot
  SlabBudget budget_ GUARDED_BY(models_mutex_);
  Inbox inbox_;
  Core core_;
  std::thread thread_;
};

Engine::Engine(Device& device, const Clock& clock, EventSink& sink, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(device, clock, sink, options)) {}

Engine::~Engine() = default;

StatusOr<std::shared_ptr<const ResidentModel>> Engine::LoadModel(const std::string& name,
                                                                 const Digest& digest,
                                                                 const ModelFile& file,
                                                                 int64_t reserved_blocks,
                                                                 const std::string& version) {
  return impl_->LoadModel(name, digest, file, reserved_blocks, version);
}

void Engine::Start() { impl_->Start(); }

StatusOr<StreamHandle> Engine::Submit(GenerationRequest request) {
  return impl_->Submit(std::move(request));
}

void Engine::Cancel(StreamHandle stream) { impl_->inbox().Cancel(stream); }
void Engine::Pause(StreamHandle stream) { impl_->inbox().SetPaused(stream, true); }
void Engine::Resume(StreamHandle stream) { impl_->inbox().SetPaused(stream, false); }
void Engine::Drain() { impl_->inbox().Drain(); }
bool Engine::idle() const { return impl_->inbox().idle(); }
Status Engine::UnloadModel(ModelSlot model, Duration drain_max) {
  return impl_->UnloadModel(model, drain_max);
}
Status Engine::SetTenant(const TenantId& id, const TenantSpec& spec) {
  return impl_->Between([&](Core& core) { return core.SetTenant(id, spec); });
}
Status Engine::RegisterPublicPrefix(ModelSlot model, const std::vector<TokenId>& prompt) {
  return impl_->RegisterPublicPrefix(model, prompt);
}
EngineReport Engine::Report() { return impl_->Report(); }
std::vector<StreamReport> Engine::Explain(const std::vector<StreamHandle>& streams) {
  return impl_->Between([&](Core& core) { return core.Explain(streams); });
}
EngineStats Engine::stats() const { return impl_->stats(); }

}  // namespace inferd
