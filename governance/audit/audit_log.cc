#include "governance/audit/audit_log.h"

#include <future>
#include <utility>

namespace inferd {

StatusOr<AuditReceipt> AuditLog::AppendAndWait(LeafDraft draft) {
  std::promise<StatusOr<AuditReceipt>> promise;
  auto result = promise.get_future();
  Append(std::move(draft),
         [&promise](StatusOr<AuditReceipt> receipt) { promise.set_value(std::move(receipt)); });
  return result.get();
}

}  // namespace inferd
