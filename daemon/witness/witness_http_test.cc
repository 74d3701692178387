// Goal: a log's checkpoints get cosigned over HTTP, what was cosigned outlives both sides, and a
// log that went back in time is refused and says so. Method: the real witness, server and client
// around a real log; a copy of the log's folder from before stands in for a backup.
#include <gtest/gtest.h>

#include <filesystem>

#include "daemon/witness/http_post.h"
#include "daemon/witness/witness_client.h"
#include "daemon/witness/witness_server.h"
#include "governance/audit/log_core.h"
#include "governance/verify/merkle.h"
#include "governance/verify/verifier.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
constexpr char kName[] = "example.com/inferd-audit/n1";

class WitnessHttpTest : public testing::Test {
 protected:
  WitnessHttpTest() {
    fs::create_directory(folder_ / "witness");
    StartLog();
    server_ = *WitnessServer::Start("127.0.0.1:0", witness_, SystemClock());
    policy_ = *TrustPolicy::Parse(absl::StrFormat("log %s\nwitness w %s %s\nquorum w\n",
                                                  log_key_.verifier().VKey(),
                                                  key_.verifier().VKey(),
                                                  Url()));
  }
  std::string Url() const { return absl::StrFormat("http://127.0.0.1:%d", server_->port()); }

  void StartLog() {
    AuditLogOptions options;
    options.folder = folder_ / "audit";
    options.name = kName;
    options.node = "n1";
    options.boot = "b";
    options.signer = &log_key_;
    options.reserve_bytes = 0;
    options.segment_bytes = 64 << 10;
    log_ = *LogCore::Open(std::move(options));
    ASSERT_TRUE(log_->Publish().ok());
  }
  void Grow(int leaves) {
    for (int i = 0; i < leaves; ++i) {
      LeafDraft draft;
      draft.tenant = TenantId("acme");
      std::vector<LogCore::Entry> entries;
      entries.push_back({std::move(draft), [](const StatusOr<AuditReceipt>&) {}});
      log_->Commit(std::move(entries));
    }
    ASSERT_TRUE(log_->Publish().ok());
  }
  WitnessClient::Options ClientOptions() {
    WitnessClient::Options options{
        .log_folder = folder_ / "audit/log",
        .policy = policy_,
        .post =
            [this](const std::string& url, const std::string& body) {
              ++num_posts_;
              return PostHttp(url, body, {.timeout = std::chrono::seconds(30)});
            },
        .publish = [this](const std::string& note) { (void)log_->PublishCosigned(note); },
        .on_rollback = [this](const Status& why) { rollback_ = std::string(Message(why)); }};
    return options;
  }
  uint64_t Size() {
    return (*ShardReader::Open(SystemFiles(), ShardFolder(), policy_))
        ->checkpoint()
        .checkpoint.size;
  }
  std::string ShardFolder() {
    return folder_ / ("audit/log" + log_->origin().substr(std::string(kName).size()));
  }
  VerifyReport Verify() {
    return *VerifyLog(SystemFiles(), folder_ / "audit/log", policy_, VerifyOptions());
  }
  StatusOr<HttpAnswer> Post(const std::string& path, const std::string& body) {
    return PostHttp(Url() + path, body, {.timeout = std::chrono::seconds(30)});
  }

  TempFolder folder_;
  NoteSigner log_key_ = *NoteSigner::Generate(kName);
  NoteSigner key_ = *NoteSigner::Generate("witness.example/w1", NoteKeyType::kEd25519Cosignature);
  Witness witness_{Witness::Options{
      .folder = folder_ / "witness", .signer = &key_, .logs = {log_key_.verifier()}}};
  std::unique_ptr<LogCore> log_;
  std::unique_ptr<WitnessServer> server_;
  TrustPolicy policy_ = TrustPolicy::OfLog(log_key_.verifier());
  int num_posts_ = 0;
  std::string rollback_;
};

TEST_F(WitnessHttpTest, CosignsALogThatGrows) {
  WitnessClient client(ClientOptions());
  EXPECT_EQ(Verify().num_problems, 1u) << "nobody cosigned";
  client.AskAll();
  EXPECT_EQ(Verify().num_problems, 0u);
  Grow(300);
  EXPECT_EQ(Verify().num_problems, 0u) << "the note that was cosigned last is enough";
  EXPECT_LT(Verify().shards.at(0).witnessed_size, Size());
  client.AskAll();
  EXPECT_EQ(Verify().shards.at(0).witnessed_size, Size());
  const int posts = num_posts_;
  client.AskAll();
  EXPECT_EQ(num_posts_, posts) << "there is nothing new";
  const auto states = client.States();
  ASSERT_EQ(states.size(), 1u);
  EXPECT_EQ(states[0].name, "w");
  EXPECT_EQ(states[0].cosigned_size, Size());
  EXPECT_EQ(states[0].log_size, Size());
  EXPECT_EQ(states[0].error, "");
  // Both sides start again: the client learns from the witness what it saw.
  server_.reset();
  Witness again({.folder = folder_ / "witness", .signer = &key_, .logs = {log_key_.verifier()}});
  server_ = *WitnessServer::Start("127.0.0.1:0", again, SystemClock());
  policy_ = *TrustPolicy::Parse(absl::StrFormat("log %s\nwitness w %s %s/\nquorum w\n",
                                                log_key_.verifier().VKey(),
                                                key_.verifier().VKey(),
                                                Url()));
  Grow(5);
  num_posts_ = 0;
  WitnessClient fresh(ClientOptions());
  fresh.AskAll();
  EXPECT_EQ(num_posts_, 2) << "a conflict that tells the size, then a cosignature";
  EXPECT_EQ(fresh.States().at(0).cosigned_size, Size());
  EXPECT_EQ(rollback_, "");
  server_.reset();
}

TEST_F(WitnessHttpTest, ALogThatWentBackIsRefused) {
  {
    WitnessClient client(ClientOptions());
    Grow(20);
    log_.reset();
    fs::copy(folder_ / "audit", folder_ / "backup", fs::copy_options::recursive);
    StartLog();
    Grow(50);
    client.AskAll();
    EXPECT_EQ(client.States().at(0).cosigned_size, Size());
  }
  log_.reset();
  fs::remove_all(folder_ / "audit");
  fs::rename(folder_ / "backup", folder_ / "audit");
  StartLog();
  WitnessClient client(ClientOptions());
  client.AskAll();
  EXPECT_NE(rollback_.find("ROLLBACK_DETECTED"), std::string::npos) << rollback_;
  EXPECT_NE(client.States().at(0).error, "");
  // Another history beyond the size that was seen is one, too.
  rollback_.clear();
  Grow(200);
  WitnessClient forked(ClientOptions());
  forked.AskAll();
  EXPECT_NE(rollback_.find("ROLLBACK_DETECTED"), std::string::npos) << rollback_;
  EXPECT_NE(rollback_.find("422"), std::string::npos) << rollback_;
  const int posts = num_posts_;
  forked.AskAll();
  EXPECT_EQ(num_posts_, posts) << "a witness that says so is not asked again";
}

TEST_F(WitnessHttpTest, AShardIsAnnouncedBeforeItBegins) {
  WitnessClient::Options options = ClientOptions();
  std::string known;
  options.on_origin_known = [&known](const std::string& origin) { known = origin; };
  WitnessClient client(std::move(options));
  const std::string origin = std::string(kName) + "/2099q1.0";
  client.Announce(SignCheckpoint({.origin = origin, .size = 0, .root = EmptyRoot()}, log_key_));
  EXPECT_EQ(known, "") << "the caller does not wait";
  client.AskAll();
  EXPECT_EQ(known, origin);
  EXPECT_TRUE(witness_.LastNote(origin).ok());
  known.clear();
  client.AskAll();
  EXPECT_EQ(known, "") << "once is enough";
}

TEST_F(WitnessHttpTest, AWitnessThatIsAwayIsTriedLater) {
  WitnessClient::Options options = ClientOptions();
  ManualClock clock;
  options.clock = &clock;
  bool away = true;
  options.post = [&](const std::string& url, const std::string& body) -> StatusOr<HttpAnswer> {
    ++num_posts_;
    return away ? ErrorF(StatusCode::kUnavailable, "away")
                : PostHttp(url, body, {.timeout = std::chrono::seconds(30)});
  };
  WitnessClient client(std::move(options));
  client.AskAll();
  client.AskAll();
  EXPECT_EQ(num_posts_, 1) << "it is left alone for a while";
  EXPECT_EQ(client.States().at(0).error, "away");
  away = false;
  clock.Advance(kWitnessRetryMax);
  client.AskAll();
  EXPECT_EQ(client.States().at(0).error, "");
  EXPECT_EQ(Verify().num_problems, 0u);
  EXPECT_EQ(rollback_, "");
}

TEST_F(WitnessHttpTest, AnswersWhatIsNoRequest) {
  EXPECT_EQ(Post("/add-checkpoint", "rubbish")->status, 400);
  EXPECT_EQ(Post("/", "rubbish")->status, 404);
  EXPECT_EQ(Post("/add-checkpoint/x", "")->status, 404);
  EXPECT_EQ(Post("/add-checkpoint", std::string(kWitnessRequestBytesMax + 1, 'x'))->status, 400);
  for (const char* url :
       {"ftp://127.0.0.1/", "https:///x", "127.0.0.1", "http://", "http://a b/"}) {
    EXPECT_EQ(PostHttp(url, "", {.timeout = kWitnessTimeout}).status().code(),
              StatusCode::kInvalidArgument);
  }
  for (const char* address : {"localhost:1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", ":1"}) {
    EXPECT_FALSE(WitnessServer::Start(address, witness_, SystemClock()).ok()) << address;
  }
  EXPECT_FALSE(WitnessServer::Start(
                   absl::StrFormat("127.0.0.1:%d", server_->port()), witness_, SystemClock())
                   .ok())
      << "the port is taken";
}

}  // namespace
}  // namespace inferd
