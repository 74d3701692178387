// QuotaSimulation: what proposed limits would have refused of the traffic that the audit log has.
//
// The requests that were admitted go through a QuotaLedger of their own, on a clock that stands
// where their leaves say: reserved when they were admitted, settled when they ended, with the
// amounts of then. One that the proposed limits refuse uses nothing of them afterwards. So the
// answer is what the daemon's ledger would have said, but for two things that the log does not
// have: requests that were refused then, and how much of a prompt was cached (limits with
// cached_free count all of it).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "governance/quota/quota_limit.h"
#include "governance/verify/entry_reader.h"

namespace inferd {

// Of one limit and one tenant, in requests that the limit did not hold for.
struct SimulatedBreach {
  uint64_t refused = 0;
  uint64_t refused_tokens = 0;  // that these reserved, input and output
  uint64_t noticed = 0;         // let pass: the limit is of mode warn or shadow
  friend bool operator==(const SimulatedBreach&, const SimulatedBreach&) = default;
};

struct QuotaSimulation {
  uint64_t requests = 0;  // admitted in the time asked for
  uint64_t refused = 0;   // of them, by whichever limits
  uint64_t skipped = 0;   // of them, for want of room in the ledger
  // By the limit's id and the tenant. A request that several limits refuse counts in each.
  std::map<std::pair<std::string, std::string>, SimulatedBreach> breaches;
};

// As if `limits` had taken the place of all others at `from`. The shards of the log, oldest first,
// are read from their beginning: what was used before `from` counts in budgets. kInvalidArgument
// for a limit that is none, kDataLoss for a leaf that cannot be read.
StatusOr<QuotaSimulation> SimulateQuotas(const std::vector<EntryReader*>& shards,
                                         std::vector<QuotaLimit> limits,
                                         WallTime from,
                                         WallTime to);

}  // namespace inferd
