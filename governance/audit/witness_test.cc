// Goal: a witness answers as tlog-witness says, and a log whose history changes gets no
// cosignature. Method: a real log that grows, the table of answers, a fork of the log by its own
// key.
#include "governance/verify/witness.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/file_batch.h"
#include "governance/audit/log_core.h"
#include "governance/verify/base64.h"
#include "governance/verify/merkle.h"
#include "governance/verify/trust_policy.h"
#include "governance/verify/verifier.h"
#include "tests/support/audit_log_options.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

constexpr char kName[] = "example.com/inferd-audit/n1";
constexpr uint64_t kNow = 1'795'000'000;

class WitnessTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(files_.CreateFolder("witness").ok());
    log_ = *LogCore::Open(TestLogOptions(files_, log_key_, kName));
  }
  std::unique_ptr<ShardReader> Reader() {
    return *ShardReader::Open(files_,
                              "audit/log" + log_->origin().substr(std::string(kName).size()),
                              TrustPolicy::OfLog(log_key_.verifier()));
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
  WitnessAnswer Ask(const AddCheckpointRequest& request) {
    return witness_.AddCheckpoint(EncodeAddCheckpoint(request), kNow);
  }
  WitnessAnswer AskFrom(uint64_t old_size) {
    const auto reader = Reader();
    return Ask(*MakeAddCheckpoint(*reader, old_size));
  }

  FakeFileSystem files_{1};
  NoteSigner log_key_ = *NoteSigner::Generate(kName);
  NoteSigner key_ = *NoteSigner::Generate("witness.example/w1", NoteKeyType::kEd25519Cosignature);
  Witness witness_{Witness::Options{
      .files = &files_, .folder = "witness", .signer = &key_, .logs = {log_key_.verifier()}}};
  std::unique_ptr<LogCore> log_;
};

TEST_F(WitnessTest, CosignsALogThatGrows) {
  Grow(5);
  const WitnessAnswer first = AskFrom(0);
  ASSERT_EQ(first.status, 200) << first.body;
  const auto note = AddCosignatures(Reader()->note(), first.body, key_.verifier());
  ASSERT_TRUE(note.ok()) << note.status();
  const auto policy = TrustPolicy::Parse("log " + log_key_.verifier().VKey() + "\nwitness w " +
                                         key_.verifier().VKey() + "\nquorum w\n");
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_TRUE(policy->Open(*note).ok());
  EXPECT_EQ(policy->Open(Reader()->note()).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(*witness_.LastNote(log_->origin()), *note);

  // Published with the log's own signature, and only while it is the last.
  ASSERT_TRUE(log_->PublishCosigned(*note).ok());
  EXPECT_TRUE(policy->Open(Reader()->note()).ok());
  const uint64_t size = Reader()->checkpoint().checkpoint.size;
  Grow(300);
  ASSERT_TRUE(log_->PublishCosigned(*note).ok());
  EXPECT_EQ(Reader()->checkpoint().checkpoint.size, size + 300);
  const WitnessAnswer conflict = AskFrom(size - 1);
  EXPECT_EQ(conflict.status, 409);
  EXPECT_EQ(conflict.content_type, "text/x.tlog.size");
  EXPECT_EQ(conflict.body, std::to_string(size) + "\n");
  EXPECT_EQ(AskFrom(size).status, 200);
  // A witness that was started again remembers.
  Witness again(
      {.files = &files_, .folder = "witness", .signer = &key_, .logs = {log_key_.verifier()}});
  const auto reader = Reader();
  EXPECT_EQ(again.AddCheckpoint(EncodeAddCheckpoint(*MakeAddCheckpoint(*reader, 0)), kNow).status,
            409);
  EXPECT_FALSE(MakeAddCheckpoint(*reader, 1'000'000).ok());
}

// The log goes on while witnesses are asked: what they cosigned is kept beside the checkpoint.
TEST_F(WitnessTest, AVerifierIsContentWithTheNoteThatWasCosignedLast) {
  Grow(5);
  const std::string shard = "audit/log" + log_->origin().substr(std::string(kName).size());
  const auto policy = *TrustPolicy::Parse("log " + log_key_.verifier().VKey() + "\nwitness w " +
                                          key_.verifier().VKey() + "\nquorum w\n");
  const auto verify = [&] { return *VerifyLog(files_, "audit/log", policy, VerifyOptions()); };
  EXPECT_EQ(verify().num_problems, 1u) << "nobody cosigned";
  const std::string note = *AddCosignatures(Reader()->note(), AskFrom(0).body, key_.verifier());
  const uint64_t size = Reader()->checkpoint().checkpoint.size;
  Grow(300);
  ASSERT_TRUE(WriteFileDurably(files_, shard, std::string(kWitnessedFile), note).ok());
  VerifyReport report = verify();
  EXPECT_EQ(report.num_problems, 0u);
  EXPECT_EQ(report.shards.at(0).witnessed_size, size);
  EXPECT_EQ(report.shards.at(0).num_witnesses, 1u);
  ASSERT_FALSE(report.warnings.empty());
  // A note of another history, by the log's own key, is one.
  const Checkpoint fork{.origin = log_->origin(), .size = size, .root = LeafHash("fork")};
  const std::string forked = SignCheckpoint(fork, log_key_);
  const std::string line = SignatureLine(key_.Cosign(CheckpointText(fork), kNow));
  ASSERT_TRUE(WriteFileDurably(files_, shard, std::string(kWitnessedFile), forked + line).ok());
  EXPECT_EQ(verify().num_problems, 1u);
  ASSERT_TRUE(WriteFileDurably(files_, shard, std::string(kWitnessedFile), "rubbish").ok());
  EXPECT_GE(verify().num_problems, 1u);
  const Checkpoint longer{.origin = log_->origin(), .size = size + 1000, .root = LeafHash("x")};
  ASSERT_TRUE(
      WriteFileDurably(files_, shard, std::string(kWitnessedFile), SignCheckpoint(longer, log_key_))
          .ok());
  EXPECT_GE(verify().num_problems, 1u) << "truncated";
}

TEST_F(WitnessTest, RefusesAsTheSpecificationSays) {
  Grow(5);
  ASSERT_EQ(AskFrom(0).status, 200);
  const auto reader = Reader();
  const uint64_t size = reader->checkpoint().checkpoint.size;
  AddCheckpointRequest request = *MakeAddCheckpoint(*reader, size);
  EXPECT_EQ(Ask(request).status, 200);  // the same again
  EXPECT_EQ(witness_.AddCheckpoint("old x\n\n" + request.note, kNow).status, 400);
  EXPECT_EQ(witness_.AddCheckpoint(request.note, kNow).status, 400);
  request.old_size = size + 1;
  EXPECT_EQ(Ask(request).status, 400);
  request.old_size = size;
  request.proof.push_back(Digest());
  EXPECT_EQ(Ask(request).status, 422);
  request.proof.clear();
  // The log's own key signs another history.
  const Checkpoint fork{.origin = log_->origin(), .size = size, .root = LeafHash("fork")};
  request.note = SignCheckpoint(fork, log_key_);
  EXPECT_EQ(Ask(request).status, 422);
  const Checkpoint longer{.origin = log_->origin(), .size = size + 1, .root = LeafHash("fork")};
  request.note = SignCheckpoint(longer, log_key_);
  EXPECT_EQ(Ask(request).status, 422);
  const NoteSigner stranger = *NoteSigner::Generate("example.com/other");
  request.note = SignCheckpoint(fork, stranger);
  EXPECT_EQ(Ask(request).status, 403);
  request.note = reader->note();
  char& digit = request.note[request.note.size() - 10];
  digit = digit == 'A' ? 'B' : 'A';  // base64 still
  EXPECT_EQ(Ask(request).status, 403);
  const Checkpoint unknown{.origin = "example.com/other/1", .size = 1, .root = Digest()};
  request.note = SignCheckpoint(unknown, stranger);
  EXPECT_EQ(Ask(request).status, 404);
  request.old_size = 0;
  request.note = SignCheckpoint(
      {.origin = std::string(kName) + "/new", .size = 0, .root = Digest()}, log_key_);
  EXPECT_EQ(Ask(request).status, 422);
}

TEST_F(WitnessTest, KeepsBeforeItAnswers) {
  Grow(1);
  const auto reader = Reader();
  const std::string body = EncodeAddCheckpoint(*MakeAddCheckpoint(*reader, 0));
  for (uint64_t call = 1; call < 8; ++call) {
    files_.KillAtCall(call);
    const WitnessAnswer answer = witness_.AddCheckpoint(body, kNow);
    files_.CutPower();
    const bool kept = witness_.LastNote(reader->origin()).ok();
    if (answer.status == 200) {
      EXPECT_TRUE(kept);
      return;
    }
    if (kept) {
      return;  // kept and not told: the log will hear of it as a conflict
    }
  }
  FAIL() << "it never answered";
}

}  // namespace
}  // namespace inferd
