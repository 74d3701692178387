// inferd_model_bench: what the forward pass of a model costs on the CPU device, without an engine.
//
//   decode_bN    N sequences of 16 prompt tokens (--context), 64 greedy steps; tokens a second of
//                all of them together
//   prefill_N    one prompt of N tokens in steps of at most 512; tokens a second
//
// Prints the median of --passes, and with --ops the share of each op:
//   RESULT model.decode_b1 <tokens/s>      RESULT model.decode_b1.linear <share>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <numeric>
#include <vector>

#include "backend/transformer.h"
#include "bench/statistics.h"
#include "bench/timed_device.h"
#include "cpu/cpu_device.h"
#include "model/model_file.h"

namespace inferd {
namespace {

constexpr int32_t kStepRows = 512;

// A few sequences of one model, each with blocks of its own in every group.
class Runner {
 public:
  static StatusOr<std::unique_ptr<Runner>> Create(Device& device,
                                                  const ModelFile& file,
                                                  int32_t sequences_max,
                                                  int64_t tokens_max,
                                                  bool cpu_time) {
    auto runner = std::unique_ptr<Runner>(new Runner(device, cpu_time));
    ASSIGN_OR_RETURN(runner->transformer_,
                     Transformer::Load(device, file, {.rows_max = kStepRows}));
    const ModelConfig& config = file.config();
    const int64_t blocks = StateGroup::BlocksFor(tokens_max);
    const std::vector<int64_t> units(config.geometry.groups.size(), sequences_max * blocks);
    ASSIGN_OR_RETURN(runner->state_, device.AllocateState(config, units));
    runner->tables_.resize(static_cast<size_t>(sequences_max));
    for (size_t s = 0; s < runner->tables_.size(); ++s) {
      runner->tables_[s].resize(static_cast<size_t>(blocks));
      std::iota(runner->tables_[s].begin(),
                runner->tables_[s].end(),
                static_cast<BlockIndex>(s * static_cast<size_t>(blocks)));
    }
    return runner;
  }

  // Adds these tokens to sequences 0, 1, ...; draws a token of each.
  std::vector<TokenId> Step(const std::vector<std::vector<TokenId>>& tokens, int64_t start) {
    ForwardBatch batch;
    std::vector<SampleRow> rows;
    for (size_t s = 0; s < tokens.size(); ++s) {
      SequenceRows& sequence = batch.sequences.emplace_back();
      sequence.first_row = batch.n_rows();
      sequence.n_rows = static_cast<int32_t>(tokens[s].size());
      sequence.start = start;
      sequence.block_tables.assign(transformer_->config().geometry.groups.size(), tables_[s]);
      for (size_t i = 0; i < tokens[s].size(); ++i) {
        batch.tokens.push_back(tokens[s][i]);
        batch.positions.push_back(start + static_cast<int64_t>(i));
      }
      batch.logit_rows.push_back(batch.n_rows() - 1);
      rows.push_back({.logits_row = static_cast<int32_t>(s), .params = &greedy_});
    }
    transformer_->Forward(batch, *state_);
    std::vector<SampledToken> drawn(rows.size());
    device_.Sample(transformer_->logits(), rows, drawn);
    if (!device_.Synchronize().ok()) {
      return {};
    }
    std::vector<TokenId> result;
    for (const SampledToken& token : drawn) {
      result.push_back(token.token);
    }
    return result;
  }

  double Decode(int32_t n, int64_t context, int32_t steps, TimedDevice* timed) {
    const auto count = static_cast<size_t>(n);
    std::vector<TokenId> last;
    for (int64_t at = 0; at < context;) {
      const int64_t piece = std::min<int64_t>(context - at, kStepRows / n);
      std::vector<std::vector<TokenId>> prompts;
      for (size_t s = 0; s < count; ++s) {
        prompts.push_back(Prompt(piece));
      }
      last = Step(prompts, at);
      at += piece;
    }
    timed->Reset();
    const double start = SecondsNow(cpu_time_);
    for (int32_t i = 0; i < steps; ++i) {
      std::vector<std::vector<TokenId>> tokens;
      for (const TokenId token : last) {
        tokens.push_back({token});
      }
      last = Step(tokens, context + i);
    }
    return n * steps / (SecondsNow(cpu_time_) - start);
  }

  double Prefill(int64_t tokens, TimedDevice* timed) {
    timed->Reset();
    const double start = SecondsNow(cpu_time_);
    for (int64_t at = 0; at < tokens; at += kStepRows) {
      Step({Prompt(std::min<int64_t>(kStepRows, tokens - at))}, at);
    }
    return static_cast<double>(tokens) / (SecondsNow(cpu_time_) - start);
  }

 private:
  Runner(Device& device, bool cpu_time) : device_(device), cpu_time_(cpu_time) {
    greedy_.temperature = 0.0f;
  }

  std::vector<TokenId> Prompt(int64_t n) {
    const auto vocab = static_cast<uint64_t>(transformer_->config().vocab_size);
    std::vector<TokenId> tokens;
    for (int64_t i = 0; i < n; ++i) {
      seed_ = seed_ * 6364136223846793005u + 1442695040888963407u;
      tokens.push_back(static_cast<TokenId>((seed_ >> 33) % vocab));
    }
    return tokens;
  }

  Device& device_;
  bool cpu_time_;
  SamplingParams greedy_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<DeviceState> state_;
  std::vector<std::vector<BlockIndex>> tables_;
  uint64_t seed_ = 1;
};

struct Args {
  std::string model;
  int threads = 0;
  std::string isa;
  int passes = 5;
  int64_t context = 16;
  int32_t steps = 64;
  std::vector<int32_t> batches = {1, 8};
  std::vector<int64_t> prefills = {512};
  bool ops = false;
  bool cpu_time = false;
};

void Report(const std::string& key,
            const std::vector<double>& rates,
            const Args& args,
            const TimedDevice& timed) {
  std::cout << "RESULT " << key << ' ' << Median(rates) << " tokens/s\n";
  if (!args.ops) {
    return;
  }
  double total = 0;
  for (const auto& [name, seconds] : timed.seconds()) {
    total += seconds;
  }
  for (const auto& [name, seconds] : timed.seconds()) {
    std::cout << "RESULT " << key << '.' << name << ' ' << 100.0 * seconds / total << " %\n";
  }
}

Status Main(const Args& args) {
  CpuDevice::Options options{.threads = args.threads};
  if (!args.isa.empty()) {
    const std::optional<CpuIsa> isa = CpuIsaFromName(args.isa);
    if (!isa.has_value()) {
      return ErrorF(StatusCode::kInvalidArgument, "--isa %s: scalar, avx2 or avx512", args.isa);
    }
    options.isa = *isa;
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<CpuDevice> device, CpuDevice::Create(options));
  ASSIGN_OR_RETURN(const std::unique_ptr<ModelFile> file, ModelFile::Open(args.model));
  TimedDevice timed(*device, args.cpu_time);
  int64_t tokens_max = args.context + args.steps;
  for (const int64_t prefill : args.prefills) {
    tokens_max = std::max(tokens_max, prefill);
  }
  const int32_t sequences = *std::max_element(args.batches.begin(), args.batches.end());
  ASSIGN_OR_RETURN(const std::unique_ptr<Runner> runner,
                   Runner::Create(timed, *file, sequences, tokens_max, args.cpu_time));
  std::cout << "device " << device->capabilities().name << ", " << device->threads()
            << " threads\n";
  for (const int64_t prefill : args.prefills) {
    std::vector<double> rates;
    for (int pass = 0; pass < args.passes; ++pass) {
      rates.push_back(runner->Prefill(prefill, &timed));
    }
    Report("model.prefill_" + std::to_string(prefill), rates, args, timed);
  }
  for (const int32_t batch : args.batches) {
    std::vector<double> rates;
    for (int pass = 0; pass < args.passes; ++pass) {
      rates.push_back(runner->Decode(batch, args.context, args.steps, &timed));
    }
    Report("model.decode_b" + std::to_string(batch), rates, args, timed);
  }
  return OkStatus();
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  CLI::App app("Speed of a model's forward pass on the CPU device.");
  inferd::Args args;
  app.add_option("--model", args.model, "GGUF file")->required();
  app.add_option("--threads", args.threads, "compute threads; 0: physical cores");
  app.add_option("--isa", args.isa, "scalar, avx2 or avx512; default: the best");
  app.add_option("--passes", args.passes, "passes of each workload");
  app.add_option("--context", args.context, "prompt tokens before decoding");
  app.add_option("--steps", args.steps, "decode steps of a pass");
  app.add_option("--batches", args.batches, "numbers of sequences to decode");
  app.add_option("--prefills", args.prefills, "prompt lengths to prefill");
  app.add_flag("--ops", args.ops, "print the share of each op");
  app.add_flag("--cpu-time", args.cpu_time, "the calling thread's CPU time (with --threads 1)");
  CLI11_PARSE(app, argc, argv);
  const inferd::Status status = inferd::Main(args);
  if (!status.ok()) {
    std::cerr << "inferd_model_bench: " << inferd::Message(status) << '\n';
    return 1;
  }
  return 0;
}
