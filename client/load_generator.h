// The load of `inferctl bench`: when requests start, and what is measured of them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "client/latency_summary.h"

namespace inferd {

struct LoadOptions {
  double rate_per_s = 0;    // mean of Poisson arrivals; 0: closed loop
  int32_t concurrency = 1;  // most requests in flight; each has a thread
  int32_t requests = 1;
  std::optional<Duration> duration{};  // no request starts later than this after the first
  uint64_t seed = 0;
};

// One request as it went. Times count from when it should have started: a client or a daemon that
// falls behind cannot make its own figures better (coordinated omission).
struct RequestSample {
  TimePoint intended{};  // when it should have started
  TimePoint sent{};      // when it did
  TimePoint ended{};
  std::vector<TimePoint> outputs;  // when each message with output came
  int64_t output_tokens = 0;
  int64_t prompt_tokens = 0;
  Status status;
};

// Does request `index` on worker `worker` (in [0, concurrency)) and fills outputs, tokens and
// status. Called from many threads at once.
using SendRequest = std::function<void(int32_t index, int32_t worker, RequestSample& sample)>;

// Offsets from the start at which `count` requests arrive; non-decreasing, the first at 0.
std::vector<Duration> PoissonArrivals(double rate_per_s, int32_t count, uint64_t seed);

// Runs the load and gives the samples of the requests that were started, by index. `on_done`
// counts finished requests; called from many threads, may be empty.
std::vector<RequestSample> RunLoad(const LoadOptions& options,
                                   const SendRequest& send,
                                   const std::function<void(int32_t done)>& on_done = {});

// Of completed requests, but for the counts.
struct LoadReport {
  int64_t completed = 0;
  std::map<std::string, int64_t> failed;  // by status code
  double duration_s = 0;                  // first intended start to last end
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  double requests_per_s = 0;
  double output_tokens_per_s = 0;
  LatencySummary ttft_ms;  // to the first output
  LatencySummary itl_ms;   // between messages with output
  LatencySummary tpot_ms;  // mean time a token after the first output, of each request
  LatencySummary e2e_ms;   // to the end
  LatencySummary lag_ms;   // the client's own lateness, of all requests
  std::string first_error;
};

LoadReport Report(const std::vector<RequestSample>& samples);

}  // namespace inferd
