#include "scheduler/model_lane.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace inferd {

ModelLane::ModelLane(ModelSpec spec, TenantTable& tenants)
    : spec_(std::move(spec)),
      step_time_(spec_.step_time),
      resident_(spec_.resident),
      tenants_(tenants),
      store_(spec_.geometry, spec_.units),
      host_(spec_.geometry, spec_.host) {}

ModelLane::QueueKey ModelLane::KeyOf(const Sequence& sequence) {
  return {!sequence.preempted_, sequence.class_order_, sequence.first_token_due_, sequence.id()};
}

const ModelLane::Queue& ModelLane::queue(FlowIndex flow) const {
  static const Queue kEmpty;
  return flow < queues_.size() ? queues_[flow] : kEmpty;
}

void ModelLane::Wait(Sequence& sequence) {
  ++num_waiting_;
  num_due_ += sequence.first_token_due_ != TimePoint::max() ? 1 : 0;
  if (sequence.paused_ || !resident_) {
    aside_.emplace(sequence.id(), &sequence);
    return;
  }
  if (queues_.size() <= sequence.flow_) {
    queues_.resize(sequence.flow_ + 1);
  }
  queues_[sequence.flow_].emplace(KeyOf(sequence), &sequence);
  sequence.waiting_units_ = ExpectedUnits(sequence);
  tenants_.AddEligible(
      *sequence.tenant_, sequence.flow_, sequence.waiting_units_, sequence.spec().tokens_max);
}

void ModelLane::StopWaiting(Sequence& sequence) {
  --num_waiting_;
  num_due_ -= sequence.first_token_due_ != TimePoint::max() ? 1 : 0;
  if (aside_.erase(sequence.id()) > 0) {
    return;
  }
  const size_t erased = queues_[sequence.flow_].erase(KeyOf(sequence));
  CHECK(erased == 1);
  tenants_.RemoveEligible(
      *sequence.tenant_, sequence.flow_, sequence.waiting_units_, sequence.spec().tokens_max);
}

void ModelLane::Enqueue(Sequence& sequence) {
  store_.Attach(sequence);
  Wait(sequence);
}

void ModelLane::Remove(Sequence& sequence) {
  CHECK(!sequence.in_flight());
  if (sequence.waits()) {
    StopWaiting(sequence);
    host_.Drop(sequence);
  } else {
    std::erase(running_, &sequence);
    --num_running_;
    num_paused_running_ -= sequence.paused_ ? 1 : 0;
    store_.Release(sequence);
    tenants_.RemoveResident(*sequence.tenant_, sequence.flow_, sequence.spec().tokens_max);
  }
  store_.Detach(sequence);
}

void ModelLane::SetPaused(Sequence& sequence, bool paused) {
  if (sequence.paused_ == paused) {
    return;
  }
  const bool waits = sequence.waits();
  if (waits) {
    StopWaiting(sequence);
  }
  sequence.paused_ = paused;
  if (waits) {
    Wait(sequence);
  } else {
    num_paused_running_ += paused ? 1 : -1;
  }
}

void ModelLane::SetResident() {
  resident_ = true;
  for (const auto& [id, sequence] : std::exchange(aside_, {})) {
    --num_waiting_;
    num_due_ -= sequence->first_token_due_ != TimePoint::max() ? 1 : 0;
    Wait(*sequence);
  }
}

int64_t ModelLane::ExpectedUnits(const Sequence& sequence) const {
  const int64_t prompt = std::max<int64_t>(0, sequence.num_prompt_tokens() - sequence.high_water_);
  const int64_t output =
      sequence.tenant_->ExpectedOutput(sequence.spec().tokens_max - sequence.num_tokens());
  return spec_.costs.prompt_token * prompt + spec_.costs.output_token * output;
}

int64_t ModelLane::NumBefore(const Sequence& sequence) const {
  const Queue& before = queue(sequence.flow_);
  return std::distance(before.begin(), before.lower_bound(KeyOf(sequence)));
}

int64_t ModelLane::UnitsBefore(const Sequence& sequence) const {
  int64_t units = 0;
  const Queue& before = queue(sequence.flow_);
  for (auto it = before.begin(); it != before.end() && it->second != &sequence; ++it) {
    units += it->second->waiting_units_;
  }
  return units;
}

Sequence* ModelLane::LastNew(const Tenant& tenant) const {
  Sequence* last = nullptr;
  const auto consider = [&](Sequence* sequence) {
    if (sequence->tenant_ == &tenant && !sequence->started_ &&
        (last == nullptr || KeyOf(*last) < KeyOf(*sequence))) {
      last = sequence;
    }
  };
  for (const Queue& queue : queues_) {
    for (const auto& [key, sequence] : queue) {
      consider(sequence);
    }
  }
  for (const auto& [id, sequence] : aside_) {
    consider(sequence);
  }
  return last;
}

void ModelLane::Admit(Sequence& sequence) {
  StopWaiting(sequence);
  sequence.state_ = SequenceState::kRunning;
  sequence.preempted_ = false;
  if (!std::exchange(sequence.was_admitted_, true)) {
    sequence.cached_tokens_ = sequence.computed_;
  }
  const auto place = std::upper_bound(
      running_.begin(), running_.end(), &sequence, [](const Sequence* a, const Sequence* b) {
        return a->id() < b->id();
      });
  running_.insert(place, &sequence);
  ++num_running_;
  CHECK(!sequence.paused_);
  tenants_.AddResident(*sequence.tenant_, sequence.flow_, sequence.spec().tokens_max);
}

// Where results depend on how a prompt is cut (rule D4), state that decoding left is never computed
// again if it can be kept. Else what takes less time: copying there and back, or prefill.
bool ModelLane::PrefersSwap(const Sequence& sequence) const {
  const Tenant& tenant = *sequence.tenant_;
  if (!host_.HasRoomFor(sequence) ||
      tenant.num_host_units + HostStore::UnitsOf(sequence) > tenant.spec.host_units_max) {
    return false;
  }
  return spec_.chunk_grid != 1 ||
         host_.CopyTime(sequence).count() < step_time_.prefill_token_ns * sequence.computed_;
}

void ModelLane::SwapIn(Sequence& sequence) {
  host_.CopyIn(sequence, copies_);
  store_.Restored(sequence);
  ++swapped_in_;
}

int64_t ModelLane::Preempt(Sequence& sequence) {
  CHECK(sequence.state_ == SequenceState::kRunning && !sequence.in_flight());
  int64_t tokens = sequence.computed_;
  if (PrefersSwap(sequence)) {
    const int64_t token_ns = std::max<int64_t>(1, step_time_.prefill_token_ns);
    tokens = std::min(tokens, host_.CopyTime(sequence).count() / token_ns);
    host_.CopyOut(sequence, copies_);
    store_.ReleaseUnits(sequence);
    sequence.state_ = SequenceState::kSwapped;
    ++swapped_out_;
  } else {
    store_.Release(sequence);
    sequence.state_ = SequenceState::kWaiting;
  }
  sequence.preempted_ = true;
  ++sequence.preemptions_;
  --num_running_;
  num_paused_running_ -= sequence.paused_ ? 1 : 0;
  tenants_.RemoveResident(*sequence.tenant_, sequence.flow_, sequence.spec().tokens_max);
  Wait(sequence);
  return tokens;
}

void ModelLane::Compact() {
  if (num_running_ != static_cast<int64_t>(running_.size())) {
    std::erase_if(running_, [](const Sequence* sequence) { return sequence->waits(); });
  }
}

bool ModelLane::HasWork() const {
  if (std::any_of(running_.begin(), running_.end(), [](const Sequence* sequence) {
        return sequence->state() == SequenceState::kRunning && sequence->plannable();
      })) {
    return true;
  }
  return num_waiting_ > static_cast<int64_t>(aside_.size());
}

uint64_t ModelLane::LowestKey() const {
  uint64_t lowest = ServicePolicy::kNoWindow;
  for (const Sequence* sequence : running_) {
    if (sequence->plannable()) {
      lowest = std::min(lowest, tenants_.flow(sequence->flow_).key);
    }
  }
  for (FlowIndex flow = 0; flow < queues_.size(); ++flow) {
    if (!queues_[flow].empty() && tenants_.flow(flow).backlogged()) {
      lowest = std::min(lowest, tenants_.flow(flow).key);
    }
  }
  return lowest;
}

SequenceId ModelLane::OldestId() const {
  SequenceId oldest(std::numeric_limits<uint64_t>::max());
  if (!running_.empty()) {
    oldest = running_.front()->id();
  }
  for (const Queue& queue : queues_) {
    if (!queue.empty()) {
      oldest = std::min(oldest, queue.begin()->second->id());
    }
  }
  return oldest;
}

Status ModelLane::CheckIntegrity(std::span<const std::vector<BlockIndex>> checkpoints) const {
  if (!std::is_sorted(running_.begin(), running_.end(), [](const Sequence* a, const Sequence* b) {
        return a->id() < b->id();
      })) {
    return ErrorF(StatusCode::kInternal, "running sequences are out of order");
  }
  size_t waiting = aside_.size();
  std::vector<const Sequence*> swapped;
  for (const auto& [id, sequence] : aside_) {
    if (sequence->state_ == SequenceState::kSwapped) {
      swapped.push_back(sequence);
    }
  }
  for (FlowIndex flow = 0; flow < queues_.size(); ++flow) {
    waiting += queues_[flow].size();
    for (const auto& [key, sequence] : queues_[flow]) {
      if (sequence->state_ == SequenceState::kSwapped) {
        swapped.push_back(sequence);
      }
      if (!sequence->waits() || key != KeyOf(*sequence) || sequence->flow_ != flow ||
          sequence->paused_) {
        return ErrorF(StatusCode::kInternal, "sequence %d waits wrongly", sequence->id().value());
      }
    }
  }
  if (static_cast<int64_t>(waiting) != num_waiting_ ||
      static_cast<int64_t>(running_.size()) != num_running_ ||
      std::count_if(running_.begin(), running_.end(), [](const Sequence* sequence) {
        return sequence->paused_;
      }) != num_paused_running_) {
    return ErrorF(StatusCode::kInternal, "counts of running or waiting sequences are off");
  }
  RETURN_IF_ERROR(host_.CheckIntegrity(swapped));
  const std::vector<const Sequence*> residents(running_.begin(), running_.end());
  return store_.CheckIntegrity(residents, checkpoints);
}

}  // namespace inferd
