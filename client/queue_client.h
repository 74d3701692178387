// QueueClient: inferd.v1.QueueService of the admin plane, as plain values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace inferd {

// A tenant's use of one model; counters run from the daemon's start.
struct TenantModelUse {
  std::string model;
  std::string version = {};
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t paused = 0;
  int64_t kv_blocks = 0;
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t output_tokens = 0;
};

struct TenantUse {
  std::string tenant;
  int64_t weight = 1;
  uint64_t service_units = 0;
  int64_t lead_units = 0;
  bool backlogged = false;
  bool over_served = false;
  std::vector<TenantModelUse> models;
};

// Slabs of 2 MiB.
struct ModelMemory {
  std::string model;
  std::string version;
  int64_t weight_slabs = 0;
  int64_t kv_slabs = 0;
};

struct DaemonLoad {
  Duration sampled_at{};  // on a clock that only goes forward
  std::vector<TenantUse> tenants;
  uint64_t steps = 0;
  uint64_t preemptions = 0;
  int64_t kv_blocks_used = 0;
  int64_t kv_blocks_cached = 0;
  int64_t kv_blocks_total = 0;
  int64_t fairness_window_units = 0;
  std::vector<ModelMemory> memory;
  int64_t memory_slabs_max = 0;  // 0: no bound
};

// One choice of a request in flight. Fields as in queue.proto.
struct WaitingChoice {
  std::string request_id, rid, tenant, model, version;
  int32_t choice = 0;
  std::string reason;  // "others_turn"
  Duration age{};
  int64_t output_tokens = 0;
  int32_t preemptions = 0;
  int64_t position = 0;
  int64_t units_ahead = 0;
  struct Ahead {
    std::string tenant;
    int64_t weight = 1;
    int64_t behind_units = 0;
    int64_t waiting = 0;
  };
  std::vector<Ahead> ahead;
  int64_t num_tenants_ahead = 0;
  std::optional<Duration> starts_in;
  int64_t blocks_needed = 0;
  int64_t blocks_available = 0;
};

// Calls block. Statuses are the daemon's. One thread at a time.
class QueueClient {
 public:
  // `endpoint` is unix:PATH. Connects with the first call.
  QueueClient(const std::string& endpoint, Duration timeout);
  ~QueueClient();

  StatusOr<DaemonLoad> GetLoad();
  // All that are in flight for an empty id.
  StatusOr<std::vector<WaitingChoice>> Explain(const std::string& request_id, int32_t limit);

  // The digest of what was loaded.
  StatusOr<std::string> LoadModel(const std::string& model,
                                  const std::string& path,
                                  int64_t context_tokens_max);
  Status UnloadModel(const std::string& model, std::optional<Duration> drain_max);

 private:
  struct Stub;
  const Duration timeout_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace inferd
