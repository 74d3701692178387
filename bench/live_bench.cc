// Fairness and the simulator's honesty on the real engine: three tenants of unequal weight and load
// on the CPU device, then the same arrivals in the simulator.
//
//   inferd_live_bench --model FILE [--seconds 300] [--threads 2] [--seed 1]
//
// 1. A twentieth of the time: closed loop, to learn how much service the device gives a second.
// 2. The time: open loop, Poisson arrivals at twice that rate. `hog` (weight 1) asks for 0.9 of the
//    device with long prompts, `pair` (weight 2) for 1.0 with chats, `light` (weight 1) for 0.1.
//    The scheduler's accounts are watched at every step: the widest drift of two tenants that both
//    wait, over the theorem's bound 2 (Theta + G) with G as measured.
// 3. The times of every fifth step are fitted, the arrival log is replayed in the simulator with
//    them, and times to first token and throughput are compared.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/random.h"
#include "cpu/cpu_device.h"
#include "engine/engine.h"
#include "model/model_file.h"
#include "scheduler/scheduler.h"
#include "scheduler/step_time_fit.h"
#include "tests/simulation/fairness_monitor.h"
#include "tests/simulation/simulation.h"

namespace inferd {
namespace {

struct TenantPlan {
  const char* name;
  int64_t weight;
  double load;  // service asked for, over what the device gives
  int32_t prompt_min, prompt_max;
  int32_t output_min, output_max;
};
constexpr TenantPlan kTenants[] = {
    {"hog", 1, 0.9, 192, 448, 8, 32},
    {"pair", 2, 1.0, 64, 192, 24, 72},
    {"light", 1, 0.1, 32, 96, 8, 24},
};
constexpr double kCalibrationShare = 0.05;
constexpr uint64_t kCalibrationSteps = 10;
// Over the whole run: a machine whose speed drifts is not the simulator's error.
constexpr size_t kFitEvery = 5;
constexpr int32_t kStepTokens = 256;
constexpr int32_t kRunning = 16;
constexpr int64_t kTheta = 2048;
constexpr int64_t kQueueMax = 65'536;

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }
Duration FromSeconds(double seconds) { return Duration(static_cast<int64_t>(seconds * 1e9)); }

void Result(const char* key, double value, const char* unit) {
  std::printf("RESULT %s %.4f %s\n", key, value, unit);
}

struct Ask {
  size_t tenant = 0;
  int32_t prompt = 0;
  int32_t output = 0;
  Duration at{};  // submitted, from the run's start
  std::optional<Duration> first_token;
  int64_t units() const { return prompt + 2 * output; }
};

Ask Draw(size_t tenant, SplitMix64& random) {
  const TenantPlan& plan = kTenants[tenant];
  const auto between = [&random](int32_t low, int32_t high) {
    return low + static_cast<int32_t>(random.Below(static_cast<uint64_t>(high - low + 1)));
  };
  return {.tenant = tenant,
          .prompt = between(plan.prompt_min, plan.prompt_max),
          .output = between(plan.output_min, plan.output_max),
          .first_token = {}};
}

// When each stream's first token came, and how many ended. Thread-safe.
class Sink final : public EventSink {
 public:
  void Publish(std::vector<GenerationEvent>&& events) override {
    const TimePoint now = SystemClock().Now();
    const std::lock_guard lock(mutex_);
    for (const GenerationEvent& event : events) {
      if (!event.tokens.empty()) {
        first_tokens_.emplace(event.stream, now);
      }
      ended_ += event.last ? 1 : 0;
    }
  }
  int64_t ended() {
    const std::lock_guard lock(mutex_);
    return ended_;
  }
  std::map<StreamHandle, TimePoint> first_tokens() {
    const std::lock_guard lock(mutex_);
    return first_tokens_;
  }

 private:
  std::mutex mutex_;
  std::map<StreamHandle, TimePoint> first_tokens_;
  int64_t ended_ = 0;
};

// Holds the accounts to the theorem, and logs steps. Core thread; read when the engine is gone.
class Watch final : public StepObserver {
 public:
  void BeforePlan(const Scheduler& scheduler) override { monitor.AfterEvent(scheduler.tenants()); }
  void AfterPlan(const Scheduler& scheduler, const StepPlan& plan) override {
    const TimePoint now = SystemClock().Now();
    // From plan to plan: all that a step costs, not the device alone.
    if (!log.empty() && last_ran_) {
      log.back().step.took_ns = (now - log.back().at).count();
    }
    if (const auto wrong = monitor.AfterPlan(scheduler.tenants()); wrong.has_value()) {
      violations += violations.empty() ? *wrong : "";
    }
    last_ran_ = !plan.empty();
    if (plan.empty()) {
      return;
    }
    Logged& entry = log.emplace_back();
    entry.at = now;
    for (const PlanRow& row : plan.rows) {
      const bool decode = row.n_tokens == 1 && row.sample;
      entry.step.decode_rows += decode ? 1 : 0;
      entry.step.prefill_tokens += decode ? 0 : row.n_tokens;
      entry.step.context_tokens += row.start + row.n_tokens;
    }
  }

  struct Logged {
    TimePoint at{};
    MeasuredStep step;
  };
  sim::FairnessMonitor monitor{kTheta};
  std::vector<Logged> log;
  std::string violations;

 private:
  bool last_ran_ = false;
};

struct Live {
  std::vector<Ask> asks;
  double units_per_s = 0;
  Duration copy_unit{};  // of KV between the pool and the host's memory, as the engine guesses it
  EngineStats stats;
};

class Bench {
 public:
  Bench(const ModelFile& file, Device& device, uint64_t seed)
      : file_(file), device_(device), random_(seed) {}

  // Service units a second with the device full.
  double Calibrate(double seconds) {
    Sink sink;
    Engine engine(device_, SystemClock(), sink, Options(nullptr));
    const auto model = Load(engine);
    engine.Start();
    const TimePoint start = SystemClock().Now();
    int64_t submitted = 0;
    std::optional<EngineStats> warm;
    TimePoint warm_at{};
    // At least so many steps, on a machine however slow.
    while (!warm.has_value() || engine.stats().steps < warm->steps + kCalibrationSteps ||
           Seconds(SystemClock().Now() - start) < seconds) {
      while (submitted - sink.ended() < 2 * kRunning) {
        Submit(engine, *model, Draw(static_cast<size_t>(submitted) % 2, random_));
        ++submitted;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      if (!warm.has_value() && engine.stats().steps >= kCalibrationSteps &&
          Seconds(SystemClock().Now() - start) > seconds / 3) {
        warm = engine.stats();
        warm_at = SystemClock().Now();
      }
    }
    const EngineStats end = engine.stats();
    return Units(end, *warm) / Seconds(SystemClock().Now() - warm_at);
  }

  Live Run(double seconds, double capacity, Watch& watch) {
    Live live;
    Plan(seconds, capacity, live.asks);
    Sink sink;
    {
      Engine engine(device_, SystemClock(), sink, Options(&watch));
      for (const TenantPlan& tenant : kTenants) {
        CHECK(engine.SetTenant(TenantId(tenant.name), {.weight = tenant.weight}).ok());
      }
      const auto model = Load(engine);
      live.copy_unit = FromSeconds(static_cast<double>(device_.StateUnitBytes(model->config, 0)) /
                                   static_cast<double>(EngineOptions{}.swap_bytes_per_s));
      engine.Start();
      std::vector<StreamHandle> handles;
      const TimePoint start = SystemClock().Now();
      for (Ask& ask : live.asks) {
        std::this_thread::sleep_until(std::chrono::steady_clock::now() +
                                      (start + ask.at - SystemClock().Now()));
        ask.at = SystemClock().Now() - start;
        handles.push_back(Submit(engine, *model, ask));
      }
      std::this_thread::sleep_for(
          std::max(Duration::zero(), start + FromSeconds(seconds) - SystemClock().Now()));
      live.stats = engine.stats();
      live.units_per_s = Units(live.stats, {}) / Seconds(SystemClock().Now() - start);
      const auto first_tokens = sink.first_tokens();
      for (size_t i = 0; i < handles.size(); ++i) {
        if (const auto it = first_tokens.find(handles[i]); it != first_tokens.end()) {
          live.asks[i].first_token = it->second - start;
        }
      }
    }
    return live;
  }

 private:
  static double Units(const EngineStats& end, const EngineStats& begin) {
    return static_cast<double>(end.prompt_tokens - begin.prompt_tokens) +
           2 * static_cast<double>(end.output_tokens - begin.output_tokens);
  }
  EngineOptions Options(StepObserver* observer) const {
    EngineOptions options;
    options.step_tokens_max = kStepTokens;
    options.running_max = kRunning;
    options.waiting_max = kQueueMax;
    options.fairness_window_units = kTheta;
    options.swap_bytes = options.kv_bytes;  // as much as the pool, the daemon's default
    options.observer = observer;
    return options;
  }
  std::shared_ptr<const ResidentModel> Load(Engine& engine) {
    auto model = engine.LoadModel("live", Digest{}, file_);
    if (!model.ok()) {
      std::fprintf(stderr, "load: %s\n", model.status().ToString().c_str());
      std::exit(1);
    }
    return *model;
  }
  // Poisson arrivals of each tenant, merged.
  void Plan(double seconds, double capacity, std::vector<Ask>& asks) {
    for (size_t t = 0; t < std::size(kTenants); ++t) {
      const TenantPlan& plan = kTenants[t];
      const double units =
          (plan.prompt_min + plan.prompt_max) / 2.0 + 1.0 * (plan.output_min + plan.output_max);
      const double rate = plan.load * capacity / units;
      double at = 0;
      while (true) {
        const double uniform =
            (static_cast<double>(random_.Below(1u << 30)) + 1) / static_cast<double>(1u << 30);
        at -= std::log(uniform) / rate;
        if (at >= seconds) {
          break;
        }
        Ask ask = Draw(t, random_);
        ask.at = FromSeconds(at);
        asks.push_back(ask);
      }
    }
    std::stable_sort(
        asks.begin(), asks.end(), [](const Ask& a, const Ask& b) { return a.at < b.at; });
  }
  StreamHandle Submit(Engine& engine, const ResidentModel& model, const Ask& ask) {
    auto tokens = std::make_shared<std::vector<TokenId>>();
    for (int32_t i = 0; i < ask.prompt; ++i) {
      tokens->push_back(
          static_cast<TokenId>(random_.Below(static_cast<uint64_t>(model.config.vocab_size))));
    }
    GenerationRequest request;
    request.tenant = TenantId(kTenants[ask.tenant].name);
    request.model = model.slot;
    request.prompt = std::move(tokens);
    request.sampling.temperature = 0.0f;
    request.stopping.max_tokens = ask.output;
    request.stopping.ignore_eos = true;
    request.want_text = false;
    request.arrival = SystemClock().Now();
    const auto stream = engine.Submit(std::move(request));
    if (!stream.ok()) {
      std::fprintf(stderr, "submit: %s\n", stream.status().ToString().c_str());
      std::exit(1);
    }
    return *stream;
  }

  const ModelFile& file_;
  Device& device_;
  SplitMix64 random_;
};

sim::Workload ToWorkload(const Live& live, const StepTimeModel& time) {
  sim::Workload workload;
  workload.device.step_tokens_max = kStepTokens;
  workload.device.running_max = kRunning;
  workload.device.waiting_max = kQueueMax;
  workload.device.time = time;
  workload.device.host_percent = 100;
  workload.device.copy_unit = live.copy_unit;
  workload.policy = {.kind = sim::PolicyKind::kFair, .theta = kTheta};
  sim::ModelSetup model{.name = "live", .context_tokens_max = 8192, .groups = {}};
  model.groups.push_back({.units = live.stats.kv_blocks_total});
  workload.models.push_back(model);
  for (const TenantPlan& tenant : kTenants) {
    workload.tenants.push_back(
        {.name = tenant.name, .weight = tenant.weight, .waiting_max = kQueueMax});
  }
  for (const Ask& ask : live.asks) {
    sim::Submission submission;
    submission.name = "r" + std::to_string(workload.submissions.size());
    submission.at = ask.at;
    submission.tenant = static_cast<uint32_t>(ask.tenant);
    submission.prompt_tokens = ask.prompt;
    submission.output_tokens = ask.output;
    submission.output_max = ask.output;
    submission.service_class = 2;  // without deadlines, as the engine's only class
    workload.submissions.push_back(submission);
  }
  return workload;
}

// Mean time to first token of requests that had theirs in both runs by `until`, by tenant; the
// worst relative error of a tenant.
double CompareTtft(const Live& live, const sim::Report& report, Duration until) {
  double worst = 0;
  for (size_t t = 0; t < std::size(kTenants); ++t) {
    double real = 0;
    double simulated = 0;
    int64_t count = 0;
    for (size_t i = 0; i < live.asks.size(); ++i) {
      const Ask& ask = live.asks[i];
      const sim::RequestOutcome& outcome = report.requests[i];
      if (ask.tenant == t && ask.first_token.has_value() && outcome.first_token.has_value() &&
          *outcome.first_token <= until) {
        real += Seconds(*ask.first_token - ask.at);
        simulated += Seconds(*outcome.first_token - outcome.arrival);
        ++count;
      }
    }
    const double error = count == 0 ? 1.0 : std::abs(simulated - real) / real;
    const double n = static_cast<double>(std::max<int64_t>(count, 1));
    std::printf("# %s: %ld requests, mean time to first token %.3f s live, %.3f s simulated\n",
                kTenants[t].name,
                static_cast<long>(count),
                real / n,
                simulated / n);
    worst = std::max(worst, error);
  }
  return worst;
}

// How long the steps took over what the model says, in each fifth of the log: the machine's drift.
void PrintDrift(const std::vector<Watch::Logged>& log, const StepTimeModel& time) {
  constexpr size_t kParts = 5;
  std::printf("# measured over fitted step times, by fifths:");
  for (size_t part = 0; part < kParts; ++part) {
    double measured = 0;
    double fitted = 0;
    for (size_t i = log.size() * part / kParts; i < log.size() * (part + 1) / kParts; ++i) {
      const MeasuredStep& step = log[i].step;
      if (step.took_ns > 0) {
        measured += static_cast<double>(step.took_ns);
        fitted += static_cast<double>(
            time.Estimate(step.prefill_tokens, step.decode_rows, step.context_tokens).count());
      }
    }
    std::printf(" %.3f", measured / std::max(fitted, 1.0));
  }
  std::printf("\n");
}

// Delivered service until `until`, a second.
double SimulatedUnits(const sim::Report& report, Duration until) {
  int64_t units = 0;
  for (const sim::ServiceSample& sample : report.service) {
    if (sample.at > until) {
      break;
    }
    units = 0;
    for (const int64_t of_tenant : sample.delivered_units) {
      units += of_tenant;
    }
  }
  return static_cast<double>(units) / Seconds(until);
}

int Main(const std::string& path, double seconds, int threads, uint64_t seed) {
  auto file = ModelFile::Open(path);
  auto device = CpuDevice::Create({.threads = threads});
  if (!file.ok() || !device.ok()) {
    std::fprintf(stderr, "%s\n", (file.ok() ? device.status() : file.status()).ToString().c_str());
    return 1;
  }
  Bench bench(**file, **device, seed);
  const double capacity = bench.Calibrate(std::max(3.0, seconds * kCalibrationShare));
  std::printf("# the device gives %.0f service units a second\n", capacity);
  Watch watch;
  const Live live = bench.Run(seconds, capacity, watch);
  const double bound = 2 * (kTheta + watch.monitor.largest_grant());
  std::printf(
      "# widest drift %.0f units, G %.0f, bound %.0f; %zu requests, %lu steps, %lu "
      "preemptions, %lu swapped%s%s\n",
      watch.monitor.pair_gap(),
      watch.monitor.largest_grant(),
      bound,
      live.asks.size(),
      static_cast<unsigned long>(live.stats.steps),
      static_cast<unsigned long>(live.stats.preemptions),
      static_cast<unsigned long>(live.stats.swapped_in),
      watch.violations.empty() ? "" : "; VIOLATED: ",
      watch.violations.c_str());
  Result("live.fairness.gap_over_bound", watch.monitor.pair_gap() / bound, "ratio");

  StepTimeFit fit;
  for (size_t i = 0; i < watch.log.size(); i += kFitEvery) {
    if (watch.log[i].step.took_ns > 0) {
      fit.Add(watch.log[i].step);
    }
  }
  const StepTimeModel time = fit.Fit();
  std::printf(
      "# %ld steps fitted: base %.3f ms, prefill token %.1f us, decode row %.1f us, 1024 "
      "positions %.1f us\n",
      static_cast<long>(fit.num_steps()),
      static_cast<double>(time.base_ns) / 1e6,
      static_cast<double>(time.prefill_token_ns) / 1e3,
      static_cast<double>(time.decode_row_ns) / 1e3,
      static_cast<double>(time.context_kilotoken_ns) / 1e3);
  PrintDrift(watch.log, time);
  const sim::Report report = sim::Simulate(
      ToWorkload(live, time), {.check = false, .check_reads = false, .record_service = true});
  const Duration until = FromSeconds(seconds);
  Result("live.sim_error_ttft", CompareTtft(live, report, until), "ratio");
  const double simulated = SimulatedUnits(report, until);
  std::printf("# %.1f service units a second live, %.1f simulated\n", live.units_per_s, simulated);
  Result("live.sim_error_throughput",
         std::abs(simulated - live.units_per_s) / live.units_per_s,
         "ratio");
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  CLI::App app{"Fairness and the simulator's error on the real engine", "inferd_live_bench"};
  std::string model;
  double seconds = 300;
  int threads = 2;
  uint64_t seed = 1;
  app.add_option("--model", model, "GGUF file")->required();
  app.add_option("--seconds", seconds, "of the open loop")->check(CLI::Range(5.0, 86400.0));
  app.add_option("--threads", threads, "compute threads");
  app.add_option("--seed", seed, "of lengths, contents and arrivals");
  CLI11_PARSE(app, argc, argv);
  return inferd::Main(model, seconds, threads, seed);
}
