// Scheduling cost and end-to-end speed of the engine, in one process, without gRPC.
//
//   inferd_engine_bench plan                  plan + commit at 256 running sequences, no device
//   inferd_engine_bench fake                  the engine's own step: 256 decodes, fake device
//   inferd_engine_bench model FILE [threads]  tokens/s of a model: 1 and 8 greedy streams
//   inferd_engine_bench prefix FILE [threads] first token of a 2k prompt, cold and from the cache,
//                                             and whether the logits have the same bits
//
// Prints `RESULT <key> <value> <unit>`, medians. Workloads are fixed: see each function.
#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "base/check.h"
#include "base/random.h"
#include "bench/statistics.h"
#include "bench/timed_device.h"
#include "cpu/cpu_device.h"
#include "engine/engine.h"
#include "model/model_file.h"
#include "scheduler/scheduler.h"
#include "tests/support/fake_device.h"
#include "tests/support/random_model.h"

namespace inferd {
namespace {

using BenchClock = std::chrono::steady_clock;

double Microseconds(BenchClock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

void Result(std::string_view key, double value, std::string_view unit) {
  std::printf("RESULT %s %.3f %s\n", std::string(key).c_str(), value, std::string(unit).c_str());
}

// 256 sequences of 512 prompt tokens decode; each that ends is replaced by a new one.
void MeasurePlan() {
  constexpr int kRunning = 256;
  Scheduler scheduler({.step_tokens_max = 1024, .running_max = kRunning, .waiting_max = 1024});
  const ModelSlot model = *scheduler.AddModel(
      {.geometry = {.groups = {StateGroup{}}, .context_tokens_max = 8192, .vocab_size = 1000},
       .units = {8192}});
  SplitMix64 random(1);
  const auto prompt = std::make_shared<const std::vector<TokenId>>(512, 1);
  const auto submit = [&] {
    CHECK(scheduler
              .Submit({.model = model,
                       .prompt = prompt,
                       .tokens_max = 512 + static_cast<int64_t>(100 + random.Below(400))},
                      TimePoint{})
              .ok());
  };
  for (int i = 0; i < kRunning + 32; ++i) {
    submit();
  }
  std::vector<double> samples;
  StepResult result;
  for (int step = 0; step < 5000; ++step) {
    const auto before = BenchClock::now();
    const StepPlan plan = scheduler.Plan(TimePoint{});
    const auto planned = BenchClock::now();
    int ended = 0;
    result.rows.assign(plan.rows.size(), {});
    for (size_t i = 0; i < plan.rows.size(); ++i) {
      const Sequence& sequence = *plan.rows[i].sequence;
      result.rows[i].finished =
          plan.rows[i].sample && sequence.num_tokens() + 1 == sequence.spec().tokens_max;
      ended += result.rows[i].finished ? 1 : 0;
    }
    const auto committing = BenchClock::now();
    scheduler.Commit(plan.epoch, result);
    const auto committed = BenchClock::now();
    if (step >= 1000) {
      samples.push_back(Microseconds((planned - before) + (committed - committing)));
    }
    for (; ended > 0; --ended) {
      submit();
    }
  }
  Result("scheduler.plan_commit_us_256", Quantile(samples, 0.5), "us");
  Result("scheduler.plan_commit_us_256_p99", Quantile(samples, 0.99), "us");
}

// Counts tokens; waits for the last event of a number of streams.
class CountingSink final : public EventSink {
 public:
  void Publish(std::vector<GenerationEvent>&& events) override {
    const std::lock_guard lock(mutex_);
    for (const GenerationEvent& event : events) {
      tokens_ += static_cast<int64_t>(event.tokens.size());
      ended_ += event.last ? 1 : 0;
      if (!event.tokens.empty() && first_token_ == BenchClock::time_point{}) {
        first_token_ = BenchClock::now();
      }
    }
    changed_.notify_all();
  }
  void Reset() {
    const std::lock_guard lock(mutex_);
    tokens_ = ended_ = 0;
    first_token_ = {};
  }
  // {first token, tokens}
  std::pair<BenchClock::time_point, int64_t> Wait(int64_t streams) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ >= streams; });
    return {first_token_, tokens_};
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t tokens_ = 0;
  int64_t ended_ = 0;
  BenchClock::time_point first_token_{};
};

struct Pass {
  double ttft_ms = 0.0;
  double decode_tokens_per_s = 0.0;
};

// `streams` greedy requests at once, prompts of `prompt` random tokens, `output` tokens each.
Pass RunPass(Engine& engine,
             CountingSink& sink,
             const ResidentModel& model,
             int streams,
             int64_t prompt,
             int32_t output) {
  sink.Reset();
  SplitMix64 random(3);
  const auto before = BenchClock::now();
  for (int i = 0; i < streams; ++i) {
    auto tokens = std::make_shared<std::vector<TokenId>>();
    for (int64_t t = 0; t < prompt; ++t) {
      tokens->push_back(
          static_cast<TokenId>(random.Below(static_cast<uint64_t>(model.config.vocab_size))));
    }
    GenerationRequest request;
    request.model = model.slot;
    request.prompt = std::move(tokens);
    request.sampling.temperature = 0.0f;
    request.stopping.max_tokens = output;
    request.stopping.ignore_eos = true;
    const StatusOr<StreamHandle> stream = engine.Submit(std::move(request));
    if (!stream.ok()) {
      std::fprintf(stderr, "submit: %s\n", stream.status().ToString().c_str());
      std::exit(1);
    }
  }
  const auto [first_token, tokens] = sink.Wait(streams);
  const double decode_s = std::chrono::duration<double>(BenchClock::now() - first_token).count();
  return {.ttft_ms = Microseconds(first_token - before) / 1000.0,
          .decode_tokens_per_s = static_cast<double>(tokens - streams) / decode_s};
}

std::shared_ptr<const ResidentModel> LoadOrDie(Engine& engine, const ModelFile& file) {
  auto model = engine.LoadModel("bench", Digest{}, file);
  if (!model.ok()) {
    std::fprintf(stderr, "load: %s\n", model.status().ToString().c_str());
    std::exit(1);
  }
  return *model;
}

std::unique_ptr<ModelFile> OpenOrDie(const std::string& path) {
  auto file = ModelFile::Open(path);
  if (!file.ok()) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(), file.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(file);
}

// 256 decodes a step on a device that does almost nothing: what is left is mostly the engine, the
// fake device's fingerprints (short contexts) and the sampler over 331 tokens.
void MeasureFake() {
  const std::string path = "/tmp/inferd_engine_bench_" + std::to_string(RandomSeed()) + ".gguf";
  CHECK(WriteRandomModel(TinyModel("llama", 1, QuantFormat::kF32), path).ok());
  const std::unique_ptr<ModelFile> file = OpenOrDie(path);
  std::remove(path.c_str());
  FakeDevice device;
  CountingSink sink;
  Engine engine(device, SystemClock(), sink, {.step_tokens_max = 1024, .prefix_cache = false});
  const auto model = LoadOrDie(engine, *file);
  engine.Start();
  std::vector<double> steps;
  for (int pass = 0; pass < 7; ++pass) {
    const Pass result = RunPass(engine, sink, *model, 256, 4, 60);
    steps.push_back(256.0 / result.decode_tokens_per_s * 1e6);
  }
  Result("engine.fake_step_us_256", Quantile(steps, 0.5), "us");
}

void MeasureModel(const std::string& path, int threads) {
  const std::unique_ptr<ModelFile> file = OpenOrDie(path);
  auto device = CpuDevice::Create({.threads = threads});
  if (!device.ok()) {
    std::fprintf(stderr, "cpu: %s\n", device.status().ToString().c_str());
    std::exit(1);
  }
  CountingSink sink;
  Engine engine(**device, SystemClock(), sink, {.prefix_cache = false});
  const auto model = LoadOrDie(engine, *file);
  engine.Start();
  std::vector<double> ttft;
  for (const int streams : {1, 8}) {
    std::vector<double> speeds;
    for (int pass = 0; pass < 5; ++pass) {
      const Pass result = RunPass(engine, sink, *model, streams, 128, 64);
      speeds.push_back(result.decode_tokens_per_s);
      if (streams == 1) {
        ttft.push_back(result.ttft_ms);
      }
    }
    Result("engine.decode_b" + std::to_string(streams), Quantile(speeds, 0.5), "tokens/s");
  }
  Result("engine.ttft_128", Quantile(ttft, 0.5), "ms");
}

// Keeps the bits of every row of logits that is drawn from.
class LogitTap final : public TimedDevice {
 public:
  explicit LogitTap(Device& device) : TimedDevice(device, false) {}
  void Sample(const DeviceTensor& logits,
              std::span<const SampleRow> rows,
              std::span<SampledToken> result) override {
    for (const SampleRow& row : rows) {
      std::vector<float>& kept = rows_.emplace_back(static_cast<size_t>(logits.cols()));
      ReadRow(logits, row.logits_row, kept);
    }
    TimedDevice::Sample(logits, rows, result);
  }
  std::vector<std::vector<float>> Take() { return std::exchange(rows_, {}); }

 private:
  std::vector<std::vector<float>> rows_;
};

// A prompt of 2048 tokens that are always the same, and one more.
GenerationRequest PrefixRequest(const ResidentModel& model,
                                const std::string& scope,
                                TokenId last) {
  SplitMix64 random(3);
  auto tokens = std::make_shared<std::vector<TokenId>>();
  for (int t = 0; t < 2048; ++t) {
    tokens->push_back(
        static_cast<TokenId>(random.Below(static_cast<uint64_t>(model.config.vocab_size))));
  }
  tokens->push_back(last);
  GenerationRequest request;
  request.model = model.slot;
  request.prompt = std::move(tokens);
  request.prefix_scope = scope;
  request.sampling.temperature = 0.0f;
  request.stopping.max_tokens = 1;
  request.stopping.ignore_eos = true;
  return request;
}

// Logits of the first token and of 15 after it, warm against cold: values whose bits differ.
int64_t LogitMismatches(const ModelFile& file, Device& device) {
  LogitTap tap(device);
  CountingSink sink;
  Engine engine(tap, SystemClock(), sink, {});
  const auto model = LoadOrDie(engine, file);
  engine.Start();
  std::vector<std::vector<std::vector<float>>> runs;
  for (int run = 0; run < 2; ++run) {
    GenerationRequest request = PrefixRequest(*model, "bits", 7);
    request.stopping.max_tokens = 16;
    sink.Reset();
    CHECK(engine.Submit(std::move(request)).ok());
    sink.Wait(1);
    runs.push_back(tap.Take());  // the core thread sleeps: nothing is left to do
  }
  CHECK(engine.stats().cached_tokens == 2048 && runs[0].size() == 16 && runs[1].size() == 16);
  int64_t mismatches = 0;
  for (size_t row = 0; row < runs[0].size(); ++row) {
    for (size_t i = 0; i < runs[0][row].size(); ++i) {
      mismatches +=
          std::bit_cast<uint32_t>(runs[0][row][i]) == std::bit_cast<uint32_t>(runs[1][row][i]) ? 0
                                                                                               : 1;
    }
  }
  return mismatches;
}

// First token of a prompt of 2048 tokens, most of them shared: cold, then found in the cache. The
// last token differs each time, so that every pass computes something of its own.
void MeasurePrefix(const std::string& path, int threads) {
  const std::unique_ptr<ModelFile> file = OpenOrDie(path);
  auto device = CpuDevice::Create({.threads = threads});
  CHECK(device.ok());
  Result("prefix.logit_mismatches", static_cast<double>(LogitMismatches(*file, **device)), "count");
  CountingSink sink;
  Engine engine(**device, SystemClock(), sink, {});
  const auto model = LoadOrDie(engine, *file);
  engine.Start();
  const auto first_token_ms = [&](const std::string& scope, TokenId last) {
    sink.Reset();
    const auto before = BenchClock::now();
    CHECK(engine.Submit(PrefixRequest(*model, scope, last)).ok());
    return Microseconds(sink.Wait(1).first - before) / 1000.0;
  };
  std::vector<double> cold;
  std::vector<double> warm;
  for (TokenId pass = 0; pass < 5; ++pass) {
    const std::string scope = std::to_string(pass);
    cold.push_back(first_token_ms(scope, pass));
    warm.push_back(first_token_ms(scope, pass + 100));
  }
  Result("prefix.cold_ttft", Quantile(cold, 0.5), "ms");
  Result("prefix.warm_ttft", Quantile(warm, 0.5), "ms");
  Result("prefix.hit_ttft_ratio", Quantile(cold, 0.5) / Quantile(warm, 0.5), "ratio");
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "plan") {
    inferd::MeasurePlan();
  } else if (what == "fake") {
    inferd::MeasureFake();
  } else if (int threads = 2;
             what == "model" && argc > 2 && (argc == 3 || absl::SimpleAtoi(argv[3], &threads))) {
    inferd::MeasureModel(argv[2], threads);
  } else if (int cores = 2;
             what == "prefix" && argc > 2 && (argc == 3 || absl::SimpleAtoi(argv[3], &cores))) {
    inferd::MeasurePrefix(argv[2], cores);
  } else {
    std::fprintf(stderr,
                 "usage: inferd_engine_bench plan | fake | {model | prefix} FILE [threads]\n");
    return 2;
  }
  return 0;
}
