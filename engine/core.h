// Core: what the core thread does. One call of Run is the thread's life: take the mail, plan a
// step, compute it, tell what came out.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/thread_annotations.h"
#include "engine/batch_builder.h"
#include "engine/generation_state.h"
#include "engine/inbox.h"
#include "engine/loaded_model.h"
#include "scheduler/scheduler.h"

namespace inferd::engine_internal {

// Owns scheduler, KV state, weights and running requests. Everything but stats() belongs to the
// core thread, or to whoever has parked it (Inbox::Park), or to the owner while there is none.
class Core {
 public:
  Core(Device& device,
       const Clock& clock,
       EventSink& sink,
       const EngineOptions& options,
       Inbox& inbox);

  // Until the inbox stops; then every request left is finished as kCancelled.
  void Run();
  // The end of Run, for an engine that was never started.
  void CancelAll();

  // Parked.
  Status AddModel(LoadedModel model);
  void DrainModel(ModelSlot model) { scheduler_.DrainModel(model); }
  // True once the drained model has no sequences: its state is free then, and what it had on the
  // device is handed to the caller to be destroyed. `evict`: the core thread ends those it has.
  bool RemoveModel(ModelSlot model, bool evict, LoadedModel& removed);

  // Parked.
  Status SetTenant(const TenantId& id, const TenantSpec& spec) {
    return scheduler_.SetTenant(id, spec);
  }
  EngineReport Report() const;
  std::vector<StreamReport> Explain(const std::vector<StreamHandle>& streams) const;

  EngineStats stats() const EXCLUDES(stats_mutex_);

 private:
  // What became of a tenant's tokens on one model, since the start.
  struct TokenCounts {
    uint64_t prompt = 0;
    uint64_t cached = 0;
    uint64_t output = 0;
  };
  void TakeMail(Mail&& mail);
  void Admit(Arrival&& arrival);
  void Obey(const Signal& signal);
  void RunStep(const StepPlan& plan);
  // kUnavailable if the device is lost.
  Status Compute(const StepPlan& plan);
  void MarkPlanned(const StepPlan& plan);
  StepResult TakeTokens(const StepPlan& plan);
  // True if the choice ends with it.
  bool TakeToken(GenerationState& generation, int32_t choice, SampledToken&& token);
  void LearnStepTime(const StepPlan& plan, Duration took);
  // Of one model, or all.
  void FinishAll(FinishReason reason, const Status& error, std::optional<ModelSlot> model = {});
  // Ends a choice that the scheduler does not know any more.
  void EndChoice(GenerationState& generation,
                 int32_t choice,
                 FinishReason reason,
                 const Status& error);
  // Completes the kFinished event of a choice that is done, and forgets it.
  void Close(GenerationState& generation, int32_t choice, GenerationEvent& event);
  void Publish();
  // Takes an event of a registration, which nobody outside hears of. False: it is another's.
  bool TakeRegistration(const GenerationEvent& event);
  void RenewLeases(const StepPlan& plan);
  TokenCounts& CountsOf(const GenerationState& generation);
  void CountSequence(const Sequence& sequence, TenantLoad& load) const;
  ChoiceReport ReportOf(const GenerationState& generation, int32_t choice) const;
  std::vector<ChoiceReport::Ahead> FlowsAhead(const Sequence& sequence) const;
  int64_t BlocksAvailable(ModelSlot model) const;
  void UpdateStats();
  std::optional<Duration> TimeToWait(bool ran_step) const;

  // Constant after construction.
  Device& device_;
  const Clock& clock_;
  EventSink& sink_;
  Inbox& inbox_;
  const EngineOptions options_;

  // Core thread.
  Scheduler scheduler_;
  std::vector<LoadedModel> models_;  // by slot
  std::unordered_map<StreamHandle, std::unique_ptr<GenerationState>> generations_;
  std::unordered_map<SequenceId, RowOwner> owners_;
  Status failure_;  // of the device, once it is lost
  std::set<ModelSlot> evicting_;
  BatchBuilder builder_;
  std::vector<RowOwner> row_owners_;  // of the plan in work
  std::vector<SampledToken> sampled_;
  std::vector<GenerationEvent> events_;  // of this step
  std::vector<StreamHandle> over_;       // streams that this step ended
  int64_t newly_started_ = 0;            // choices that stopped waiting in this step
  EngineStats counts_;
  // By tenant and slot: at most the tenants that the scheduler knows, for each model.
  std::map<std::pair<TenantId, uint32_t>, TokenCounts> token_counts_;

  mutable Mutex stats_mutex_;
  EngineStats published_ GUARDED_BY(stats_mutex_);
};

}  // namespace inferd::engine_internal
