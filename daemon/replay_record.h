// The replay record: what of a request decides its answer's tokens, kept with the answer at level
// full (docs/replay.md).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "daemon/generation_call.h"
#include "daemon/generation_request.h"
#include "inferd/v1/replay.pb.h"

namespace inferd {

// Of a request that is about to be submitted, without its answer.
v1::ReplayRecord MakeReplayRecord(const PreparedGeneration& prepared);
// With it, as bytes for the vault.
std::string FinishReplayRecord(const v1::ReplayRecord& request,
                               const std::vector<AnsweredChoice>& choices);
// kDataLoss for bytes that are none.
StatusOr<v1::ReplayRecord> ParseReplayRecord(std::string_view bytes);

// Of the prompt and the longest choice.
int64_t TokensOf(const v1::ReplayRecord& record);

// What a comparison found.
struct ReplayComparison {
  v1::ReplayResult result = v1::REPLAY_RESULT_MATCH;  // or PREFIX_MATCH, or DIFFERS
  uint64_t tokens = 0;                                // that were compared
  struct Place {
    int32_t choice = 0;
    int32_t token = 0;
  };
  std::optional<Place> first_diff;
};
// A choice that was ended from outside is compared as far as it had come.
ReplayComparison CompareReplay(const v1::ReplayRecord& record,
                               const std::vector<AnsweredChoice>& again);

}  // namespace inferd
