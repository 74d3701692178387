#include "governance/quota_simulation.h"

#include <utility>

#include "governance/quota/quota_ledger.h"
#include "governance/quota/usage_fold.h"
#include "governance/vault_text.h"
#include "governance/verify/leaf_view.h"

namespace inferd {
namespace {

// One run over the leaves.
class Run {
 public:
  Run(std::vector<QuotaLimit> limits, WallTime from, WallTime to)
      : limits_(std::move(limits)), from_(from), to_(to) {}

  Status Add(const std::string& origin, uint64_t index, std::string_view leaf) {
    ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
    const bool ends =
        view.type == LeafType::kInferenceCompleted || view.type == LeafType::kInferenceAborted;
    if (view.type != LeafType::kInferenceAdmitted && !ends) {
      return OkStatus();
    }
    ASSIGN_OR_RETURN(const WallTime time, ParseTime(view.ts));
    if (time >= to_) {
      return OkStatus();
    }
    if (!begun_ && time >= from_) {
      RETURN_IF_ERROR(Begin());
    }
    MoveTo(time);
    return ends ? End(view, origin) : Admit(view, {origin, index});
  }

  QuotaSimulation TakeResult() { return std::move(result_); }

 private:
  // Of leaves whose times are not in their order the later one counts.
  void MoveTo(WallTime time) {
    if (time > clock_.WallNow()) {
      clock_.Advance(time - clock_.WallNow());
    }
  }

  Status Begin() {
    begun_ = true;
    MoveTo(from_);
    return ledger_.SetLimits(std::move(limits_));
  }

  Status Admit(const LeafView& view, LogPlace place) {
    ASSIGN_OR_RETURN(auto intent, IntentOf(view));
    if (!intent.has_value()) {
      return OkStatus();  // exempt
    }
    QuotaDecision decision = ledger_.Reserve(intent->account, intent->upper_bound);
    if (begun_) {
      Count(*intent, decision);
    }
    if (decision.reservation.has_value()) {
      open_.emplace(std::move(place), *std::move(decision.reservation));
    }
    return OkStatus();
  }

  void Count(const QuotaIntent& intent, const QuotaDecision& decision) {
    const auto breach = [&](const QuotaViolation& violation) -> SimulatedBreach& {
      return result_.breaches[{violation.state.id, intent.account.tenant}];
    };
    ++result_.requests;
    for (const QuotaViolation& notice : decision.notices) {
      ++breach(notice).noticed;
    }
    if (decision.reservation.has_value()) {
      return;
    }
    if (decision.refusal.ledger_full) {
      ++result_.skipped;
      return;
    }
    ++result_.refused;
    for (const QuotaViolation& violation : decision.refusal.violations) {
      SimulatedBreach& refused = breach(violation);
      ++refused.refused;
      refused.refused_tokens += intent.upper_bound.in + intent.upper_bound.out;
    }
  }

  Status End(const LeafView& view, const std::string& origin) {
    if (!view.adm) {
      return OkStatus();
    }
    const auto found =
        open_.find({view.adm_origin.empty() ? origin : std::string(view.adm_origin), *view.adm});
    if (found != open_.end()) {
      const QuotaAmounts settled = SettledOf(view);
      found->second.Settle({.in = settled.in, .out = settled.out, .micro = settled.micro});
      open_.erase(found);
    }
    return OkStatus();
  }

  std::vector<QuotaLimit> limits_;  // until they hold
  const WallTime from_;
  const WallTime to_;
  bool begun_ = false;
  ManualClock clock_;
  QuotaLedger ledger_{{.clock = &clock_}};
  std::map<LogPlace, QuotaReservation> open_;  // of the ledger
  QuotaSimulation result_;
};

}  // namespace

StatusOr<QuotaSimulation> SimulateQuotas(const std::vector<EntryReader*>& shards,
                                         std::vector<QuotaLimit> limits,
                                         WallTime from,
                                         WallTime to) {
  for (const QuotaLimit& limit : limits) {
    RETURN_IF_ERROR(Validate(limit));
  }
  Run run(std::move(limits), from, to);
  for (EntryReader* shard : shards) {
    ASSIGN_OR_RETURN(const uint64_t size, shard->Size());
    RETURN_IF_ERROR(shard->Visit(0, size, [&](uint64_t index, std::string_view leaf) {
      return Annotate(run.Add(shard->origin(), index, leaf),
                      absl::StrFormat("%s, leaf %d", shard->origin(), index));
    }));
  }
  return run.TakeResult();
}

}  // namespace inferd
