// A leaf of the audit log: what its writer says (LeafDraft), what the log adds (LeafChain), and the
// exact bytes that both become. docs/formats/leaf.md describes every field.
//
// Content never enters a leaf: prompts and answers as commitments, labels, grammar and request ids
// that a caller chose as commitments too. Strings here are names of ours, ids or digests.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/ids.h"
#include "base/status.h"
#include "governance/audit/commitment.h"
#include "governance/quota/quota_amounts.h"
#include "governance/verify/leaf_types.h"

namespace inferd {

// What happens to a tenant's requests when the log cannot take their leaves: `lvl`.
enum class AuditMode : uint8_t {
  kStrict,      // refuse
  kGuarded,     // spill a bounded number to a second device, then refuse
  kBestEffort,  // serve, and count what is missing
};
std::string_view Name(AuditMode mode);

// How much of the content is kept, and where: `alev`.
enum class AuditLevel : uint8_t {
  kNone,      // counts only
  kMetadata,  // commitments
  kFull,      // commitments, and the payload in the vault
};
std::string_view Name(AuditLevel level);

// Which leaf of which log: what a caller gets for each leaf that is durable.
struct AuditReceipt {
  std::string origin{};
  uint64_t index = 0;
  Digest leaf_hash{};  // RFC 6962: SHA-256(0x00 ‖ leaf)
  friend bool operator==(const AuditReceipt&, const AuditReceipt&) = default;
};

struct ActorFacts {
  std::string kind{};   // workload, human, service
  std::string id{};     // SPIFFE ID, iss+sub, or uid:<n> of a Unix peer
  std::string authn{};  // mtls, jwt, apikey, peercred
  std::string cred{};   // hash of the certificate's key, kid or key id; never a secret
};

struct ModelFacts {
  std::string ref{};               // as asked for, only if it has a reference's syntax
  std::optional<Digest> digest{};  // OMS root
  std::string ver{};
  std::string quant{};
  std::optional<Digest> tok{};   // tokenizer
  std::optional<Digest> tmpl{};  // chat template
  std::vector<std::string> lora{};
  std::string engine{};  // digest of the build
  std::string hw{};
  std::string det{};  // batch-invariant, same-arch, none, external
  std::string num{};  // numerics_id
  std::string fp{};   // system_fingerprint
};

struct PolicyFacts {
  std::string dec{};  // allow, deny, allow_with_obligations
  std::optional<Digest> set{};
  std::vector<std::string> rules{};
  std::vector<std::string> obl{};
  std::string data_class{};  // `class`
  std::string purpose{};
};

struct QuotaHit {
  std::string metric{};
  std::string id{};
  uint64_t limit = 0;
  uint64_t remaining = 0;
  uint64_t reset_ms = 0;
};

// Whose budgets a request counts in, beside its tenant.
struct QuotaAccountFacts {
  std::string org{};
  std::string project{};
  std::string key{};
  std::string model{};
};

struct QuotaFacts {
  std::string dec{};  // reserved, denied, exempt
  std::optional<QuotaAccountFacts> acct{};
  std::string win{};  // UTC day whose budgets, and whose month's, it counts in: 2026-11-21
  QuotaAmounts res{};
  std::vector<QuotaHit> hit{};
};

struct InputFacts {
  std::optional<Commitment> content{};      // c
  uint64_t size_bytes = 0;                  // b
  uint64_t num_tokens = 0;                  // n
  std::optional<Commitment> token_ids{};    // ids
  std::map<std::string, uint64_t> parts{};  // by role
  std::vector<std::string> rag{};           // digests or commitments
  // What the caller chose freely.
  std::optional<Commitment> request_id{};  // rid_c
  std::optional<Commitment> labels{};      // lbl_c
};

struct SamplingFacts {
  float temperature = 1.0f;
  int32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition = 1.0f;
  float presence = 0.0f;
  float frequency = 0.0f;
  uint64_t max_tokens = 0;
  uint64_t num_choices = 1;
  std::optional<Commitment> stop{};
  std::optional<Commitment> grammar{};
  std::optional<Commitment> logit_bias{};
  uint64_t seed = 0;   // always drawn, asked for or not
  std::string rng{};   // name/version
  std::string spec{};  // speculative decoding
  uint64_t cached_tokens = 0;
};

struct RouteFacts {
  std::string kind{};  // local, cloud
  std::string why{};
  std::string provider{};
  std::string model{};
  std::string region{};
};

struct EgressFacts {
  std::string peer_spki{};
  uint64_t size_bytes = 0;
  std::optional<Commitment> content{};
  std::map<std::string, uint64_t> redactions{};
  std::string dlp{};
  std::string approval{};
  std::string provider_req{};
};

struct UsageFacts {
  uint64_t in = 0;
  uint64_t cached = 0;
  uint64_t out = 0;
  uint64_t reason = 0;
};

struct OutcomeFacts {
  std::optional<Commitment> content{};    // c
  uint64_t size_bytes = 0;                // b
  uint64_t num_tokens = 0;                // n
  std::optional<Commitment> token_ids{};  // ids
  std::string finish{};
  std::string status{};  // gRPC code: "OK", "RESOURCE_EXHAUSTED"
  std::string err{};     // reason of ErrorInfo
  UsageFacts use{};
  QuotaAmounts settle{};
  std::optional<uint64_t> cost_micro{};
  std::string ccy{};
  std::string price_id{};
  uint64_t queue_us = 0;
  uint64_t ttft_us = 0;
  uint64_t total_us = 0;
  std::string safety_filter{};
  std::vector<std::string> safety_labels{};
  std::string vault{};                   // handle of the payload
  std::string replay{};                  // handle of what a replay needs
  std::optional<Commitment> replay_c{};  // over that
};

// A fact of an administrative leaf. Strings are UTF-8 of at most kLeafTextBytesMax bytes.
using LeafDetail = std::variant<uint64_t, std::string, Digest, std::vector<std::string>>;

inline constexpr size_t kLeafTextBytesMax = 512;
inline constexpr size_t kLeafListMax = 64;

// What a caller of the log says. Empty strings and absent groups do not appear in the leaf.
struct LeafDraft {
  LeafType type = LeafType::kAdminAction;
  TenantId tenant{};
  RequestId rid{};  // ULID (base/ulid.h): the request, or the act. Empty: the log draws one
  AuditMode mode = AuditMode::kStrict;
  std::optional<AuditLevel> level{};  // alev
  std::optional<ActorFacts> actor{};
  std::string on_behalf_of{};
  std::string subj{};  // HMAC of the end user's id under the tenant's pepper
  std::string src{};
  std::string trace{};
  std::optional<ModelFacts> model{};
  std::optional<PolicyFacts> policy{};
  std::optional<QuotaFacts> quota{};
  std::optional<InputFacts> input{};
  std::optional<SamplingFacts> sampling{};
  std::optional<RouteFacts> route{};
  std::optional<EgressFacts> egress{};
  std::optional<OutcomeFacts> outcome{};
  // Of completed, aborted and whatever else follows an admitted leaf.
  std::optional<AuditReceipt> admitted{};
  std::map<std::string, LeafDetail> detail{};  // d
  // The leaf as it was spilled (spilled_leaf.h); then only type, tenant, rid, mode and admitted are
  // used of all the above. Empty for all others.
  std::string spilled{};
};

// What the log adds to a draft.
struct LeafChain {
  std::string_view origin{};  // of the log that gets the leaf
  std::string_view node{};
  std::string_view boot{};  // id of the machine's boot
  std::array<uint8_t, 16> nonce{};
  WallTime wall{};
  Duration since_boot{};
  uint64_t tseq = 0;
  Digest tprev{};  // zeros where tseq is 0
};

// kInvalidArgument for a draft that must not become a leaf: text too long or not UTF-8, too many
// items, a number above 2^53-1, a tenant without name, a float that is not finite.
Status Validate(const LeafDraft& draft);

// The leaf's bytes. kInvalidArgument as above, or if they are more than kLeafBytesMax.
StatusOr<std::string> EncodeLeaf(const LeafDraft& draft, const LeafChain& chain);

// Names the version of the schema that EncodeLeaf writes: `sv`, a digest over the list of fields.
const Digest& LeafSchemaDigest();

}  // namespace inferd
