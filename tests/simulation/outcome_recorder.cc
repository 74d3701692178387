#include "tests/simulation/outcome_recorder.h"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <utility>

#include "base/random.h"
#include "tests/simulation/scheduler_setup.h"

namespace inferd::sim {
namespace {

uint64_t Fold(uint64_t hash, uint64_t value) { return SplitMix64(hash ^ value).Next(); }

}  // namespace

OutcomeRecorder::OutcomeRecorder(const Workload& workload,
                                 const RunOptions& options,
                                 Checks& checks)
    : workload_(workload),
      options_(options),
      checks_(checks),
      last_token_(workload.submissions.size()) {
  report_.requests.resize(workload.submissions.size());
  report_.tenants.resize(workload.tenants.size());
}

void OutcomeRecorder::RecordEnd(uint32_t index, EndKind kind, Duration at) {
  RequestOutcome& outcome = report_.requests[index];
  if (outcome.end != EndKind::kOpen) {
    checks_.Fail(check::kSettle, workload_.submissions[index].name + " ends a second time");
  }
  outcome.end = kind;
  outcome.ended = at;
}

void OutcomeRecorder::Preempted(uint32_t index) {
  ++report_.requests[index].preemptions;
  ++report_.preemptions;
}

void OutcomeRecorder::Planned(const StepPlan& plan) {
  uint64_t hash = Fold(report_.plan_hash, plan.model.value());
  for (const PlanRow& row : plan.rows) {
    hash = Fold(hash, row.sequence->id().value());
    hash = Fold(hash, static_cast<uint64_t>(row.start));
    hash = Fold(hash, static_cast<uint64_t>(row.n_tokens));
    for (size_t g = 0; g < workload_.models[plan.model.value()].groups.size(); ++g) {
      for (const BlockIndex block : row.sequence->block_table(g)) {
        hash = Fold(hash, block);
      }
    }
  }
  for (const StateCopy& copy : plan.copies_before) {
    if (copy.from_place != copy.to_place) {
      hash = Fold(hash, (uint64_t{copy.from} << 32) + copy.to);
    }
  }
  for (const Ended& ended : plan.ended) {
    hash = Fold(hash, ended.id.value());
  }
  for (const SequenceId id : plan.preempted) {
    hash = Fold(hash, ~id.value());
  }
  report_.plan_hash = hash;
}

// Delivered service is what is computed for the first time.
void OutcomeRecorder::Started(const PlanRow& row, uint32_t index, Duration at, StepShape& shape) {
  RequestOutcome& outcome = report_.requests[index];
  if (!outcome.started.has_value()) {
    outcome.started = at;
    outcome.cached_tokens = row.sequence->num_cached_tokens();
    report_.cached_tokens += row.sequence->num_cached_tokens();
    high_water_[index] = row.start;
  }
  const Submission& submission = workload_.submissions[index];
  const int64_t end = row.end();
  int64_t& high_water = high_water_[index];
  const int64_t again = std::max<int64_t>(0, std::min(high_water, end) - row.start);
  const int64_t first = std::max(row.start, high_water);
  const int64_t prompt =
      std::max<int64_t>(0, std::min<int64_t>(end, submission.prompt_tokens) - first);
  high_water = std::max(high_water, end);
  report_.recomputed_tokens += again;
  report_.requests[index].recomputed_tokens += again;
  report_.prompt_tokens += prompt;
  report_.tenants[submission.tenant].delivered_units +=
      kPromptTokenUnits * prompt + (row.sample ? kOutputTokenUnits : 0);
  const bool decode = row.n_tokens == 1 + std::ssize(row.draft) && row.sample;
  shape.decode_rows += decode ? 1 : 0;
  shape.prefill_tokens += row.n_tokens - (decode ? 1 : 0);
  shape.context_tokens += end;
}

void OutcomeRecorder::StepTakes(Duration time) {
  report_.busy += time;
  ++report_.steps;
}

void OutcomeRecorder::SampleService(const Scheduler& scheduler, Duration at) {
  ServiceSample sample{.at = at, .delivered_units = {}, .waiting = {}};
  for (size_t t = 0; t < report_.tenants.size(); ++t) {
    sample.delivered_units.push_back(report_.tenants[t].delivered_units);
    const Tenant* tenant = scheduler.tenants().Find(TenantId(workload_.tenants[t].name));
    sample.waiting.push_back(tenant != nullptr && tenant->num_waiting > 0);
  }
  report_.service.push_back(std::move(sample));
}

void OutcomeRecorder::TakeDraws(
    const PlanRow& row, uint32_t index, const RowDraws& draws, Duration at, RowResult& result) {
  result.token = draws[0];
  result.finished = TakeToken(row, index, draws[0], 0, at);
  for (size_t d = 0; d < row.draft.size() && !result.finished && draws[d] == row.draft[d]; ++d) {
    result.more[d] = draws[d + 1];
    result.finished = TakeToken(row, index, draws[d + 1], ++result.num_more, at);
    report_.tenants[workload_.submissions[index].tenant].delivered_units += kOutputTokenUnits;
    ++report_.accepted_tokens;
    // What came true is computed: it is not computed again, should it have to be.
    high_water_[index] = std::max(high_water_[index], row.end() + result.num_more);
  }
}

// True if it is the last token of its request. `before`: tokens of the same row.
bool OutcomeRecorder::TakeToken(
    const PlanRow& row, uint32_t index, TokenId token, int64_t before, Duration at) {
  RequestOutcome& outcome = report_.requests[index];
  if (std::ssize(row.sequence->output()) + before != outcome.output_tokens) {
    checks_.Fail(check::kStream,
                 absl::StrFormat("%s has %d tokens, %d were streamed",
                                 workload_.submissions[index].name,
                                 row.sequence->output().size(),
                                 outcome.output_tokens));
  }
  if (!outcome.first_token.has_value()) {
    outcome.first_token = at;
  } else if (options_.record_token_gaps) {
    report_.token_gaps_s.push_back(std::chrono::duration<double>(at - last_token_[index]).count());
  }
  last_token_[index] = at;
  outcome.output_hash = FoldToken(outcome.output_hash, token);
  ++report_.output_tokens;
  return ++outcome.output_tokens == workload_.submissions[index].output_tokens;
}

void OutcomeRecorder::CheckOutput(uint32_t index) {
  const bool sensitive = options_.sensitive_to_chunks;
  const uint32_t model = workload_.submissions[index].model;
  if (sensitive && workload_.models[model].groups[0].window == 1) {
    return;  // what decoding left behind is out of sight at once
  }
  if (!options_.check || (sensitive && (!workload_.device.cut_at_blocks ||
                                        report_.requests[index].recomputed_tokens > 0))) {
    return;
  }
  if (report_.requests[index].output_hash != OutputHashAlone(workload_, index, sensitive)) {
    checks_.Fail(check::kOutput,
                 workload_.submissions[index].name + " does not say what it says alone");
  }
}

Report OutcomeRecorder::Finish(const Scheduler& scheduler, Duration at) {
  report_.ended = at;
  const SchedulerStats stats = scheduler.stats();
  report_.blocks_held = stats.blocks_used + stats.host_units_used;
  report_.swapped_in = static_cast<int64_t>(stats.swapped_in);
  report_.cache_lookup_tokens = static_cast<int64_t>(stats.cache.lookup_tokens);
  report_.cache_hit_tokens = static_cast<int64_t>(stats.cache.hit_tokens);
  if (!checks_.violation().has_value() &&
      report_.recomputed_tokens != static_cast<int64_t>(stats.recomputed_tokens)) {
    checks_.Fail(check::kIntegrity,
                 absl::StrFormat("%d tokens were computed again, the scheduler says %d",
                                 report_.recomputed_tokens,
                                 stats.recomputed_tokens));
  }
  report_.violation = checks_.violation();
  const FairnessMonitor& fairness = checks_.fairness();
  report_.lemma_excess = fairness.lemma_excess();
  report_.pair_gap = fairness.pair_gap();
  report_.largest_grant = fairness.largest_grant();
  report_.bound_used = fairness.bound_used();
  return std::move(report_);
}

}  // namespace inferd::sim
