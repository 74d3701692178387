// Reading leaves: what the verifier, recovery and search need of one, as views of its bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/digest.h"
#include "base/status.h"
#include "governance/verify/leaf_types.h"

namespace inferd {

// Views into the leaf that was parsed. Texts are as they stand in the JSON, escapes and all.
struct LeafView {
  std::string_view type_name;
  std::optional<LeafType> type;  // nothing for a type of a later schema
  std::string_view tenant;
  std::string_view rid;
  std::string_view ts;
  std::string_view boot;
  uint64_t mono_ns = 0;
  uint64_t tseq = 0;
  Digest tprev;
  std::optional<uint64_t> adm;
  std::string_view adm_origin;  // empty: the log that holds the leaf
  // JSON objects; empty if there is none.
  std::string_view reserved;  // quota.res
  std::string_view account;   // quota.acct
  std::string_view settled;   // settle
  std::string_view detail;    // d
  std::string_view window;    // quota.win, as JSON
};

// kDataLoss unless the leaf is an object in the profile of docs/formats/leaf.md (sorted keys, no
// whitespace, no floats, at most kLeafBytesMax and kLeafDepthMax) with every member that all leaves
// have. Members it does not know are checked for their form alone.
StatusOr<LeafView> ParseLeaf(std::string_view leaf);

inline constexpr int kLeafDepthMax = 8;

}  // namespace inferd
