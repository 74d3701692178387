#include "tests/simulation/lease_ledger.h"

#include <absl/strings/str_format.h>

#include "base/check.h"

namespace inferd::sim {

LeaseLedger::LeaseLedger(std::vector<int64_t> budgets) {
  for (const int64_t budget : budgets) {
    accounts_.push_back({.granted = budget, .available = budget, .consumed = 0});
  }
}

bool LeaseLedger::Reserve(uint32_t tenant, uint32_t request, int64_t tokens) {
  Account& account = accounts_[tenant];
  if (tokens > account.available) {
    return false;
  }
  account.available -= tokens;
  CHECK(open_.try_emplace(request, Reservation{tenant, tokens}).second);
  return true;
}

bool LeaseLedger::Extend(uint32_t request, int64_t tokens) {
  const auto found = open_.find(request);
  if (found == open_.end() || tokens > accounts_[found->second.tenant].available) {
    return false;
  }
  accounts_[found->second.tenant].available -= tokens;
  found->second.tokens += tokens;
  return true;
}

int64_t LeaseLedger::leased(uint32_t request) const {
  const auto found = open_.find(request);
  return found == open_.end() ? 0 : found->second.tokens;
}

std::optional<std::string> LeaseLedger::Settle(uint32_t request, int64_t used) {
  const auto found = open_.find(request);
  if (found == open_.end()) {
    return absl::StrFormat("request %d is settled, but nothing is reserved for it", request);
  }
  const Reservation reservation = found->second;
  open_.erase(found);
  Account& account = accounts_[reservation.tenant];
  account.consumed += used;
  account.available += reservation.tokens - used;
  if (used > reservation.tokens) {
    return absl::StrFormat(
        "request %d used %d tokens of a lease of %d", request, used, reservation.tokens);
  }
  return std::nullopt;
}

std::optional<std::string> LeaseLedger::Check(bool idle) const {
  std::vector<int64_t> reserved(accounts_.size(), 0);
  for (const auto& [request, reservation] : open_) {
    reserved[reservation.tenant] += reservation.tokens;
  }
  for (size_t t = 0; t < accounts_.size(); ++t) {
    const Account& account = accounts_[t];
    if (account.granted != account.available + reserved[t] + account.consumed ||
        account.available < 0 || (idle && reserved[t] != 0)) {
      return absl::StrFormat("tenant %d: granted %d, available %d, reserved %d, consumed %d",
                             t,
                             account.granted,
                             account.available,
                             reserved[t],
                             account.consumed);
    }
  }
  return std::nullopt;
}

}  // namespace inferd::sim
