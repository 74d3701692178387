// AuditLog: the append-only record of what this node did. See docs/formats/leaf.md for what is
// recorded and docs/formats/wal.md for when it is durable.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/status.h"
#include "governance/audit/leaf.h"

namespace inferd {

// Gets the receipt of a durable leaf, or why there is none. Called once, on a thread of the log's:
// it must be quick and must not call the log's blocking functions.
using AppendCallback = std::function<void(StatusOr<AuditReceipt>)>;

// Thread-safe. Leaves of one caller thread are appended in the order of its calls.
class AuditLog {
 public:
  virtual ~AuditLog() = default;

  // Queues a leaf and returns; never blocks. `done` gets
  //   the receipt, once the leaf is on the device: no crash can lose it;
  //   kInvalidArgument   the draft cannot become a leaf;
  //   kUnavailable       the log takes no leaves now (queue full, disk nearly full, device failed,
  //                      frozen, closing): refuse what the leaf is about.
  // An error says that the caller must not go on; after a crash the leaf may be there all the same.
  // AuditGate (audit_gate.h) adds what modes and floods ask for.
  virtual void Append(LeafDraft draft, AppendCallback done) = 0;

  // The origin of the shard that takes leaves now.
  virtual std::string origin() const = 0;

  // Append, and wait for its end.
  StatusOr<AuditReceipt> AppendAndWait(LeafDraft draft);
};

}  // namespace inferd
