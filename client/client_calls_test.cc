// Goal: the commands that talk to a daemon ask what was asked for, print what came and nothing
// else, and end with the right exit code. Method: a service in this process that answers by a
// script keyed on the model's name; JSON documents against golden files.
#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#include "base/file.h"
#include "client/commands.h"
#include "inferd/v1/generation.grpc.pb.h"
#include "inferd/v1/model.grpc.pb.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kDigest[] =
    "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

grpc::Status Refusal(grpc::StatusCode code, const std::string& message, const std::string& reason) {
  google::rpc::Status details;
  details.set_code(code);
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("inferd");
  details.add_details()->PackFrom(info);
  if (code == grpc::StatusCode::UNAVAILABLE) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(250'000'000);
    details.add_details()->PackFrom(retry);
  }
  if (code == grpc::StatusCode::INVALID_ARGUMENT) {
    google::rpc::BadRequest bad;
    auto* violation = bad.add_field_violations();
    violation->set_field("sampling.temperature");
    violation->set_description("must lie in [0, 100]");
    details.add_details()->PackFrom(bad);
  }
  return {code, message, details.SerializeAsString()};
}

// What the model's name asks for; OK for any other name.
grpc::Status Scripted(const std::string& model) {
  if (model == "missing") {
    return Refusal(grpc::StatusCode::NOT_FOUND, "no model \"missing\"", "MODEL_NOT_FOUND");
  }
  if (model == "denied") {
    return Refusal(grpc::StatusCode::PERMISSION_DENIED, "not yours", "MODEL_NOT_ALLOWED");
  }
  if (model == "busy") {
    return Refusal(grpc::StatusCode::UNAVAILABLE, "the queue is full", "QUEUE_FULL");
  }
  if (model == "bad") {
    return Refusal(grpc::StatusCode::INVALID_ARGUMENT, "bad request", "INVALID_FIELD");
  }
  if (model == "broken") {
    return Refusal(grpc::StatusCode::INTERNAL, "engine\nfault", "ENGINE_ERROR");
  }
  return grpc::Status::OK;
}

void FillStarted(const std::string& request_id, v1::Started& started) {
  started.set_request_id(request_id.empty() ? "r-made" : request_id);
  started.mutable_model()->set_name("tiny");
  started.mutable_model()->set_digest(kDigest);
  started.mutable_model()->set_version("1");
  started.set_system_fingerprint("fp_0011223344556677");
  started.set_seed(18446744073709551615u);
  started.set_prompt_tokens(4);
  started.set_cached_tokens(1);
  started.set_numerics_id("n1");
}

void FillFinished(int index, v1::Finished& finished) {
  finished.set_index(index);
  finished.set_finish_reason(v1::FINISH_REASON_STOP);
  finished.set_matched_stop_string("END");
  finished.mutable_usage()->set_prompt_tokens(4);
  finished.mutable_usage()->set_output_tokens(3);
  finished.mutable_timings()->mutable_queue()->set_nanos(1'500'000);
  finished.mutable_timings()->mutable_prefill()->set_nanos(20'000'000);
  finished.mutable_timings()->mutable_decode()->set_seconds(1);
}

class ScriptedGeneration final : public v1::GenerationService::Service {
 public:
  grpc::Status GenerateStream(grpc::ServerContext* context,
                              const v1::GenerateStreamRequest* request,
                              grpc::ServerWriter<v1::GenerateStreamResponse>* writer) override {
    Keep(*request);
    const grpc::Status scripted = Scripted(request->model());
    if (!scripted.ok()) {
      return scripted;
    }
    v1::GenerateStreamResponse response;
    FillStarted(request->request_id(), *response.mutable_started());
    writer->Write(response);
    const int n = std::max(request->sampling().n(), 1);
    for (const char* piece : {"Hel", "lo\x1b["}) {
      for (int i = 0; i < n; ++i) {
        response.mutable_delta()->set_index(i);
        response.mutable_delta()->set_text(piece);
        writer->Write(response);
      }
    }
    while (request->model() == "endless" && !context->IsCancelled()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    for (int i = 0; i < n; ++i) {
      FillFinished(i, *response.mutable_finished());
      response.mutable_finished()->mutable_output()->set_index(i);
      response.mutable_finished()->mutable_output()->set_text("!");
      writer->Write(response);
    }
    return request->model() == "breaks"
               ? Refusal(grpc::StatusCode::ABORTED, "too slow", "SLOW_CONSUMER")
               : grpc::Status::OK;
  }

  grpc::Status Generate(grpc::ServerContext*,
                        const v1::GenerateRequest* request,
                        v1::GenerateResponse* response) override {
    v1::GenerateStreamRequest same;
    same.ParseFromString(request->SerializeAsString());
    Keep(same);
    FillStarted(request->request_id(), *response->mutable_started());
    for (int i = 0; i < std::max(request->sampling().n(), 1); ++i) {
      v1::Finished* finished = response->add_choices();
      FillFinished(i, *finished);
      v1::Output& output = *finished->mutable_output();
      output.set_index(i);
      output.set_text("Hé!");
      output.add_token_ids(10);
      output.add_token_ids(11);
      if (request->sampling().has_logprobs()) {
        v1::Logprobs& logprobs = *output.mutable_logprobs();
        logprobs.set_top_count(1);
        for (const int token : {10, 11}) {
          logprobs.add_logprobs(-0.5f);
          logprobs.add_top_token_ids(token);
          logprobs.add_top_logprobs(-0.25f);
        }
      }
    }
    return Scripted(request->model());
  }

  grpc::Status Tokenize(grpc::ServerContext*,
                        const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    if (request->add_bos()) {
      response->add_token_ids(1);
    }
    for (const char c : request->text()) {
      response->add_token_ids(c);
    }
    return Scripted(request->model());
  }

  v1::GenerateStreamRequest last() {
    const std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  void Keep(const v1::GenerateStreamRequest& request) {
    const std::lock_guard lock(mutex_);
    last_ = request;
  }

  std::mutex mutex_;
  v1::GenerateStreamRequest last_;
};

class ScriptedModels final : public v1::ModelService::Service {
 public:
  // One model a page, so that paging is used.
  grpc::Status ListModels(grpc::ServerContext* context,
                          const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override {
    const auto header = context->client_metadata().find("authorization");
    if (header != context->client_metadata().end()) {
      authorization = std::string(header->second.data(), header->second.size());
    }
    const int page = request->page_token().empty() ? 0 : request->page_token().front() - '0';
    if (page < count) {
      Fill(page == 0 ? "tiny" : "other", *response->add_models());
    }
    if (page + 1 < count) {
      response->set_next_page_token(std::to_string(page + 1));
    }
    return grpc::Status::OK;
  }

  grpc::Status GetModel(grpc::ServerContext*,
                        const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override {
    Fill(request->model(), *response->mutable_model());
    return Scripted(request->model());
  }

  std::atomic<int> count = 1;
  std::string authorization;  // of the last call that had one

 private:
  static void Fill(const std::string& name, v1::Model& model) {
    model.mutable_ref()->set_name(name);
    model.mutable_ref()->set_digest(kDigest);
    model.mutable_ref()->set_version("1");
    model.set_state(v1::MODEL_STATE_READY);
    model.set_display_name("A tiny\nmodel");
    model.set_architecture("llama");
    model.set_quantization("Q4_1");
    model.set_context_tokens_max(8192);
    model.set_vocab_size(300);
    model.set_device("cpu avx2");
    model.set_file_bytes(98'362'432);
    model.set_weight_bytes(97'000'000);
    model.set_kv_tokens_max(65536);
    model.set_adds_bos(true);
    model.add_end_token_ids(2);
    model.set_template_digest("sha256:aa");
    model.set_numerics_id("n1");
  }
};

class ClientCalls : public ::testing::Test {
 protected:
  ClientCalls() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&generation_);
    builder.RegisterService(&models_);
    server_ = builder.BuildAndStart();
    server_->GetHealthCheckService()->SetServingStatus("model:tiny", true);
    endpoint_ = "127.0.0.1:" + std::to_string(port);
  }
  ~ClientCalls() override { server_->Shutdown(std::chrono::system_clock::now()); }

  ExitCode Run(std::vector<std::string> arguments, const std::string& input = "") {
    std::istringstream in(input);
    out_.str("");
    err_.str("");
    Terminal terminal{
        .in = in, .out = out_, .err = err_, .in_is_tty = in_is_tty_, .out_is_tty = out_is_tty_};
    arguments.insert(arguments.end(), {"--endpoint", endpoint_});
    return RunInferctl(arguments, terminal);
  }
  std::string out() const { return out_.str(); }
  std::string err() const { return err_.str(); }

  // Compares with client/golden/<name>, or rewrites it if UPDATE_GOLDEN is set.
  static void ExpectGolden(const std::string& name, const std::string& text) {
    const std::string path = INFERD_SOURCE_DIR "/client/golden/" + name;
    if (std::getenv("UPDATE_GOLDEN") != nullptr) {
      std::ofstream(path) << text;
    }
    EXPECT_EQ(ReadFile(path, 1 << 20).value_or("(no file)"), text) << name;
  }

  ScriptedGeneration generation_;
  ScriptedModels models_;
  std::unique_ptr<grpc::Server> server_;
  std::string endpoint_;
  bool in_is_tty_ = false, out_is_tty_ = false;
  std::ostringstream out_, err_;
};

TEST_F(ClientCalls, GenerateStreamsTextAndNothingElse) {
  EXPECT_EQ(Run({"generate", "Say"}), ExitCode::kOk);
  EXPECT_EQ(out(), "Hello\x1b[!\n");
  EXPECT_EQ(err(), "");
  EXPECT_EQ(generation_.last().text(), "Say");
  EXPECT_EQ(generation_.last().model(), "tiny");  // the only one
  EXPECT_FALSE(generation_.last().sampling().has_temperature());
  EXPECT_FALSE(generation_.last().stopping().has_max_tokens());
}

TEST_F(ClientCalls, ModelsCannotSteerATerminal) {
  out_is_tty_ = true;
  EXPECT_EQ(Run({"generate", "Say"}), ExitCode::kOk);
  EXPECT_EQ(out(), "Hello[!\n");
}

TEST_F(ClientCalls, FlagsBecomeFields) {
  EXPECT_EQ(Run({"generate",
                 "--temperature",
                 "0",
                 "--top-k",
                 "0",
                 "--seed",
                 "0",
                 "--max-tokens",
                 "5",
                 "--stop",
                 "END",
                 "--logit-bias",
                 "7=-2.5",
                 "--ignore-eos",
                 "-m",
                 "m",
                 "--expected-digest",
                 kDigest,
                 "--request-id",
                 "r7"},
                "from stdin\n"),
            ExitCode::kOk);
  const auto request = generation_.last();
  EXPECT_EQ(request.text(), "from stdin\n");
  EXPECT_EQ(request.model(), "m");
  EXPECT_TRUE(request.sampling().has_temperature());
  EXPECT_EQ(request.sampling().temperature(), 0);
  EXPECT_TRUE(request.sampling().has_top_k());
  EXPECT_TRUE(request.sampling().has_seed());
  EXPECT_FALSE(request.sampling().has_top_p());
  EXPECT_EQ(request.sampling().logit_bias().at(7), -2.5f);
  EXPECT_EQ(request.stopping().max_tokens(), 5);
  EXPECT_EQ(request.stopping().stop(0), "END");
  EXPECT_TRUE(request.stopping().ignore_eos());
  EXPECT_FALSE(request.stopping().has_include_stop());
  EXPECT_EQ(request.expected_digest(), kDigest);
  EXPECT_EQ(request.request_id(), "r7");
}

TEST_F(ClientCalls, PromptsOfTokenIds) {
  EXPECT_EQ(Run({"generate", "--ids", " 1 22\n333 "}), ExitCode::kOk);
  EXPECT_THAT(generation_.last().token_ids().ids(), ::testing::ElementsAre(1, 22, 333));
  EXPECT_EQ(Run({"generate", "--ids", "1 x"}), ExitCode::kUsage);
  EXPECT_THAT(err(), HasSubstr("number 2"));
  EXPECT_EQ(Run({"generate", "--ids", "-1"}), ExitCode::kUsage);
}

TEST_F(ClientCalls, StatsGoToStderr) {
  EXPECT_EQ(Run({"generate", "Say", "--stats"}), ExitCode::kOk);
  EXPECT_EQ(out(), "Hello\x1b[!\n");
  EXPECT_THAT(err(),
              AllOf(HasSubstr("prompt 4 tokens, output 3 tokens"),
                    HasSubstr("time to first token"),
                    HasSubstr("tokens/s")));
  EXPECT_EQ(Run({"generate", "Say", "--stats", "--no-stream"}), ExitCode::kOk);
  // The daemon's own times: 1.5 ms queue, 20 ms prefill, two tokens in one second.
  EXPECT_THAT(err(), HasSubstr("time to first token 21.5 ms, 2.0 tokens/s"));
}

TEST_F(ClientCalls, ChoicesAreNotMixed) {
  EXPECT_EQ(Run({"generate", "Say", "-n", "2"}), ExitCode::kOk);
  EXPECT_EQ(out(), "[0] Hello\x1b[!\n[1] Hello\x1b[!\n");
}

TEST_F(ClientCalls, GenerateJson) {
  EXPECT_EQ(Run({"generate", "Say", "-o", "json", "-n", "2", "--logprobs", "1"}), ExitCode::kOk);
  ExpectGolden("generate.json", out());
}

TEST_F(ClientCalls, ChatSendsMessages) {
  EXPECT_EQ(Run({"chat", "Hi", "--system", "Be brief."}), ExitCode::kOk);
  const auto chat = generation_.last().chat();
  ASSERT_EQ(chat.messages_size(), 2);
  EXPECT_EQ(chat.messages(0).role(), "system");
  EXPECT_EQ(chat.messages(1).role(), "user");
  EXPECT_EQ(chat.messages(1).content(), "Hi");
  EXPECT_EQ(Run({"chat"}, "From a file\n"), ExitCode::kOk);
  EXPECT_EQ(generation_.last().chat().messages(0).content(), "From a file\n");
}

TEST_F(ClientCalls, AConversationKeepsItsTurns) {
  in_is_tty_ = true;
  EXPECT_EQ(Run({"chat"}, "One\nTwo\n\nnever sent\n"), ExitCode::kOk);
  EXPECT_EQ(out(), "Hello\x1b[!\nHello\x1b[!\n");
  const auto chat = generation_.last().chat();
  ASSERT_EQ(chat.messages_size(), 3);
  EXPECT_EQ(chat.messages(0).content(), "One");
  EXPECT_EQ(chat.messages(1).role(), "assistant");
  EXPECT_EQ(chat.messages(1).content(), "Hello\x1b[!");
  EXPECT_EQ(chat.messages(2).content(), "Two");
}

TEST_F(ClientCalls, ExitCodesAndReasonsOfRefusals) {
  EXPECT_EQ(Run({"generate", "x", "-m", "missing"}), ExitCode::kNotFound);
  EXPECT_THAT(err(), AllOf(HasSubstr("[MODEL_NOT_FOUND]"), HasSubstr("inferctl model list")));
  EXPECT_EQ(out(), "");
  EXPECT_EQ(Run({"generate", "x", "-m", "denied"}), ExitCode::kDenied);
  EXPECT_EQ(Run({"generate", "x", "-m", "busy"}), ExitCode::kUnavailable);
  EXPECT_THAT(err(), HasSubstr("try again in 0.25 s"));
  EXPECT_EQ(Run({"generate", "x", "-m", "bad"}), ExitCode::kUsage);
  EXPECT_THAT(err(), HasSubstr("sampling.temperature: must lie in [0, 100]"));
  EXPECT_EQ(Run({"generate", "x", "-m", "broken"}), ExitCode::kFailure);
  EXPECT_THAT(err(), HasSubstr("engine?fault"));  // one line
  EXPECT_EQ(Run({"generate", "x", "-m", "breaks"}), ExitCode::kFailure);
  EXPECT_EQ(out(), "Hello\x1b[!\n");  // what came before stays
  EXPECT_EQ(Run({"model", "get", "missing"}), ExitCode::kNotFound);
}

TEST_F(ClientCalls, TimeoutsEndACall) {
  EXPECT_EQ(Run({"generate", "x", "-m", "endless", "--timeout", "200ms"}), ExitCode::kUnavailable);
  EXPECT_THAT(err(), HasSubstr("--timeout"));
}

TEST_F(ClientCalls, AStopTokenCancels) {
  const auto client = GenerationClient::Create({.endpoint = endpoint_});
  ASSERT_TRUE(client.ok());
  std::stop_source stop;
  GenerationObserver observer;
  observer.on_output = [&stop](const ChoiceOutput&) { stop.request_stop(); };
  GenerationCall call;
  call.model = "endless";
  call.prompt = "x";
  EXPECT_EQ((*client)->Generate(call, observer, stop.get_token()).status().code(),
            StatusCode::kCancelled);
}

TEST_F(ClientCalls, NoDaemonIsUnavailableAndSaysWhere) {
  endpoint_ = "unix:/nonexistent/inferd.sock";
  EXPECT_EQ(Run({"status"}), ExitCode::kUnavailable);
  EXPECT_THAT(err(), HasSubstr("unix:/nonexistent/inferd.sock"));
  endpoint_ = "localhost";
  EXPECT_EQ(Run({"status"}), ExitCode::kUsage);
  EXPECT_THAT(err(), HasSubstr("neither HOST:PORT nor unix:PATH"));
}

TEST_F(ClientCalls, ModelListAndGet) {
  models_.count = 2;
  EXPECT_EQ(Run({"model", "list"}), ExitCode::kOk);
  EXPECT_EQ(out(),
            "NAME   VERSION  STATE  FAMILY  FORMAT  CONTEXT     SIZE  DIGEST\n"
            "tiny   1        ready  llama   Q4_1       8192  98.4 MB  sha256:001122334455\n"
            "other  1        ready  llama   Q4_1       8192  98.4 MB  sha256:001122334455\n");
  EXPECT_EQ(Run({"model", "list", "--no-headers"}), ExitCode::kOk);
  EXPECT_THAT(out(), Not(HasSubstr("NAME")));
  EXPECT_EQ(Run({"model", "list", "-o", "json"}), ExitCode::kOk);
  ExpectGolden("model_list.json", out());
  EXPECT_EQ(Run({"model", "get", "tiny"}), ExitCode::kOk);
  EXPECT_THAT(out(), AllOf(HasSubstr(kDigest), HasSubstr("A tiny?model")));
  EXPECT_EQ(Run({"model", "get", "tiny", "-o", "json"}), ExitCode::kOk);
  ExpectGolden("model_get.json", out());
}

TEST_F(ClientCalls, TheModelMustBeNamedUnlessThereIsOne) {
  models_.count = 2;
  EXPECT_EQ(Run({"generate", "x"}), ExitCode::kUsage);
  EXPECT_THAT(err(), HasSubstr("other, tiny"));
  models_.count = 0;
  EXPECT_EQ(Run({"generate", "x"}), ExitCode::kNotFound);
}

TEST_F(ClientCalls, TokenizeByDaemon) {
  EXPECT_EQ(Run({"tokenize", "--bos"}, "ab\n"), ExitCode::kOk);
  EXPECT_EQ(out(), "1 97 98 10\n");
  EXPECT_EQ(Run({"tokenize", "-o", "json"}, "ab"), ExitCode::kOk);
  EXPECT_EQ(out(), "{\"token_ids\": [97, 98]}\n");
  EXPECT_EQ(Run({"tokenize", "-m", "missing"}, "ab"), ExitCode::kNotFound);
}

TEST_F(ClientCalls, StatusFollowsHealth) {
  EXPECT_EQ(Run({"status"}), ExitCode::kOk);
  EXPECT_EQ(out(),
            "SERVICE     STATE\n"
            "inferd      serving\n"
            "model:tiny  serving\n");
  server_->GetHealthCheckService()->SetServingStatus("model:tiny", false);
  EXPECT_EQ(Run({"status", "-o", "json"}), ExitCode::kUnavailable);
  ExpectGolden("status.json", out());
}

TEST_F(ClientCalls, BenchMeasuresWhatItSent) {
  EXPECT_EQ(Run({"bench",
                 "--requests",
                 "6",
                 "--concurrency",
                 "3",
                 "--prompt-tokens",
                 "9",
                 "--output-tokens",
                 "3"}),
            ExitCode::kOk);
  EXPECT_THAT(out(), AllOf(HasSubstr("6 requests in "), HasSubstr("client lag")));
  const auto request = generation_.last();
  EXPECT_EQ(request.token_ids().ids_size(), 9);
  for (const int id : request.token_ids().ids()) {
    EXPECT_LT(id, 300);
  }
  EXPECT_EQ(request.stopping().max_tokens(), 3);
  EXPECT_TRUE(request.stopping().ignore_eos());
  EXPECT_EQ(request.output().max_tokens_per_message(), 1);
}

TEST_F(ClientCalls, BenchFailsIfRequestsDo) {
  EXPECT_EQ(Run({"bench", "--requests", "2", "--output-tokens", "3", "-m", "breaks"}),
            ExitCode::kFailure);
  EXPECT_THAT(err(), AllOf(HasSubstr("2 requests failed: ABORTED"), HasSubstr("too slow")));
  EXPECT_EQ(Run({"bench", "--requests", "1000000", "--output-tokens", "1000"}), ExitCode::kUsage);
}

TEST(BenchJson, KeysAndValues) {
  BenchCommand command;
  command.rate_per_s = 2.5;
  command.duration = std::chrono::seconds(30);
  LoadReport report;
  report.completed = 2;
  report.failed = {{"UNAVAILABLE", 1}};
  report.duration_s = 0.5;
  report.prompt_tokens = 10;
  report.output_tokens = 6;
  report.requests_per_s = 4;
  report.output_tokens_per_s = 12;
  report.ttft_ms = {.count = 2, .mean = 100, .p50 = 100, .p90 = 140, .p99 = 149, .max = 150};
  std::ostringstream text;
  text << ToJson(command, "tiny", report) << '\n';
  const std::string path = INFERD_SOURCE_DIR "/client/golden/bench.json";
  if (std::getenv("UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << text.str();
  }
  EXPECT_EQ(ReadFile(path, 1 << 20).value_or("(no file)"), text.str());
}

TEST_F(ClientCalls, AnApiKeyComesFromAFileThatOthersCannotRead) {
  const TempFolder folder;
  const std::string path = folder / "key";
  std::ofstream(path) << "ik_test_a_b_c\n";
  std::filesystem::permissions(path, std::filesystem::perms(0600));
  EXPECT_EQ(Run({"model", "list", "--api-key-file", path}), ExitCode::kOk) << err();
  EXPECT_EQ(models_.authorization, "Bearer ik_test_a_b_c");
  std::filesystem::permissions(path, std::filesystem::perms(0644));
  EXPECT_NE(Run({"model", "list", "--api-key-file", path}), ExitCode::kOk);
  EXPECT_THAT(err(), AllOf(HasSubstr("0600"), Not(HasSubstr("ik_test"))));
  std::ofstream(path) << "two words";
  std::filesystem::permissions(path, std::filesystem::perms(0600));
  EXPECT_NE(Run({"model", "list", "--api-key-file", path}), ExitCode::kOk);
  EXPECT_THAT(err(), Not(HasSubstr("two words")));
}

TEST_F(ClientCalls, CertificatesForAFirstTryFitADaemonThatAsksForThem) {
  const TempFolder folder;
  const std::string tls = folder / "tls";
  ASSERT_EQ(Run({"cert", "dev", "--directory", tls}), ExitCode::kOk) << err();
  EXPECT_THAT(out(), HasSubstr(tls + "/caller.pem\n"));
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = *ReadFile(tls + "/ca.pem", 65536);
  options.pem_key_cert_pairs = {
      {*ReadFile(tls + "/server.key", 65536), *ReadFile(tls + "/server.pem", 65536)}};
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(options), &port);
  ScriptedModels models;
  builder.RegisterService(&models);
  const auto server = builder.BuildAndStart();
  endpoint_ = "127.0.0.1:" + std::to_string(port);
  const std::vector<std::string> ca = {"model", "list", "--tls-ca", tls + "/ca.pem"};
  std::vector<std::string> all = ca;
  all.insert(all.end(),
             {"--tls-certificate", tls + "/caller.pem", "--tls-key", tls + "/caller.key"});
  EXPECT_EQ(Run(all), ExitCode::kOk) << err();
  EXPECT_EQ(Run(ca), ExitCode::kUnavailable);
  all.resize(all.size() - 2);
  EXPECT_EQ(Run(all), ExitCode::kUsage);
  EXPECT_THAT(err(), HasSubstr("go together"));
  server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace
}  // namespace inferd
