// LeaseLedger: the quota side of leases in a simulation. The real one is governance's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace inferd::sim {

// Budgets of output tokens, by tenant. Reserve, extend, settle exactly once (scheduler.h, leases):
// at all times granted = available + reserved + consumed.
class LeaseLedger {
 public:
  explicit LeaseLedger(std::vector<int64_t> budgets);

  // False if the tenant has not so many tokens left. A request reserves once.
  bool Reserve(uint32_t tenant, uint32_t request, int64_t tokens);
  // More for an open reservation; false if there are not so many left.
  bool Extend(uint32_t request, int64_t tokens);
  int64_t leased(uint32_t request) const;
  // What the request used; the rest goes back. Says what is wrong: used beyond the lease, or
  // nothing to settle. Requests that never reserved are not settled.
  std::optional<std::string> Settle(uint32_t request, int64_t used);
  // Says what does not add up; `idle`: nothing may be reserved.
  std::optional<std::string> Check(bool idle) const;

 private:
  struct Account {
    int64_t granted = 0;
    int64_t available = 0;
    int64_t consumed = 0;
  };
  struct Reservation {
    uint32_t tenant = 0;
    int64_t tokens = 0;
  };
  std::vector<Account> accounts_;
  std::map<uint32_t, Reservation> open_;
};

}  // namespace inferd::sim
