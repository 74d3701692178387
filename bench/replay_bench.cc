// Answers computed again. A daemon at level full serves requests of every kind, many at once, in a
// KV pool that is too small for them; then each is replayed through the admin plane, by the same
// instruction set and by others on the same log.
//   RESULT replay.mismatches            requests whose replay found another token, or was
//   impossible RESULT replay.cross_isa_mismatches  the same, over all further instruction sets
//
// A control serves some requests again with another seed: if their tokens were the same, nothing
// would be shown, and the program fails.
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "daemon/backends.h"
#include "daemon/daemon.h"
#include "inferd/v1/generation.grpc.pb.h"
#include "inferd/v1/model.grpc.pb.h"
#include "inferd/v1/queue.grpc.pb.h"
#include "inferd/v1/replay.grpc.pb.h"
#include "tests/support/replay_load.h"
#include "tests/support/state_folder.h"

namespace inferd {
namespace {

constexpr char kModel[] = "model";
constexpr int kReplayThreads = 4;    // as many as the daemon computes at a time
constexpr int32_t kStepTokens = 64;  // longer prompts come in chunks

// Ends the program: nothing can be measured.
[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "replay_bench: %s\n", what.c_str());
  std::exit(1);
}

struct Settings {
  std::string model;
  std::string isa = "auto";
  std::vector<std::string> other_isas = {"avx2", "scalar"};
  int requests = 500;
  int scalar_requests = 20;
  int callers = 24;
  // Short prompts and long answers, so that what runs outgrows the memory.
  int prompt_tokens = 60;
  int output_tokens = 128;
  int64_t kv_bytes = int64_t{16} << 20;
};

// A daemon on one instruction set, on a state directory that outlives it.
class Served {
 public:
  Served(const Settings& settings, const std::string& state, const std::string& isa) {
    Config config;
    config.data.address = "127.0.0.1:0";
    config.device.cpu_isa = isa;
    config.models.push_back({.name = kModel, .path = settings.model, .context_tokens_max = 0});
    config.kv_cache_bytes_max = settings.kv_bytes;
    config.scheduler.step_tokens_max = kStepTokens;
    config.state_directory = state;
    config.audit.mode = "strict";
    config.audit.level = "full";
    config.audit.reserve_bytes = 0;
    config.audit.wait_max = std::chrono::seconds(30);
    auto device = MakeDevice(config.device);
    if (!device.ok()) {
      Fail(std::string(Message(device.status())));
    }
    auto started = Daemon::Start(config, *std::move(device));
    if (!started.ok()) {
      Fail(std::string(Message(started.status())));
    }
    daemon_ = *std::move(started);
    const Status loaded = daemon_->LoadModels([](const std::string&) {});
    if (!loaded.ok()) {
      Fail(std::string(Message(loaded)));
    }
    const auto data = grpc::CreateChannel(daemon_->address(), grpc::InsecureChannelCredentials());
    generation_ = v1::GenerationService::NewStub(data);
    models_ = v1::ModelService::NewStub(data);
    admin_ =
        grpc::CreateChannel("unix:" + state + "/admin.sock", grpc::InsecureChannelCredentials());
    replays_ = v1::ReplayService::NewStub(admin_);
  }

  struct Answer {
    std::string rid;
    int32_t prompt_tokens = 0;
    int32_t cached_tokens = 0;
    std::vector<std::vector<int32_t>> tokens;
  };
  Answer Ask(const v1::GenerateStreamRequest& request) {
    v1::GenerateRequest unary;
    CHECK(unary.ParseFromString(request.SerializeAsString()));
    grpc::ClientContext context;
    v1::GenerateResponse response;
    const grpc::Status status = generation_->Generate(&context, unary, &response);
    if (!status.ok()) {
      Fail("a request was refused: " + status.error_message());
    }
    Answer answer{.rid = response.started().audit().record_id(),
                  .prompt_tokens = response.started().prompt_tokens(),
                  .cached_tokens = response.started().cached_tokens(),
                  .tokens = {}};
    for (const v1::Finished& choice : response.choices()) {
      answer.tokens.emplace_back(choice.output().token_ids().begin(),
                                 choice.output().token_ids().end());
    }
    return answer;
  }

  // Says what went wrong with one.
  bool ReplaysAlike(const std::string& view, const std::string& rid) {
    grpc::ClientContext context;
    v1::ReplayRequest request;
    request.set_view_id(view);
    request.set_rid(rid);
    v1::ReplayResponse response;
    const grpc::Status status = replays_->Replay(&context, request, &response);
    const bool alike = status.ok() && response.result() == v1::REPLAY_RESULT_MATCH;
    if (!alike) {
      std::printf("%s: %s %s\n",
                  rid.c_str(),
                  v1::ReplayResult_Name(response.result()).c_str(),
                  (status.ok() ? response.reason() : status.error_message()).c_str());
    }
    return alike;
  }

  int32_t VocabularySize() {
    grpc::ClientContext context;
    v1::GetModelRequest request;
    request.set_model(kModel);
    v1::GetModelResponse response;
    const grpc::Status status = models_->GetModel(&context, request, &response);
    if (!status.ok()) {
      Fail("the model cannot be asked for: " + status.error_message());
    }
    return static_cast<int32_t>(response.model().vocab_size());
  }

  uint64_t Preemptions() {
    grpc::ClientContext context;
    v1::GetLoadResponse load;
    const grpc::Status status =
        v1::QueueService::NewStub(admin_)->GetLoad(&context, v1::GetLoadRequest(), &load);
    return status.ok() ? load.preemptions() : 0;
  }

 private:
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::shared_ptr<grpc::Channel> admin_;
  std::unique_ptr<v1::ReplayService::Stub> replays_;
};

// Calls work(i) for each i below count, on some threads.
template <typename Work>
void OnThreads(int threads, size_t count, const Work& work) {
  std::atomic<size_t> next{0};
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t) {
    all.emplace_back([&] {
      for (size_t i = next++; i < count; i = next++) {
        work(i);
      }
    });
  }
  for (std::thread& thread : all) {
    thread.join();
  }
}

int CountMismatches(Served& served, const std::string& view, std::span<const std::string> rids) {
  std::atomic<int> mismatches{0};
  OnThreads(kReplayThreads, rids.size(), [&](size_t i) {
    mismatches += served.ReplaysAlike(view, rids[i]) ? 0 : 1;
  });
  return mismatches;
}

// How many of some drawn requests answer otherwise with another seed.
int OtherSeedsDiffer(Served& served, std::vector<v1::GenerateStreamRequest> requests) {
  constexpr size_t kControls = 10;
  int differ = 0;
  size_t asked = 0;
  for (v1::GenerateStreamRequest& request : requests) {
    if (asked == kControls || !request.sampling().has_seed() ||
        request.sampling().temperature() == 0) {
      continue;
    }
    ++asked;
    const auto then = served.Ask(request).tokens;
    request.mutable_sampling()->set_seed(request.sampling().seed() + 1);
    differ += served.Ask(request).tokens != then ? 1 : 0;
  }
  return differ;
}

void Run(const Settings& settings) {
  SetLogLevel(LogLevel::kError);
  const StateFolder state;
  const std::string view = ApproveReplays(state.path(), "local");
  std::vector<std::string> rids;
  {
    Served served(settings, state.path(), settings.isa);
    const auto requests = MixedRequests({.model = kModel,
                                         .seed = 17,
                                         .vocab_size = served.VocabularySize(),
                                         .prompt_tokens_max = settings.prompt_tokens,
                                         .output_tokens_max = settings.output_tokens,
                                         .shared_sentences = 8,
                                         .early_ends_of_ten = 8},
                                        settings.requests);
    rids.resize(requests.size());
    std::atomic<int> chunked{0}, cached{0}, several{0};
    OnThreads(settings.callers, requests.size(), [&](size_t i) {
      const Served::Answer answer = served.Ask(requests[i]);
      rids[i] = answer.rid;
      chunked += answer.prompt_tokens > kStepTokens ? 1 : 0;
      cached += answer.cached_tokens > 0 ? 1 : 0;
      several += answer.tokens.size() > 1 ? 1 : 0;
    });
    std::printf(
        "%zu requests: %d in chunks, %d with cached prefixes, %d of several choices, "
        "%llu preemptions\n",
        rids.size(),
        chunked.load(),
        cached.load(),
        several.load(),
        static_cast<unsigned long long>(served.Preemptions()));
    const int differ = OtherSeedsDiffer(served, requests);
    std::printf("control: %d of 10 drawn requests differ with another seed\n", differ);
    if (differ == 0 && settings.requests >= 100) {
      Fail("another seed changes nothing: the comparison shows nothing");
    }
    std::printf("RESULT replay.mismatches %d count\n", CountMismatches(served, view, rids));
    std::fflush(stdout);
  }
  int mismatches = 0;
  for (const std::string& isa : settings.other_isas) {
    const size_t count = isa == "scalar"
                             ? std::min(rids.size(), static_cast<size_t>(settings.scalar_requests))
                             : rids.size();
    Served served(settings, state.path(), isa);
    mismatches += CountMismatches(served, view, std::span(rids).first(count));
    std::printf("%s: %zu requests replayed\n", isa.c_str(), count);
    std::fflush(stdout);
  }
  std::printf("RESULT replay.cross_isa_mismatches %d count\n", mismatches);
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  inferd::Settings settings;
  CLI::App app("Serves requests under load, then computes them again.");
  app.add_option("--model", settings.model, "a GGUF file")->required();
  app.add_option("--cpu-isa", settings.isa, "that serves");
  app.add_option("--other-isas", settings.other_isas, "that replay too")->delimiter(',');
  app.add_option("--requests", settings.requests, "to serve");
  app.add_option("--scalar-requests", settings.scalar_requests, "that scalar code replays");
  app.add_option("--callers", settings.callers, "at a time");
  app.add_option("--prompt-tokens", settings.prompt_tokens, "about, at most");
  app.add_option("--output-tokens", settings.output_tokens, "of a choice, at most");
  app.add_option("--kv-bytes", settings.kv_bytes, "of KV memory: little makes preemptions");
  CLI11_PARSE(app, argc, argv);
  inferd::Run(settings);
  return 0;
}
