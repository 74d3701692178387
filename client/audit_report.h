// The report that a compliance officer files: one HTML page without anything from elsewhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace inferd {

struct AuditReport {
  struct Use {
    std::string model, digest;
    uint64_t requests = 0, completed = 0, failed = 0, input_tokens = 0, output_tokens = 0;
  };
  struct Refusal {
    std::string reason, status;
    uint64_t count = 0;
  };
  struct Act {
    std::string time, type, tenant, actor, subject;  // subject: a model, or the id of the act
  };
  std::string tenant, from, to;  // "": every, open
  std::string made_at;
  std::vector<Use> uses;
  std::vector<Refusal> refusals;
  std::vector<Act> acts;
  // The verification: its checkpoint (a signed note), counts, what does not hold.
  bool sound = false;
  uint64_t num_leaves = 0, open_requests = 0;
  std::string checkpoint, verifier_key;
  std::vector<std::string> problems, warnings;
};

// Every text is escaped.
std::string RenderAuditReport(const AuditReport& report);

}  // namespace inferd
