#include "tests/simulation/fairness_monitor.h"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <cmath>

namespace inferd::sim {
namespace {

// Doubles hold units exactly; quotients by the weights do not.
constexpr double kRounding = 1e-3;

double Normalised(const Flow& flow) {
  return static_cast<double>(flow.service_units) / static_cast<double>(flow.weight);
}

double KeyUnits(const Flow& flow) {
  return static_cast<double>(flow.key) / static_cast<double>(ServicePolicy::kKeyScale);
}

}  // namespace

void FairnessMonitor::Grow(size_t flows) {
  charged_.resize(std::max(flows, charged_.size()), 0);
  if (swings_.empty()) {
    swings_.resize(kPairsMax * kPairsMax);
  }
}

void FairnessMonitor::AfterEvent(const TenantTable& table) {
  Grow(table.flows().size());
  ForgetIdle(table);
}

// A pair's swing runs as long as both are backlogged.
void FairnessMonitor::ForgetIdle(const TenantTable& table) {
  const size_t flows = std::min(table.flows().size(), kPairsMax);
  for (size_t f = 0; f < flows; ++f) {
    for (size_t g = f + 1; g < flows; ++g) {
      const Flow& one = table.flows()[f];
      const Flow& two = table.flows()[g];
      if (!one.backlogged() || !two.backlogged()) {
        SwingOf(f, g).Reset();
      } else {
        SwingOf(f, g).Add(Normalised(one) - Normalised(two));
      }
    }
  }
}

std::optional<std::string> FairnessMonitor::AfterPlan(const TenantTable& table) {
  Grow(table.flows().size());
  MeasureGrants(table);
  ForgetIdle(table);
  if (auto wrong = CheckPairs(table); wrong.has_value()) {
    return wrong;
  }
  return CheckLemma(table);
}

void FairnessMonitor::MeasureGrants(const TenantTable& table) {
  for (size_t f = 0; f < table.flows().size(); ++f) {
    const Flow& flow = table.flows()[f];
    const auto grant = static_cast<double>(flow.service_units - charged_[f]);
    largest_grant_ = std::max(largest_grant_, grant / static_cast<double>(flow.weight));
    charged_[f] = flow.service_units;
  }
}

std::optional<std::string> FairnessMonitor::CheckPairs(const TenantTable& table) {
  const double bound = 2 * (theta_ + largest_grant_);
  const size_t flows = std::min(table.flows().size(), kPairsMax);
  for (size_t f = 0; f < flows; ++f) {
    for (size_t g = f + 1; g < flows; ++g) {
      const double width = SwingOf(f, g).width();
      pair_gap_ = std::max(pair_gap_, width);
      bound_used_ = std::max(bound_used_, width / bound);
      if (width > bound + kRounding) {
        return absl::StrFormat(
            "tenants %d and %d, both backlogged, drifted %.1f units apart; at most %.1f",
            f,
            g,
            width,
            bound);
      }
    }
  }
  return std::nullopt;
}

std::optional<std::string> FairnessMonitor::CheckLemma(const TenantTable& table) {
  double lowest = -1;
  for (const Flow& flow : table.flows()) {
    if (flow.backlogged()) {
      lowest = lowest < 0 ? KeyUnits(flow) : std::min(lowest, KeyUnits(flow));
    }
  }
  if (lowest < 0) {
    return std::nullopt;
  }
  const double bound = theta_ + largest_grant_;
  for (size_t i = 0; i < table.flows().size(); ++i) {
    const Flow& flow = table.flows()[i];
    if (flow.num_resident == 0 && flow.num_eligible == 0) {
      continue;
    }
    const double excess = KeyUnits(flow) - lowest;
    lemma_excess_ = std::max(lemma_excess_, excess);
    if (excess > bound + kRounding) {
      return absl::StrFormat(
          "tenant %d stands %.1f units above one that is backlogged; at most %.1f",
          i,
          excess,
          bound);
    }
  }
  return std::nullopt;
}

}  // namespace inferd::sim
