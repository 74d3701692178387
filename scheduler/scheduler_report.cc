// What Scheduler says of itself: why a sequence waits, its counts, whether its invariants hold.
#include <algorithm>
#include <map>
#include <utility>

#include "scheduler/scheduler.h"

namespace inferd {

std::optional<QueueReport> Scheduler::Explain(SequenceId id) const {
  const Sequence* sequence = Find(id);
  if (sequence == nullptr) {
    return std::nullopt;
  }
  using Reason = QueueReport::Reason;
  QueueReport report;
  const ModelLane& lane = *lanes_[sequence->spec().model.value()];
  if (sequence->paused_) {
    report.reason = Reason::kPaused;
  } else if (sequence->state_ == SequenceState::kRunning) {
    report.reason = Reason::kRunning;
  } else if (!lane.resident()) {
    report.reason = Reason::kModel;
  } else {
    const Flow& flow = tenants_.flow(sequence->flow_);
    for (const Flow& other : tenants_.flows()) {
      report.num_flows_ahead += other.backlogged() && other.key < flow.key ? 1 : 0;
    }
    report.num_before = lane.NumBefore(*sequence);
    report.units_ahead = tenants_.UnitsAhead(sequence->flow_, lane.UnitsBefore(*sequence));
    report.starts_in = rate_.TimeFor(report.units_ahead);
    report.reason = !sequence->tenant_->MayRun(sequence->spec().tokens_max) ? Reason::kTenantCap
                    : report.num_before > 0                                 ? Reason::kOwnQueue
                    : report.num_flows_ahead > 0                            ? Reason::kOthersTurn
                                                                            : Reason::kRoom;
  }
  return report;
}

SchedulerStats Scheduler::stats() const {
  SchedulerStats stats;
  stats.preemptions = preemptions_;
  stats.recomputed_tokens = recomputed_tokens_;
  stats.shed = shed_;
  stats.drafted_tokens = drafted_tokens_;
  stats.accepted_tokens = accepted_tokens_;
  stats.refused_late = refused_late_;
  for (const std::unique_ptr<ModelLane>& lane : lanes_) {
    stats.running += lane->num_running();
    stats.waiting += lane->num_waiting();
    stats.blocks_used += lane->store().blocks_used();
    stats.blocks_cached += lane->store().blocks_cached();
    stats.blocks_total += lane->store().blocks_total();
    stats.swapped_out += lane->swapped_out();
    stats.swapped_in += lane->swapped_in();
    stats.host_units_used += lane->host().num_used();
    stats.host_units_total += lane->host().capacity();
    const PrefixCacheStats& cache = lane->store().cache_stats();
    stats.cache.lookup_tokens += cache.lookup_tokens;
    stats.cache.hit_tokens += cache.hit_tokens;
    stats.cache.lost_tokens += cache.lost_tokens;
    stats.cache.evictions += cache.evictions;
    stats.cache.units += cache.units;
  }
  return stats;
}

Status Scheduler::CheckIntegrity() const {
  int64_t in_lanes = 0;
  for (const std::unique_ptr<ModelLane>& lane : lanes_) {
    std::vector<std::vector<BlockIndex>> checkpoints;
    for (const InFlight& step : in_flight_) {
      for (const InFlight::Row& row : step.rows) {
        if (lanes_[row.sequence->spec().model.value()].get() == lane.get()) {
          checkpoints.push_back(row.checkpoint);
        }
      }
    }
    RETURN_IF_ERROR(lane->CheckIntegrity(checkpoints));
    in_lanes += lane->num_running() + lane->num_waiting();
  }
  if (in_lanes != static_cast<int64_t>(sequences_.size())) {
    return ErrorF(
        StatusCode::kInternal, "%d sequences, %d in the lanes", sequences_.size(), in_lanes);
  }
  int64_t never_ran = 0;
  int64_t prompt_tokens = 0;
  size_t alarms = 0;
  std::map<const Tenant*, std::pair<int64_t, int64_t>> held;  // sequences, tokens
  for (const auto& [id, sequence] : sequences_) {
    const bool live = sequence->state_ != SequenceState::kFinished;
    const bool never = live && !sequence->started_;
    never_ran += never ? 1 : 0;
    prompt_tokens += never ? sequence->num_prompt_tokens() : 0;
    alarms += live && sequence->spec().deadline.has_value() ? 1 : 0;
    alarms += never && QueueAlarm(*sequence).has_value() ? 1 : 0;
    alarms += live && PauseAlarm(*sequence).has_value() ? 1 : 0;
    if (!sequence->waits()) {  // it runs, or ended in a step that is in flight
      auto& [num_running, tokens] = held[sequence->tenant_];
      ++num_running;
      tokens += sequence->spec().tokens_max;
    }
    if (!live && !sequence->in_flight()) {
      return ErrorF(StatusCode::kInternal, "sequence %d ended and stayed", id.value());
    }
  }
  if (never_ran != waiting_.num_sequences() || prompt_tokens != waiting_.prompt_tokens() ||
      alarms != alarms_.size()) {
    return ErrorF(StatusCode::kInternal, "counts of waiting sequences or deadlines are off");
  }
  for (const auto& [id, tenant] : tenants_.all()) {
    if (held[tenant.get()] != std::pair(tenant->num_running, tenant->running_tokens)) {
      return ErrorF(StatusCode::kInternal, "tenant %s: counts of what runs are off", id.value());
    }
  }
  return OkStatus();
}

}  // namespace inferd
