// An audit log that keeps its leaves and can fail at the n-th. One thread.
#pragma once

#include <string>
#include <vector>

#include "base/check.h"
#include "governance/audit/audit_log.h"

namespace inferd {

// Refuses all from the `fail_at`-th on.
class FakeAuditLog final : public AuditLog {
 public:
  void Append(LeafDraft draft, AppendCallback done) override {
    if (num_appends++ >= fail_at) {
      done(ErrorF(StatusCode::kUnavailable, "the disk is full"));
      return;
    }
    CHECK(Validate(draft).ok());
    leaves.push_back(draft);
    done(AuditReceipt{.origin = origin(), .index = leaves.size() - 1});
  }
  std::string origin() const override { return "example.org/log"; }
  std::vector<std::string> Types() const {
    std::vector<std::string> types;
    for (const LeafDraft& leaf : leaves) {
      types.emplace_back(Name(leaf.type));
    }
    return types;
  }

  std::vector<LeafDraft> leaves;
  int num_appends = 0;
  int fail_at = 1'000'000;
};

// A person on the admin plane.
inline ActorFacts Uid(int uid) {
  return {.kind = "human", .id = absl::StrFormat("uid:%d", uid), .authn = "peercred"};
}

}  // namespace inferd
