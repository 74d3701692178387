// E5 and E11: what isolating the prefix cache by trust domain costs, and that it isolates.
#include <absl/strings/str_format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <utility>
#include <vector>

#include "base/random.h"
#include "tests/simulation/experiments.h"
#include "tests/simulation/simulation.h"
#include "tests/simulation/statistics.h"

namespace inferd::sim {
namespace {

constexpr int64_t kUnitsPerTraceBlock = kMooncakeBlockTokens / kBlockTokens;

// The conversation that each request goes on with: that of the deepest block which an earlier
// request had, but for the first block, which nearly all share.
std::vector<uint32_t> SessionsOf(const std::vector<TraceRequest>& trace) {
  std::map<uint32_t, uint32_t> session_of_block;
  std::vector<uint32_t> sessions;
  uint32_t next = 0;
  for (const TraceRequest& request : trace) {
    std::optional<uint32_t> session;
    for (size_t i = 1; i < request.blocks.size(); ++i) {
      if (const auto known = session_of_block.find(request.blocks[i]);
          known != session_of_block.end()) {
        session = known->second;
      }
    }
    const uint32_t own = session.has_value() ? *session : next++;
    for (size_t i = 1; i < request.blocks.size(); ++i) {
      session_of_block[request.blocks[i]] = own;
    }
    sessions.push_back(own);
  }
  return sessions;
}

// The trace on a fast device, one output token a request so that the pool is the cache's. The
// requests are the same for any number of domains; only who they belong to differs.
Workload MooncakeWorkload(const std::vector<TraceRequest>& trace,
                          uint32_t domains,
                          int64_t trace_blocks) {
  Workload workload;
  workload.policy = {.kind = PolicyKind::kFcfs};
  workload.device.step_tokens_max = 8192;
  workload.device.running_max = 64;
  workload.device.waiting_max = 100'000;
  workload.device.time = {.base_ns = 2'000'000,
                          .prefill_token_ns = 10'000,
                          .decode_row_ns = 10'000,
                          .context_kilotoken_ns = 0};
  workload.models.push_back({.name = "mooncake",
                             .context_tokens_max = 1 << 18,
                             .groups = {{.units = trace_blocks * kUnitsPerTraceBlock}}});
  for (uint32_t d = 0; d < domains; ++d) {
    workload.tenants.push_back({.name = absl::StrFormat("t%d", d), .waiting_max = 100'000});
  }
  const std::vector<uint32_t> sessions = SessionsOf(trace);
  for (size_t i = 0; i < trace.size(); ++i) {
    Submission submission{.name = absl::StrFormat("r%d", i),
                          .at = trace[i].at,
                          .tenant = static_cast<uint32_t>(SplitMix64(sessions[i]).Next() % domains),
                          .shared = {},
                          .deadline = std::nullopt};
    for (const uint32_t block : trace[i].blocks) {
      submission.shared.push_back({.content = block, .tokens = kMooncakeBlockTokens});
    }
    submission.prompt_tokens = std::max(1, trace[i].prompt_tokens);
    submission.service_class = 2;
    workload.submissions.push_back(std::move(submission));
  }
  return workload;
}

double HitPerCent(const Report& report) {
  return report.cache_lookup_tokens == 0 ? 0
                                         : 100 * static_cast<double>(report.cache_hit_tokens) /
                                               static_cast<double>(report.cache_lookup_tokens);
}

}  // namespace

Status RunPrefixIsolation(const std::string& traces) {
  ASSIGN_OR_RETURN(const auto trace, ReadTrace(traces + "/mooncake_conversation.jsonl"));
  std::printf("WORKLOAD mooncake_conversation.jsonl, tenants by session, blocks of 64 tokens\n");
  double worst = 0;
  for (const int64_t size : {2048, 8192, 32'768}) {
    std::map<uint32_t, double> hits;
    for (const uint32_t domains : {1u, 64u}) {
      const Workload workload = MooncakeWorkload(trace, domains, size);
      const Report report = Simulate(workload, {.check = false, .check_reads = false});
      hits[domains] = HitPerCent(report);
      std::printf("%6d trace blocks, %2d domains: %.3f %% of blocks hit\n",
                  static_cast<int>(size),
                  static_cast<int>(domains),
                  hits[domains]);
      std::fflush(stdout);
    }
    worst = size >= 8192 ? std::max(worst, hits[1] - hits[64]) : worst;
  }
  std::printf("RESULT sim.e5.hit_loss_points %.6g points\n", worst);
  return OkStatus();
}

namespace {

constexpr int kLeakSamples = 300;
constexpr int32_t kProbedTokens = 512;
constexpr double kAlpha = 0.01;

// A victim's request, then an attacker's with the prefix that the victim used or did not use,
// between random requests of others.
Workload LeakWorkload(uint64_t seed, bool victim_used_it, bool isolated) {
  Workload workload;
  SplitMix64 random(seed);
  workload.seed = seed;
  workload.device.step_tokens_max = 256;
  workload.device.running_max = 32;
  workload.device.noise_per_mille = 200;
  workload.models.push_back({.name = "m", .groups = {{.units = 400}}});
  workload.tenants = {{.name = "victim", .shared_cache = !isolated},
                      {.name = "attacker", .shared_cache = !isolated},
                      {.name = "others", .shared_cache = !isolated}};
  const auto add = [&](uint32_t tenant, int64_t at_ms, uint64_t content, int32_t prompt) {
    Submission submission{.name = absl::StrFormat("r%d", workload.submissions.size()),
                          .at = std::chrono::milliseconds(at_ms),
                          .tenant = tenant,
                          .shared = {},
                          .deadline = std::nullopt};
    submission.shared.push_back({.content = content, .tokens = std::min(prompt, kProbedTokens)});
    submission.prompt_tokens = prompt;
    submission.output_tokens = static_cast<int32_t>(1 + random.Below(20));
    submission.output_max = submission.output_tokens;
    submission.service_class = 2;
    workload.submissions.push_back(std::move(submission));
  };
  const uint64_t probed = 7;
  const uint64_t other = 8;
  add(0, static_cast<int64_t>(random.Below(500)), victim_used_it ? probed : other, 560);
  for (int i = 0; i < 20; ++i) {
    add(2,
        static_cast<int64_t>(random.Below(4000)),
        100 + random.Below(1'000'000),
        static_cast<int32_t>(20 + random.Below(300)));
  }
  add(1, 3000, probed, 540);
  return workload;
}

std::vector<double> AttackerTimes(uint64_t first_seed, bool victim_used_it, bool isolated) {
  std::vector<double> times;
  for (int i = 0; i < kLeakSamples; ++i) {
    Workload workload =
        LeakWorkload(first_seed + static_cast<uint64_t>(i), victim_used_it, isolated);
    const std::string probe = workload.submissions.back().name;
    SortByTime(workload);
    const Report report = Simulate(workload);
    for (size_t r = 0; r < workload.submissions.size(); ++r) {
      const RequestOutcome& outcome = report.requests[r];
      if (workload.submissions[r].name == probe && outcome.first_token.has_value()) {
        times.push_back(
            std::chrono::duration<double>(*outcome.first_token - outcome.arrival).count());
      }
    }
  }
  return times;
}

}  // namespace

Status RunLeakTest() {
  std::printf("WORKLOAD attacker and victim, prefix of %d tokens, %d samples a side, alpha %.2f\n",
              kProbedTokens,
              kLeakSamples,
              kAlpha);
  for (const bool isolated : {true, false}) {
    const std::vector<double> used = AttackerTimes(1, true, isolated);
    const std::vector<double> unused = AttackerTimes(100'001, false, isolated);
    const double distance = KsDistance(used, unused);
    const double critical = KsCritical(used.size(), unused.size(), kAlpha);
    std::printf("isolation %s: KS distance %.3f, critical %.3f, ttft p50 %.3f s used, %.3f s not\n",
                isolated ? "on" : "off",
                distance,
                critical,
                Quantile(used, 0.5),
                Quantile(unused, 0.5));
    std::printf("RESULT sim.e11.leak_rejected_%s %d count\n",
                isolated ? "on" : "off",
                distance > critical ? 1 : 0);
  }
  return OkStatus();
}

}  // namespace inferd::sim
