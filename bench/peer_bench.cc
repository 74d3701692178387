// inferd_peer_bench: this engine's side of `make bench-peer`. Loads a model into an Engine on the
// CPU device, prints what that cost in memory, then runs one pass for each line on stdin and
// answers with tokens a second, so that a driver can alternate it with another engine on the same
// file.
//
// Passes (greedy, end tokens ignored, random token ids as prompts):
//   decode_b1    one sequence, prompt 16, 128 tokens; rate from the first token to the last
//   decode_b8    eight sequences, prompt 16, 64 tokens each; rate of all of them together
//   prefill_512  one prompt of 512, one token; 512 / time from submission to it
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <condition_variable>
#include <fstream>
#include <iostream>
#include <mutex>

#include "base/random.h"
#include "cpu/cpu_device.h"
#include "engine/engine.h"
#include "model/model_file.h"

namespace inferd {
namespace {

// Collects when tokens came. Publish on the engine thread, Wait on the main thread.
class Stopwatch final : public EventSink {
 public:
  void Expect(int requests) {
    const std::lock_guard lock(mutex_);
    open_ = requests;
    tokens_ = 0;
    first_ = last_ = TimePoint{};
  }
  void Publish(std::vector<GenerationEvent>&& events) override {
    const TimePoint now = SystemClock().Now();
    const std::lock_guard lock(mutex_);
    for (const GenerationEvent& event : events) {
      if (!event.tokens.empty()) {
        first_ = tokens_ == 0 ? now : first_;
        last_ = now;
        tokens_ += static_cast<int>(event.tokens.size());
      }
      open_ -= event.last ? 1 : 0;
    }
    done_.notify_all();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return open_ == 0; });
  }
  int tokens() const { return tokens_; }
  TimePoint first() const { return first_; }
  TimePoint last() const { return last_; }

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  int open_ = 0;
  int tokens_ = 0;
  TimePoint first_{}, last_{};
};

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t pages = 0;
  statm >> pages >> pages;
  return pages * 4096;
}

struct Pass {
  int sequences;
  int prompt_tokens;
  int output_tokens;
};

// Tokens a second of one pass.
double Measure(Engine& engine,
               Stopwatch& stopwatch,
               const ResidentModel& model,
               const Pass& pass,
               uint64_t seed) {
  stopwatch.Expect(pass.sequences);
  SplitMix64 random(seed);
  const TimePoint start = SystemClock().Now();
  for (int i = 0; i < pass.sequences; ++i) {
    std::vector<TokenId> prompt;
    for (int t = 0; t < pass.prompt_tokens; ++t) {
      prompt.push_back(
          static_cast<TokenId>(random.Below(static_cast<uint64_t>(model.config.vocab_size))));
    }
    GenerationRequest request;
    request.request_id = RequestId("bench-" + std::to_string(i));
    request.tenant = TenantId("local");
    request.model = model.slot;
    request.prompt = std::make_shared<const std::vector<TokenId>>(std::move(prompt));
    request.sampling.temperature = 0;
    request.stopping.max_tokens = pass.output_tokens;
    request.stopping.ignore_eos = true;
    request.arrival = start;
    const StatusOr<StreamHandle> handle = engine.Submit(std::move(request));
    if (!handle.ok()) {
      std::cerr << handle.status() << "\n";
      std::exit(1);
    }
  }
  stopwatch.Wait();
  if (pass.output_tokens == 1) {
    return pass.prompt_tokens / Seconds(stopwatch.first() - start);
  }
  return (stopwatch.tokens() - pass.sequences) / Seconds(stopwatch.last() - stopwatch.first());
}

int Run(const std::string& path, int threads, const std::string& isa_name) {
  const std::optional<CpuIsa> isa = isa_name.empty() ? BestIsa() : CpuIsaFromName(isa_name);
  if (!isa) {
    std::cerr << "unknown instruction set " << isa_name << "\n";
    return 2;
  }
  auto device = CpuDevice::Create({.threads = threads, .isa = *isa});
  if (!device.ok()) {
    std::cerr << device.status() << "\n";
    return 1;
  }
  const int64_t resident_before = ResidentBytes();
  Stopwatch stopwatch;
  Engine engine(**device, SystemClock(), stopwatch, EngineOptions{.prefix_cache = false});
  std::shared_ptr<const ResidentModel> model;
  {
    const auto file = ModelFile::Open(path);
    if (!file.ok()) {
      std::cerr << file.status() << "\n";
      return 1;
    }
    auto loaded = engine.LoadModel("bench", Digest{}, **file);
    if (!loaded.ok()) {
      std::cerr << loaded.status() << "\n";
      return 1;
    }
    model = *loaded;
  }
  engine.Start();
  Measure(engine, stopwatch, *model, {.sequences = 1, .prompt_tokens = 16, .output_tokens = 64}, 1);
  // KV touched: 80 tokens of blocks of 64, K and V in f16, of every layer.
  int64_t kv_bytes = 0;
  for (const LayerConfig& layer : model->config.layers) {
    kv_bytes += 2 * kBlockTokens * 2 * layer.attention.n_kv_heads *
                (layer.attention.head_dim + layer.attention.head_dim_v);
  }
  const auto file_bytes = static_cast<double>(model->file_bytes);
  std::cout << "resident "
            << static_cast<double>(ResidentBytes() - resident_before - kv_bytes) / file_bytes
            << " whole_process " << static_cast<double>(ResidentBytes()) / file_bytes << " device "
            << (*device)->capabilities().name << std::endl;
  std::string name;
  for (uint64_t seed = 2; std::getline(std::cin, name); ++seed) {
    Pass pass{};
    if (name == "decode_b1") {
      pass = {.sequences = 1, .prompt_tokens = 16, .output_tokens = 128};
    } else if (name == "decode_b8") {
      pass = {.sequences = 8, .prompt_tokens = 16, .output_tokens = 64};
    } else if (name == "prefill_512") {
      pass = {.sequences = 1, .prompt_tokens = 512, .output_tokens = 1};
    } else {
      std::cerr << "unknown pass " << name << "\n";
      return 2;
    }
    std::cout << name << " " << Measure(engine, stopwatch, *model, pass, seed) << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  CLI::App app("Runs passes of this engine for a driver that compares engines");
  std::string path;
  std::string isa;
  int threads = 2;
  app.add_option("--model", path, "GGUF file")->required();
  app.add_option("--threads", threads, "compute threads");
  app.add_option("--isa", isa, "scalar, avx2 or avx512; default: the best");
  CLI11_PARSE(app, argc, argv);
  return inferd::Run(path, threads, isa);
}
