// What Core tells of its tenants and of waiting requests. Called while the core thread stands
// still.
#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "engine/core.h"

namespace inferd::engine_internal {
namespace {

ChoiceReport::State StateOf(QueueReport::Reason reason) {
  switch (reason) {
    case QueueReport::Reason::kRunning:
      return ChoiceReport::State::kRunning;
    case QueueReport::Reason::kPaused:
      return ChoiceReport::State::kPaused;
    case QueueReport::Reason::kModel:
      return ChoiceReport::State::kModel;
    case QueueReport::Reason::kTenantCap:
      return ChoiceReport::State::kTenantCap;
    case QueueReport::Reason::kOwnQueue:
      return ChoiceReport::State::kOwnQueue;
    case QueueReport::Reason::kOthersTurn:
      return ChoiceReport::State::kOthersTurn;
    case QueueReport::Reason::kRoom:
      break;
  }
  return ChoiceReport::State::kRoom;
}

int64_t Units(uint64_t key) { return static_cast<int64_t>(key / ServicePolicy::kKeyScale); }

}  // namespace

EngineReport Core::Report() const {
  EngineReport report;
  report.stats = stats();
  report.fairness_window_units = options_.fairness_window_units;
  const TenantTable& table = scheduler_.tenants();
  const uint64_t floor = table.Floor();
  const auto load_of = [](TenantStanding& standing, uint32_t slot) -> TenantLoad& {
    for (TenantLoad& load : standing.loads) {
      if (load.model.value() == slot) {
        return load;
      }
    }
    return standing.loads.emplace_back(TenantLoad{.model = ModelSlot(slot)});
  };
  std::map<TenantId, size_t> index;
  for (const auto& [id, tenant] : table.all()) {
    const FlowIndex flow_index = table.FlowOf(*tenant, 0);
    const Flow& flow = table.flow(flow_index);
    index.emplace(id, report.tenants.size());
    report.tenants.push_back(
        {.tenant = id,
         .weight = tenant->spec.weight,
         .service_units = flow.service_units,
         .lead_units =
             floor == ServicePolicy::kNoWindow || flow.key <= floor ? 0 : Units(flow.key - floor),
         .backlogged = flow.backlogged(),
         .over_served = floor != ServicePolicy::kNoWindow && table.over_served(flow_index, floor),
         .loads = {}});
  }
  for (const auto& [key, counts] : token_counts_) {
    if (const auto it = index.find(key.first); it != index.end()) {
      TenantLoad& load = load_of(report.tenants[it->second], key.second);
      load.prompt_tokens = counts.prompt;
      load.cached_tokens = counts.cached;
      load.output_tokens = counts.output;
    }
  }
  for (const auto& [id, owner] : owners_) {
    const GenerationRequest& request = owner.generation->request;
    const Sequence* sequence = scheduler_.Find(id);
    const auto it = index.find(request.tenant);
    if (sequence != nullptr && it != index.end()) {
      CountSequence(*sequence, load_of(report.tenants[it->second], request.model.value()));
    }
  }
  return report;
}

void Core::CountSequence(const Sequence& sequence, TenantLoad& load) const {
  const bool running = sequence.state() == SequenceState::kRunning;
  load.running += running ? 1 : 0;
  load.waiting += running ? 0 : 1;
  load.paused += sequence.paused() ? 1 : 0;
  const size_t groups = models_[sequence.spec().model.value()].units.size();
  for (size_t g = 0; running && g < groups; ++g) {
    const std::span<const BlockIndex> table = sequence.block_table(g);
    load.kv_blocks += std::ssize(table) - std::count(table.begin(), table.end(), kNoBlock);
  }
}

std::vector<StreamReport> Core::Explain(const std::vector<StreamHandle>& streams) const {
  std::vector<StreamReport> reports;
  for (const StreamHandle stream : streams) {
    const auto it = generations_.find(stream);
    if (it == generations_.end()) {
      continue;  // it ended, or is still in the inbox
    }
    StreamReport& report = reports.emplace_back();
    report.stream = stream;
    for (int32_t choice = 0; choice < it->second->request.n; ++choice) {
      if (!it->second->choices[static_cast<size_t>(choice)].state.done()) {
        report.choices.push_back(ReportOf(*it->second, choice));
      }
    }
  }
  return reports;
}

ChoiceReport Core::ReportOf(const GenerationState& generation, int32_t choice) const {
  ChoiceReport report;
  report.choice = choice;
  const SequenceId id = generation.choices[static_cast<size_t>(choice)].sequence;
  const std::optional<QueueReport> queue = scheduler_.Explain(id);
  CHECK(queue.has_value());  // what is not done is the scheduler's
  const Sequence& sequence = *scheduler_.Find(id);
  report.state = StateOf(queue->reason);
  report.age = clock_.Now() - sequence.arrival();
  report.output_tokens = std::ssize(sequence.output());
  report.preemptions = sequence.num_preemptions();
  if (report.state == ChoiceReport::State::kRunning) {
    return report;
  }
  report.num_before = queue->num_before;
  report.units_ahead = queue->units_ahead;
  report.num_ahead = queue->num_flows_ahead;
  report.starts_in = queue->starts_in;
  report.ahead = FlowsAhead(sequence);
  report.blocks_needed =
      StateGroup::BlocksFor(std::min<int64_t>(sequence.num_tokens(), options_.step_tokens_max));
  report.blocks_available = BlocksAvailable(sequence.spec().model);
  return report;
}

std::vector<ChoiceReport::Ahead> Core::FlowsAhead(const Sequence& sequence) const {
  const TenantTable& table = scheduler_.tenants();
  const Tenant* own = table.Find(sequence.spec().tenant);
  if (own == nullptr) {
    return {};
  }
  const Flow& flow = table.flow(table.FlowOf(*own, sequence.spec().service_class));
  std::vector<ChoiceReport::Ahead> ahead;
  for (const auto& [id, tenant] : table.all()) {
    const Flow& other = table.flow(table.FlowOf(*tenant, 0));
    if (tenant.get() != own && other.backlogged() && other.key < flow.key) {
      ahead.push_back({.tenant = id,
                       .weight = tenant->spec.weight,
                       .behind_units = Units(flow.key - other.key),
                       .waiting = tenant->num_waiting});
    }
  }
  std::stable_sort(ahead.begin(), ahead.end(), [](const auto& a, const auto& b) {
    return a.behind_units > b.behind_units;
  });
  ahead.resize(std::min(ahead.size(), ChoiceReport::kAheadMax));
  return ahead;
}

// Of the first state group: what no running sequence holds.
int64_t Core::BlocksAvailable(ModelSlot model) const {
  const int64_t capacity = models_[model.value()].units.front();
  std::vector<bool> held(static_cast<size_t>(capacity));
  for (const auto& [id, owner] : owners_) {
    const Sequence* sequence = scheduler_.Find(id);
    if (sequence == nullptr || sequence->spec().model != model ||
        sequence->state() != SequenceState::kRunning) {
      continue;
    }
    for (const BlockIndex block : sequence->block_table(0)) {
      if (block != kNoBlock) {
        held[block] = true;
      }
    }
  }
  return capacity - std::count(held.begin(), held.end(), true);
}

}  // namespace inferd::engine_internal
