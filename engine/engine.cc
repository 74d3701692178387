#include "engine/engine.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "engine/core.h"
#include "engine/inbox.h"
#include "engine/loaded_model.h"
#include "engine/prefix_root.h"
#include "engine/request_check.h"
#include "model/model_file.h"

namespace inferd {

using engine_internal::Core;
using engine_internal::Inbox;
using engine_internal::LoadedModel;

// The door: checks on the caller's thread, an inbox, and the core thread behind it.
class Engine::Impl {
 public:
  Impl(Device& device, const Clock& clock, EventSink& sink, const EngineOptions& options)
      : device_(device),
        clock_(clock),
        options_(options),
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

  StatusOr<std::shared_ptr<const ResidentModel>> LoadModel(const std::string& name,
                                                           const Digest& digest,
                                                           const ModelFile& file)
      EXCLUDES(load_mutex_, models_mutex_) {
    MutexLock lock(load_mutex_);
    inbox_.Park();
    StatusOr<std::shared_ptr<const ResidentModel>> model = LoadParked(name, digest, file);
    inbox_.Unpark();
    return model;
  }

  void Start() {
    inbox_.CoreRuns(true);
    thread_ = std::thread([this] {
      core_.Run();
      inbox_.CoreRuns(false);
    });
  }

  StatusOr<StreamHandle> Submit(GenerationRequest request) EXCLUDES(models_mutex_) {
    std::shared_ptr<const ResidentModel> model;
    {
      MutexLock lock(models_mutex_);
      if (request.model.value() >= models_.size()) {
        return ErrorF(
            StatusCode::kNotFound, "no model in slot %d of this engine", request.model.value());
      }
      model = models_[request.model.value()];
    }
    ASSIGN_OR_RETURN(const int64_t tokens_max,
                     engine_internal::CheckRequest(request, *model, clock_.Now()));
    std::shared_ptr<const PromptPrefix> prefix =
        options_.prefix_cache ? engine_internal::MakePrefix(request, *model) : nullptr;
    return inbox_.Push(std::move(request), tokens_max, std::move(prefix));
  }

  Inbox& inbox() { return inbox_; }
  EngineStats stats() const { return core_.stats(); }

 private:
  StatusOr<std::shared_ptr<const ResidentModel>> LoadParked(const std::string& name,
                                                            const Digest& digest,
                                                            const ModelFile& file)
      EXCLUDES(models_mutex_) {
    ASSIGN_OR_RETURN(
        LoadedModel loaded,
        engine_internal::Load(device_, options_, name, digest, file, core_.next_slot()));
    std::shared_ptr<const ResidentModel> resident = loaded.resident;
    RETURN_IF_ERROR(core_.AddModel(std::move(loaded)));
    MutexLock lock(models_mutex_);
    models_.push_back(resident);
    return resident;
  }

  // Constant after construction.
  Device& device_;
  const Clock& clock_;
  const EngineOptions options_;

  Mutex load_mutex_;  // one load at a time
  Mutex models_mutex_;
  std::vector<std::shared_ptr<const ResidentModel>> models_ GUARDED_BY(models_mutex_);  // by slot
  Inbox inbox_;
  Core core_;
  std::thread thread_;
};

Engine::Engine(Device& device, const Clock& clock, EventSink& sink, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(device, clock, sink, options)) {}

Engine::~Engine() = default;

StatusOr<std::shared_ptr<const ResidentModel>> Engine::LoadModel(const std::string& name,
                                                                 const Digest& digest,
                                                                 const ModelFile& file) {
  return impl_->LoadModel(name, digest, file);
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
EngineStats Engine::stats() const { return impl_->stats(); }

}  // namespace inferd
