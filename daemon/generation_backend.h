// GenerationBackend: the engine's door as the daemon uses it, so that everything in front of it is
// tested without one.
#pragma once

#include "base/status.h"
#include "engine/engine.h"

namespace inferd {

// All calls are thread-safe and never block. Events come through the EventSink that the backend
// was made with. See engine/engine.h for what each call means.
class GenerationBackend {
 public:
  virtual ~GenerationBackend() = default;
  virtual StatusOr<StreamHandle> Submit(GenerationRequest request) = 0;
  virtual void Cancel(StreamHandle stream) = 0;
  virtual void Pause(StreamHandle stream) = 0;
  virtual void Resume(StreamHandle stream) = 0;
  virtual EngineStats stats() const = 0;
};

// The real one. The engine outlives it.
class EngineBackend final : public GenerationBackend {
 public:
  explicit EngineBackend(Engine& engine) : engine_(engine) {}
  StatusOr<StreamHandle> Submit(GenerationRequest request) override {
    return engine_.Submit(std::move(request));
  }
  void Cancel(StreamHandle stream) override { engine_.Cancel(stream); }
  void Pause(StreamHandle stream) override { engine_.Pause(stream); }
  void Resume(StreamHandle stream) override { engine_.Resume(stream); }
  EngineStats stats() const override { return engine_.stats(); }

 private:
  Engine& engine_;
};

}  // namespace inferd
