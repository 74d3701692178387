// Goal: policy and quota stand in the way of every request: what they refuse is refused in one
// frame with its reason, what passes is charged what it came to, and after a restart the budgets
// are what the log says. Method: the whole daemon in the test's process, over gRPC; its log read
// afterwards.
#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file_system.h"
#include "governance/keys/secret_files.h"
#include "governance/quota/usage_fold.h"
#include "governance/verify/note.h"
#include "governance/verify/shard_reader.h"
#include "inferd/v1/usage.grpc.pb.h"
#include "tests/integration/test_daemon.h"
#include "tests/support/state_folder.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::function<void(Config&)> With(std::vector<QuotaEntry> quotas) {
  return [quotas](Config& config) {
    config.audit.mode = "strict";
    config.quotas = quotas;
  };
}

QuotaEntry Quota(const char* id, const char* metric, int64_t limit, int64_t burst = 0) {
  QuotaEntry entry;
  entry.id = id;
  entry.org = "local";
  entry.metric = metric;
  entry.limit = limit;
  entry.burst = burst;
  return entry;
}

template <typename Detail>
std::optional<Detail> DetailOf(const grpc::Status& status) {
  google::rpc::Status rich;
  rich.ParseFromString(status.error_details());
  for (const auto& any : rich.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) {
      return detail;
    }
  }
  return std::nullopt;
}

// A call, with the metadata of its beginning and of its end.
struct Answer {
  grpc::Status status;
  std::map<std::string, std::string> initial, trailing;
  int64_t output_tokens = 0;
};

std::map<std::string, std::string> Texts(
    const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  std::map<std::string, std::string> texts;
  for (const auto& [name, value] : metadata) {
    texts[std::string(name.data(), name.size())] = std::string(value.data(), value.size());
  }
  return texts;
}

Answer Ask(v1::GenerationService::Stub& stub, const v1::GenerateStreamRequest& request) {
  grpc::ClientContext context;
  Answer answer;
  const auto reader = stub.GenerateStream(&context, request);
  v1::GenerateStreamResponse message;
  while (reader->Read(&message)) {
    if (message.has_finished()) {
      answer.output_tokens += message.finished().usage().output_tokens();
    }
  }
  answer.status = reader->Finish();
  answer.initial = Texts(context.GetServerInitialMetadata());
  answer.trailing = Texts(context.GetServerTrailingMetadata());
  return answer;
}

// The shards of a log, oldest first.
std::vector<std::unique_ptr<ShardReader>> Shards(const std::string& state) {
  std::string key = *ReadSecretFile(state + "/keys/" + kNoteKeyFile);
  key.pop_back();
  const NoteVerifier verifier = NoteSigner::Parse(key)->verifier();
  std::vector<std::unique_ptr<ShardReader>> shards;
  for (const auto& entry : std::filesystem::directory_iterator(state + "/log")) {
    auto shard =
        ShardReader::Open(SystemFiles(), entry.path().string(), TrustPolicy::OfLog(verifier));
    EXPECT_TRUE(shard.ok()) << shard.status();
    shards.push_back(*std::move(shard));
  }
  return shards;
}

std::vector<Json> LeavesOf(const std::string& state, const std::string& type) {
  std::vector<Json> leaves;
  for (const auto& shard : Shards(state)) {
    EXPECT_TRUE(shard
                    ->Visit(0,
                            *shard->Size(),
                            [&](uint64_t, std::string_view leaf) {
                              Json json = Json::parse(leaf);
                              if (json["t"] == type) {
                                leaves.push_back(std::move(json));
                              }
                              return OkStatus();
                            })
                    .ok());
  }
  return leaves;
}

// Tokens of this day over all accounts, as the log says.
uint64_t TokensInLog(const std::string& state) {
  const auto shards = Shards(state);
  std::vector<EntryReader*> readers;
  for (const auto& shard : shards) {
    readers.push_back(shard.get());
  }
  const auto fold = UsageFold::Restore(readers);
  EXPECT_TRUE(fold.ok()) << fold.status();
  uint64_t tokens = 0;
  for (const auto& [account, usage] : fold->usage()) {
    tokens += usage.of_month.tokens;
  }
  EXPECT_EQ(fold->num_open(), 0u);
  return tokens;
}

TEST(Governor, ARefusalIsOneFrameThatSaysWhichLimitAndWhen) {
  TestDaemon daemon(With({Quota("all/rpm", "rpm", 1)}));
  const Answer answer = Ask(daemon.generation(), LongRequest(5));
  // A new rate starts spent: the first request waits for its turn.
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(answer.status), "REQUESTS_PER_MINUTE");
  EXPECT_TRUE(answer.initial.empty());
  EXPECT_EQ(answer.trailing.at("x-ratelimit-limit-requests"), "1");
  EXPECT_EQ(answer.trailing.at("x-ratelimit-remaining-requests"), "0");
  const auto retry = DetailOf<google::rpc::RetryInfo>(answer.status);
  ASSERT_TRUE(retry.has_value());
  EXPECT_LE(retry->retry_delay().seconds(), 60);
  EXPECT_TRUE(answer.trailing.contains("grpc-retry-pushback-ms"));
  const auto failure = DetailOf<google::rpc::QuotaFailure>(answer.status);
  ASSERT_TRUE(failure.has_value());
  ASSERT_EQ(failure->violations_size(), 1);
  EXPECT_EQ(failure->violations(0).subject(), "org:local");
  EXPECT_THAT(failure->violations(0).description(), HasSubstr("all/rpm"));
  daemon.Stop();
  const auto denied = LeavesOf(daemon.state_folder(), "inference.denied");
  ASSERT_FALSE(denied.empty());
  EXPECT_EQ(denied[0]["quota"]["dec"], "denied");
  EXPECT_EQ(denied[0]["quota"]["hit"][0]["id"], "all/rpm");
}

TEST(Governor, AnAnswerSaysItsLimitsAndIsChargedWhatItCameTo) {
  TestDaemon daemon(With({Quota("all/rpm", "rpm", 60'000), Quota("all/day", "tok_day", 100'000)}));
  Answer passed;
  ASSERT_TRUE(Eventually([&] {
    passed = Ask(daemon.generation(), LongRequest(5));
    return passed.status.ok();
  })) << passed.status.error_message();
  EXPECT_EQ(passed.initial.at("x-ratelimit-limit-requests"), "60000");
  EXPECT_EQ(passed.initial.at("x-ratelimit-limit-tokens"), "100000");
  EXPECT_FALSE(passed.trailing.contains("x-ratelimit-limit-requests"));
  daemon.Stop();
  const auto admitted = LeavesOf(daemon.state_folder(), "inference.admitted");
  const auto completed = LeavesOf(daemon.state_folder(), "inference.completed");
  ASSERT_EQ(admitted.size(), 1u);
  ASSERT_EQ(completed.size(), 1u);
  const Json& quota = admitted[0]["quota"];
  EXPECT_EQ(quota["dec"], "reserved");
  EXPECT_EQ(quota["acct"]["org"], "local");
  EXPECT_EQ(quota["acct"]["model"], kTinyModel);
  const uint64_t in = quota["res"]["in"];
  EXPECT_EQ(quota["res"]["out"], 5);
  EXPECT_EQ(quota["res"]["conc"], 1);
  EXPECT_EQ(quota["res"]["kv"], in + 5);
  EXPECT_EQ(completed[0]["settle"]["out"], 5);
  EXPECT_EQ(TokensInLog(daemon.state_folder()), in + 5);
}

// litellm's issue 18730 as a test: five at once on a limit that holds one of them.
TEST(Governor, FiveConcurrentOnAHundredTokensAMinute) {
  TestDaemon daemon(With({Quota("tpm", "tok_day", 100)}));
  std::atomic<int> passed{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back([&] {
      const auto stub = v1::GenerationService::NewStub(daemon.channel());
      const Answer answer = Ask(*stub, LongRequest(70));
      passed += answer.status.ok() ? 1 : 0;
      refused += ReasonIn(answer.status) == "TOKEN_BUDGET" ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(passed, 1);
  EXPECT_EQ(refused, 4);
  const Answer never = Ask(daemon.generation(), LongRequest(500));
  EXPECT_EQ(ReasonIn(never.status), "REQUEST_EXCEEDS_LIMIT");
  EXPECT_FALSE(DetailOf<google::rpc::RetryInfo>(never.status).has_value());
  EXPECT_FALSE(never.trailing.contains("retry-after"));
  daemon.Stop();
  EXPECT_LE(TokensInLog(daemon.state_folder()), 100u);
}

TEST(Governor, ConcurrencyIsGivenBackHoweverACallEnds) {
  TestDaemon daemon(With({Quota("conc", "conc", 1), Quota("day", "tok_day", 1'000'000)}));
  daemon.device().set_step_time(std::chrono::milliseconds(5));
  for (int round = 0; round < 3; ++round) {
    grpc::ClientContext context;
    const auto reader = daemon.generation().GenerateStream(&context, LongRequest(500));
    v1::GenerateStreamResponse message;
    ASSERT_TRUE(reader->Read(&message));
    const Answer second = Ask(daemon.generation(), LongRequest(5));
    EXPECT_EQ(ReasonIn(second.status), "CONCURRENCY");
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
    Answer after;
    EXPECT_TRUE(Eventually([&] {
      after = Ask(daemon.generation(), LongRequest(2));
      return after.status.ok();
    })) << after.status.error_message();
  }
  daemon.Stop();
  // What a cancelled call had computed is charged, and no more.
  uint64_t settled = 0;
  for (const Json& leaf : LeavesOf(daemon.state_folder(), "inference.completed")) {
    EXPECT_LE(leaf["settle"].value("out", 0), 500);
    settled += leaf["settle"].value("in", uint64_t{0}) + leaf["settle"].value("out", uint64_t{0});
  }
  EXPECT_EQ(TokensInLog(daemon.state_folder()), settled);
}

TEST(Governor, KvTokensAreHeldWhileARequestIsOpen) {
  TestDaemon daemon(With({Quota("kv", "kv", 700)}));
  daemon.device().set_step_time(std::chrono::milliseconds(20));
  grpc::ClientContext context;
  const auto reader = daemon.generation().GenerateStream(&context, LongRequest(500));
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  const Answer second = Ask(daemon.generation(), LongRequest(300));
  EXPECT_EQ(second.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(second.status), "KV_TOKENS");
  EXPECT_FALSE(second.trailing.contains("x-ratelimit-limit-tokens"));  // it counts no use
  EXPECT_TRUE(Ask(daemon.generation(), LongRequest(5)).status.ok());
  context.TryCancel();
  reader->Finish();
  daemon.device().set_step_time({});
  EXPECT_TRUE(Eventually([&] { return Ask(daemon.generation(), LongRequest(300)).status.ok(); }));
}

TEST(Governor, CallersSeeTheirLimitsAndTheirUse) {
  QuotaEntry warns = Quota("warns", "tok_day", 10);
  warns.mode = "warn";
  QuotaEntry shadows = Quota("shadows", "tok_day", 9);
  shadows.mode = "shadow";
  QuotaEntry of_model = Quota("of-model", "tok_day", 200);
  of_model.model = kTinyModel;
  QuotaEntry of_another = Quota("of-another", "tok_day", 0);
  of_another.model = "another";
  QuotaEntry of_stranger = Quota("of-stranger", "tok_day", 0);
  of_stranger.tenant = "stranger";
  TestDaemon daemon(With({warns, shadows, of_model, of_another, of_stranger}));
  const Answer warned = Ask(daemon.generation(), LongRequest(20));
  ASSERT_TRUE(warned.status.ok()) << warned.status.error_message();
  EXPECT_EQ(warned.initial.at("x-ratelimit-warning"), "warns");
  const Answer refused = Ask(daemon.generation(), LongRequest(300));
  EXPECT_EQ(ReasonIn(refused.status), "REQUEST_EXCEEDS_LIMIT");
  EXPECT_FALSE(refused.trailing.contains("x-ratelimit-warning"));
  const auto failure = DetailOf<google::rpc::QuotaFailure>(refused.status);
  ASSERT_TRUE(failure.has_value());
  ASSERT_EQ(failure->violations_size(), 1);
  EXPECT_THAT(failure->violations(0).subject(), HasSubstr("model:tiny"));

  const auto usage = v1::UsageService::NewStub(daemon.channel());
  grpc::ClientContext quota_context;
  v1::GetQuotaRequest ask;
  ask.set_model(kTinyModel);
  v1::GetQuotaResponse limits;
  ASSERT_TRUE(usage->GetQuota(&quota_context, ask, &limits).ok());
  std::vector<std::string> ids;
  for (const v1::QuotaState& state : limits.limits()) {
    ids.push_back(state.id());
  }
  EXPECT_THAT(ids, UnorderedElementsAre("warns", "of-model"));  // shadows are the operator's

  v1::GetUsageResponse used;
  EXPECT_TRUE(Eventually([&] {  // the log is published a moment later
    grpc::ClientContext context;
    return usage->GetUsage(&context, {}, &used).ok() && used.rows_size() == 1 &&
           used.rows(0).requests() == 1 && used.rows(0).open() == 0;
  })) << used.DebugString();
  ASSERT_EQ(used.rows_size(), 1);
  EXPECT_EQ(used.rows(0).account().tenant(), "local");
  EXPECT_EQ(used.rows(0).account().model(), kTinyModel);
  EXPECT_EQ(used.rows(0).output_tokens(), 20u);
  daemon.Stop();
  EXPECT_EQ(TokensInLog(daemon.state_folder()),
            used.rows(0).input_tokens() + used.rows(0).output_tokens());
}

TEST(Governor, ABudgetOutlivesTheDaemon) {
  const StateFolder state;
  const auto change = [&state](Config& config) {
    With({Quota("day", "tok_day", 100)})(config);
    config.state_directory = state.path();
  };
  uint64_t used = 0;
  {
    TestDaemon daemon(change);
    ASSERT_TRUE(Ask(daemon.generation(), LongRequest(40)).status.ok());
    daemon.Stop();
    used = TokensInLog(state.path());
    EXPECT_GT(used, 40u);
  }
  TestDaemon daemon(change);
  const Answer refused = Ask(daemon.generation(), LongRequest(70));
  EXPECT_EQ(ReasonIn(refused.status), "TOKEN_BUDGET");
  const auto failure = DetailOf<google::rpc::QuotaFailure>(refused.status);
  ASSERT_TRUE(failure.has_value());
  EXPECT_THAT(failure->violations(0).description(),
              HasSubstr(std::to_string(100 - used) + " left"));
  EXPECT_TRUE(Ask(daemon.generation(), LongRequest(10)).status.ok());
  daemon.Stop();
  // What the last start read, it wrote down for the next one.
  EXPECT_FALSE(LeavesOf(state.path(), "quota.snapshot").empty());
  EXPECT_EQ(TokensInLog(state.path()), used + used - 40 + 10);
}

// A folder of tenant files; callers of this host are the tenant `local`.
class TenantFolder {
 public:
  void Write(const std::string& name, const std::string& more) const {
    std::ofstream(folder_ / (name + ".yaml"))
        << "schema_version: 1\nname: " << name << "\norganisation: example\n"
        << more;
  }
  std::function<void(Config&)> config() const {
    return [this](Config& config) {
      config.audit.mode = "strict";
      config.identity.tenants_directory = folder_.path().string();
    };
  }

 private:
  TempFolder folder_;
};

TEST(Governor, QuotasOfTenantFilesAreReadAgain) {
  const TenantFolder files;
  files.Write("local", "quotas:\n  - {id: local/day, metric: tok_day, limit: 100}\n");
  TestDaemon daemon(files.config());
  const Answer never = Ask(daemon.generation(), LongRequest(200));
  EXPECT_EQ(ReasonIn(never.status), "REQUEST_EXCEEDS_LIMIT");
  const auto failure = DetailOf<google::rpc::QuotaFailure>(never.status);
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->violations(0).subject(), "org:example/tenant:local");

  files.Write("local", "quotas:\n  - {id: local/day, metric: tok_day, limit: 1000}\n");
  EXPECT_TRUE(daemon.daemon().Reload().ok());
  const auto limit = [&daemon]() -> std::string {
    const Answer answer = Ask(daemon.generation(), LongRequest(20));
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
    const auto found = answer.initial.find("x-ratelimit-limit-tokens");
    return found == answer.initial.end() ? "none" : found->second;
  };
  EXPECT_EQ(limit(), "1000");
  // What is wrong is named with its place, and everything stays.
  const auto refused = [&](const std::string& what) {
    const Status status = daemon.daemon().Reload();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(Message(status)), HasSubstr(what));
    EXPECT_EQ(limit(), "1000");
  };
  files.Write("local", "quotas:\n  - {id: local/day, metric: tok_day, limit: 9, burst: 3}\n");
  refused("local.yaml:5:5: error: quotas[0]: quota local/day (tok_day): burst is for rates alone");
  files.Write("local", "quotas:\n  - {id: local/day, metric: tok_hour, limit: 9}\n");
  refused("local.yaml:5:29: error: quotas[0].metric");
  files.Write("local", "quotas:\n  - {id: local/day, metric: tok_day, limit: 9}\n");
  files.Write("other", "quotas:\n  - {id: local/day, metric: tok_day, limit: 9}\n");
  refused("other.yaml: error: quota local/day stands in ");
  files.Write("other", "class: none\n");
  refused("other.yaml: error: class: \"none\" is not the name of one of scheduler.classes");
  files.Write("other", "");
  files.Write("local", "");
  EXPECT_TRUE(daemon.daemon().Reload().ok());
  EXPECT_EQ(limit(), "none");
  daemon.Stop();
  std::vector<std::string> changes;
  for (const Json& leaf : LeavesOf(daemon.state_folder(), "tenant.changed")) {
    for (const auto& line : leaf["d"].value("changes", Json::array())) {
      changes.push_back(line);
    }
  }
  EXPECT_THAT(changes,
              ElementsAre("+ local",
                          "+ quota local/day: 100 tok_day",
                          "~ quota local/day: 100 -> 1000 tok_day",
                          "+ other",
                          "- quota local/day"));
}

class Policies {
 public:
  explicit Policies(const std::string& policies) {
    std::filesystem::copy_file(INFERD_SOURCE "/deploy/policy/inferd.cedarschema",
                               folder_ / "schema",
                               std::filesystem::copy_options::overwrite_existing);
    std::ofstream(folder_ / "policies") << policies;
    for (const char* name : {"schema", "policies"}) {
      std::filesystem::permissions(
          folder_ / name, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    }
  }
  std::function<void(Config&)> config() const {
    return [this](Config& config) {
      config.audit.mode = "strict";
      config.policy = {.schema = folder_ / "schema", .policies = folder_ / "policies"};
    };
  }

 private:
  TempFolder folder_;
};

TEST(Governor, WhatNoRulePermitsIsDeniedAndRecorded) {
  const Policies policies(
      "@id(\"short\") @obligations(\"max_tokens=3\")\n"
      "permit(principal, action == Inferd::Action::\"generate\", resource);\n"
      "@id(\"not-long\")\n"
      "forbid(principal, action == Inferd::Action::\"generate\", resource)\n"
      "when { context.max_tokens > 100 };\n");
  TestDaemon daemon(policies.config());
  const Answer bounded = Ask(daemon.generation(), LongRequest(50));
  ASSERT_TRUE(bounded.status.ok()) << bounded.status.error_message();
  EXPECT_EQ(bounded.output_tokens, 3);
  // All choices together.
  v1::GenerateStreamRequest three = LongRequest(20);
  three.mutable_sampling()->set_n(3);
  EXPECT_EQ(Ask(daemon.generation(), three).output_tokens, 3);
  three.mutable_sampling()->set_n(4);
  const Answer none_each = Ask(daemon.generation(), three);
  EXPECT_EQ(ReasonIn(none_each.status), "POLICY_DENIED");
  EXPECT_THAT(none_each.status.error_message(), HasSubstr("fewer choices"));
  const Answer denied = Ask(daemon.generation(), LongRequest(101));
  EXPECT_EQ(denied.status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ReasonIn(denied.status), "POLICY_DENIED");
  EXPECT_THAT(denied.status.error_message(), HasSubstr("not-long"));
  grpc::ClientContext context;
  v1::TokenizeRequest tokenize;
  tokenize.set_model(kTinyModel);
  tokenize.set_text("a");
  v1::TokenizeResponse response;
  const grpc::Status refused = daemon.generation().Tokenize(&context, tokenize, &response);
  EXPECT_EQ(ReasonIn(refused), "POLICY_DENIED");
  EXPECT_THAT(refused.error_message(), HasSubstr("no rule permits"));
  daemon.Stop();
  const auto activated = LeavesOf(daemon.state_folder(), "policy.activated");
  ASSERT_EQ(activated.size(), 1u);
  const std::string set = activated[0]["d"]["set"];
  const auto admitted = LeavesOf(daemon.state_folder(), "inference.admitted");
  ASSERT_EQ(admitted.size(), 2u);
  EXPECT_EQ(admitted[0]["policy"]["dec"], "allow_with_obligations");
  EXPECT_EQ(admitted[0]["policy"]["rules"], Json::array({"short"}));
  EXPECT_EQ(admitted[0]["policy"]["obl"], Json::array({"max_tokens=3"}));
  EXPECT_EQ(admitted[0]["policy"]["set"], set);
  EXPECT_EQ(admitted[0]["quota"]["res"]["out"], 3);
  const auto refusals = LeavesOf(daemon.state_folder(), "inference.denied");
  ASSERT_EQ(refusals.size(), 3u);  // the last of Tokenize
  EXPECT_EQ(refusals[0]["policy"]["dec"], "deny");
  EXPECT_EQ(refusals[0]["policy"]["rules"], Json::array({"short"}));
  EXPECT_EQ(refusals[1]["policy"]["dec"], "deny");
  EXPECT_EQ(refusals[1]["policy"]["rules"], Json::array({"not-long"}));
  EXPECT_EQ(refusals[1]["err"], "POLICY_DENIED");
  EXPECT_EQ(refusals[2]["policy"]["set"], set);
}

TEST(Governor, ModelsAreListedAsPoliciesSay) {
  const Policies policies(
      "@id(\"tiny-alone\")\n"
      "permit(principal, action == Inferd::Action::\"list_models\", resource)\n"
      "when { resource.name == \"tiny\" };\n"
      "@id(\"not-by-name\")\n"
      "forbid(principal, action == Inferd::Action::\"list_models\",\n"
      "       resource == Inferd::Model::\"secret\");\n");
  const TinyModelPath another;
  TestDaemon daemon([&](Config& config) {
    policies.config()(config);
    for (const char* name : {"secret", "zebra"}) {
      config.models.push_back({.name = name, .path = another.path(), .context_tokens_max = 0});
    }
  });
  v1::ListModelsRequest page;
  page.set_page_size(1);
  v1::ListModelsResponse listed;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(daemon.models().ListModels(&context, page, &listed).ok());
  }
  ASSERT_EQ(listed.models_size(), 1);
  EXPECT_EQ(listed.models(0).ref().name(), kTinyModel);
  EXPECT_EQ(listed.next_page_token(), "");  // what may not be seen is on no page
  const auto get = [&daemon](const char* name) {
    grpc::ClientContext context;
    v1::GetModelRequest request;
    request.set_model(name);
    v1::GetModelResponse got;
    const grpc::Status status = daemon.models().GetModel(&context, request, &got);
    EXPECT_EQ(got.has_model(), status.ok());
    return status;
  };
  EXPECT_TRUE(get(kTinyModel).ok());
  const grpc::Status secret = get("secret");
  EXPECT_EQ(secret.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ReasonIn(secret), "POLICY_DENIED");
  EXPECT_THAT(secret.error_message(), HasSubstr("list_models is denied by not-by-name"));
  EXPECT_THAT(get("zebra").error_message(), HasSubstr("no rule permits list_models"));
  EXPECT_EQ(ReasonIn(get("nobody")), "MODEL_NOT_FOUND");
  daemon.Stop();
  const std::string set = LeavesOf(daemon.state_folder(), "policy.activated").at(0)["d"]["set"];
  const auto denied = LeavesOf(daemon.state_folder(), "inference.denied");
  ASSERT_EQ(denied.size(), 2u);  // a list that leaves something out is no refusal
  EXPECT_EQ(denied[0]["d"]["method"], "ModelService/GetModel");
  EXPECT_EQ(denied[0]["policy"]["dec"], "deny");
  EXPECT_EQ(denied[0]["policy"]["rules"], Json::array({"not-by-name"}));
  EXPECT_EQ(denied[1]["policy"]["set"], set);
}

// What policies decide by of a model, its digest, is not known before it is loaded.
TEST(Governor, ModelsThatAreLoadingAreNotListedWherePoliciesAreOn) {
  const Policies policies("permit(principal, action, resource);\n");
  for (const bool with_policies : {false, true}) {
    const StateFolder state;
    const TinyModelPath model;
    Config config;
    config.data.address = "127.0.0.1:0";
    config.models.push_back({.name = kTinyModel, .path = model.path(), .context_tokens_max = 0});
    config.state_directory = state.path();
    config.audit.reserve_bytes = 0;
    if (with_policies) {
      policies.config()(config);
    }
    auto started = Daemon::Start(config, std::make_unique<FakeDevice>());
    ASSERT_TRUE(started.ok()) << started.status();
    const auto channel =
        grpc::CreateChannel((*started)->address(), grpc::InsecureChannelCredentials());
    const auto models = v1::ModelService::NewStub(channel);
    grpc::ClientContext listing;
    v1::ListModelsResponse listed;
    ASSERT_TRUE(models->ListModels(&listing, {}, &listed).ok());
    EXPECT_EQ(listed.models_size(), with_policies ? 0 : 1);
    grpc::ClientContext getting;
    v1::GetModelRequest get;
    get.set_model(kTinyModel);
    v1::GetModelResponse got;
    EXPECT_EQ(ReasonIn(models->GetModel(&getting, get, &got)),
              with_policies ? "MODEL_LOADING" : "");
  }
}

TEST(Governor, PoliciesThatOthersMayWriteStopTheStart) {
  const TempFolder folder;
  Config config;
  config.state_directory = folder.path().string();
  config.policy = {.schema = folder / "none", .policies = folder / "none"};
  config.audit.mode = "off";
  auto started = Daemon::Start(config, std::make_unique<FakeDevice>());
  EXPECT_EQ(started.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Message(started.status())), HasSubstr("audit"));
}

}  // namespace
}  // namespace inferd
