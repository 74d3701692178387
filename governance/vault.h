// Vault: prompts and answers at level full, encrypted so that destroying one key erases them.
//
//   <folder>/<tenant>/<yyyymmdd>/<segment>.vault      docs/formats/vault.md
//
// A record is an envelope (whose it is, which key) and two sealed parts: the record's own key with
// its salt under the subject's KEK, and the payload under the record's key. Both are bound to the
// envelope. Segments are only appended to, and each start of the process opens new ones: the torn
// end that a crash leaves stays where it is, and readers stop there.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "governance/audit/commitment.h"
#include "governance/key_store.h"

namespace inferd {

inline constexpr char kVaultSegmentSuffix[] = ".vault";
inline constexpr size_t kVaultPayloadBytesMax = size_t{64} << 20;
inline constexpr size_t kVaultNameBytesMax = 512;                     // of each name in an envelope
inline constexpr int64_t kVaultSegmentBytesMax = int64_t{256} << 20;  // then the next one begins
inline constexpr size_t kVaultOpenSegmentsMax = 64;

enum class VaultDirection : uint8_t {
  kInput = 1,   // what was asked
  kOutput = 2,  // what was answered
  kReplay = 3,  // what computes it again
};

// What the encryption binds a payload to.
struct VaultEnvelope {
  std::string rid;
  std::string tenant;
  std::string origin;  // the audit log that has the record's leaves
  VaultDirection direction = VaultDirection::kInput;
  std::string key_id;  // kKeyIdBytes bytes
};

// Where a record lies: "<tenant folder>/<yyyymmdd>/<segment>:<offset>". Goes into leaves.
using VaultHandle = std::string;

// A payload, opened.
struct VaultRecord {
  VaultEnvelope envelope;
  CommitmentSalt salt{};  // of its commitment
  std::string payload;
};

// Thread-safe; calls block on the disk. One process at a time.
class Vault {
 public:
  // `folder` exists; `keys` outlives the vault.
  Vault(std::string folder, KeyStore& keys, const Clock& clock);
  ~Vault();

  struct PutRequest {
    std::string_view rid;
    SubjectRef subject;
    std::string_view origin;
    VaultDirection direction = VaultDirection::kInput;
    CommitmentSalt salt{};  // fresh, of this request
    std::string_view payload;
  };
  struct Put {
    VaultHandle handle;
    Commitment commitment;  // over the payload, with the salt that lies in the envelope
  };
  // Durable when it returns.
  StatusOr<Put> Store(const PutRequest& request) EXCLUDES(mutex_);

  // kNotFound if the subject's key was destroyed or there is no such segment; kDataLoss if the
  // record was altered or torn.
  StatusOr<VaultRecord> Open(std::string_view handle);

  // Calls `visit` with each record of the tenant, a day after another. kDataLoss if a segment is
  // damaged.
  using Visitor = std::function<void(std::string_view day, const VaultEnvelope& envelope)>;
  Status ForEach(std::string_view tenant, const Visitor& visit) const;

  // Removes the days of the tenant that ended before `before`, unless `is_held` says that a record
  // of it is held, which keeps the whole day.
  using IsHeld = std::function<bool(std::string_view day, const VaultEnvelope& envelope)>;
  struct Purged {
    uint64_t days = 0;
    uint64_t days_held = 0;
  };
  StatusOr<Purged> Purge(std::string_view tenant, WallTime before, const IsHeld& is_held)
      EXCLUDES(mutex_);

  // Tenants that have days which ended before `before`.
  std::vector<std::string> TenantsBefore(WallTime before) const;

  const std::string& folder() const { return folder_; }

 private:
  struct Segment;
  StatusOr<Segment*> SegmentFor(const std::string& tenant_folder) REQUIRES(mutex_);
  std::vector<std::string> DaysOf(std::string_view tenant) const;
  Status VisitDay(std::string_view tenant, const std::string& day, const Visitor& visit) const;

  const std::string folder_;
  KeyStore& keys_;
  const Clock& clock_;
  Mutex mutex_;
  // By tenant's folder. At most kVaultOpenSegmentsMax; the least recently used is closed.
  std::map<std::string, std::unique_ptr<Segment>> open_ GUARDED_BY(mutex_);
  int64_t next_segment_ GUARDED_BY(mutex_) = 0;
  int64_t uses_ GUARDED_BY(mutex_) = 0;
};

// The format itself, for the vault, its reader and its tests.
namespace vault_format {

// The envelope's bytes, which both seals of a record are bound to.
std::string EncodeEnvelope(const VaultEnvelope& envelope);
// A record's bytes: frame, envelope, sealed key and salt, sealed payload.
std::string Encode(const VaultEnvelope& envelope,
                   std::string_view sealed_key,
                   std::string_view sealed_payload);

// A record as it lies in a segment; views into the segment's bytes.
struct Frame {
  VaultEnvelope envelope;
  std::string_view bound;  // the envelope's bytes, which both seals are bound to
  std::string_view sealed_key;
  std::string_view sealed_payload;
  size_t size_bytes = 0;  // of the whole frame
};
// Reads the frame at the front of `bytes`. kOutOfRange: the bytes end inside it, or what is there
// fails its checksum: a torn end if nothing valid follows. kDataLoss: the checksum holds, but it is
// no record.
StatusOr<Frame> Decode(std::string_view bytes);

// "inferd vault 1" and a new line, at the start of each segment.
extern const std::string_view kSegmentHeader;

// Calls `visit` with each record and its offset; stops at a torn end. kDataLoss if the header is
// not one, or if a valid record follows a broken one.
Status ForEachFrame(std::string_view segment,
                    const std::function<void(size_t offset, const Frame&)>& visit);

}  // namespace vault_format
}  // namespace inferd
