// Readers for the public traces that experiments replay. They are not part of the repository:
// TraceDir() says where they are, and whoever needs one skips with a reason if it is not there.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace inferd::sim {

struct TraceRequest {
  Duration at{};       // from the trace's start; ascending
  std::string tenant;  // empty where the trace has no tenants
  int32_t prompt_tokens = 0;
  int32_t output_tokens = 0;
  // Content of the prompt as ids of consecutive runs of kMooncakeBlockTokens tokens; equal ids,
  // equal tokens. Empty where the trace does not say.
  std::vector<uint32_t> blocks;
};

inline constexpr int32_t kMooncakeBlockTokens = 512;

// Azure LLM inference traces, 2023: CSV "TIMESTAMP,ContextTokens,GeneratedTokens".
StatusOr<std::vector<TraceRequest>> ParseAzureCsv(std::string_view text);
// Mooncake (FAST'25): a JSON object a line with timestamp (ms), lengths and hash_ids.
StatusOr<std::vector<TraceRequest>> ParseMooncakeJsonl(std::string_view text);
// VTC artifact (OSDI'24): one JSON object; result.responses holds the requests.
StatusOr<std::vector<TraceRequest>> ParseVtcJson(std::string_view text);

// The reader is chosen by the file's name. kNotFound if it is not there.
StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path);

// $INFERD_TRACES, else the first `shared/data/traces` in the source folder's parents, else "".
std::string TraceDir();

}  // namespace inferd::sim
