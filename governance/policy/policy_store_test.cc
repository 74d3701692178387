// The life of policy sets: two persons, a leaf before every step, a history that no crash and no
// changed byte turns into something else.
#include "governance/policy/policy_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/file_batch.h"
#include "tests/support/fake_file_system.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

using testing::HasSubstr;

constexpr char kSchema[] =
    "entity User; entity Doc; action read appliesTo { principal: User, resource: Doc };\n";
constexpr char kFolder[] = "state/policy";

PolicySet::Pointer SetOf(int number) {
  static std::map<int, PolicySet::Pointer> made;
  PolicySet::Pointer& set = made[number];
  if (set == nullptr) {
    set = *PolicySet::Parse(
        kSchema, absl::StrFormat("@id(\"r%d\") permit(principal, action, resource);\n", number));
  }
  return set;
}

class PolicyStoreTest : public testing::Test {
 protected:
  PolicyStoreTest() { EXPECT_TRUE(CreateFoldersDurably(files_, "state").ok()); }

  StatusOr<std::unique_ptr<PolicyStore>> Open() {
    return PolicyStore::Open({.files = files_,
                              .clock = clock_,
                              .folder = kFolder,
                              .record = [this](const PolicyChange& change) {
                                if (!log_takes_leaves_) {
                                  return ErrorF(StatusCode::kUnavailable, "no log");
                                }
                                leaves_.push_back(change);
                                return OkStatus();
                              }});
  }
  std::unique_ptr<PolicyStore> MustOpen() {
    auto store = Open();
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

  FakeFileSystem files_{7};
  ManualClock clock_;
  bool log_takes_leaves_ = true;
  std::vector<PolicyChange> leaves_;
};

// A log that is slow holds up the step that waits for its leaf, and no request.
TEST_F(PolicyStoreTest, WhoAsksForTheActiveSetWaitsForNoStep) {
  std::unique_ptr<PolicyStore> store;
  PolicySet::Pointer seen;
  const auto look = [&](const PolicyChange&) {
    std::thread([&] { seen = store->active(); }).join();  // hangs if it waits
    return OkStatus();
  };
  store = *PolicyStore::Open({.files = files_, .clock = clock_, .folder = kFolder, .record = look});
  ASSERT_TRUE(store->StartWith(SetOf(1), "/etc/inferd/policy").ok());
  EXPECT_EQ(seen, nullptr);
  ASSERT_TRUE(store->Propose("ann", SetOf(2)).ok());
  EXPECT_EQ(seen, SetOf(1));
}

TEST_F(PolicyStoreTest, TwoPersonsChangeTheActiveSet) {
  auto store = MustOpen();
  EXPECT_EQ(store->active(), nullptr);
  ASSERT_TRUE(store->StartWith(SetOf(1), "/etc/inferd/policy").ok());
  EXPECT_EQ(store->active()->digest(), SetOf(1)->digest());
  EXPECT_EQ(store->StartWith(SetOf(2), "/etc/inferd/policy").status().code(),
            StatusCode::kFailedPrecondition);

  const Digest second = SetOf(2)->digest();
  EXPECT_EQ(store->Approve("ann", second).status().code(), StatusCode::kNotFound);
  ASSERT_TRUE(store->Propose("ann", SetOf(2)).ok());
  EXPECT_EQ(store->Propose("bob", SetOf(2)).status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(store->Activate("ann", second).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(store->Approve("ann", second).status().code(), StatusCode::kPermissionDenied);
  ASSERT_TRUE(store->Approve("bob", second).ok());
  EXPECT_EQ(store->Approve("eve", second).status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(store->active()->digest(), SetOf(1)->digest());
  clock_.Advance(std::chrono::milliseconds(1500));
  const auto activated = store->Activate("ann", second);
  ASSERT_TRUE(activated.ok()) << activated.status();
  EXPECT_EQ(*activated,
            (PolicyChange{.number = 4,
                          .step = PolicyStep::kActivated,
                          .set = second,
                          .actor = "ann",
                          .at = WallTime(std::chrono::milliseconds(1500)),
                          .proposed_by = "ann",
                          .approved_by = "bob",
                          .replaces = SetOf(1)->digest()}));
  EXPECT_EQ(store->active()->digest(), second);
  EXPECT_EQ(store->Activate("ann", second).status().code(), StatusCode::kFailedPrecondition);
  // Back to the first.
  ASSERT_TRUE(store->Activate("bob", SetOf(1)->digest()).ok());
  EXPECT_EQ(store->history().size(), 5u);
  EXPECT_EQ(store->history(), leaves_);
}

TEST_F(PolicyStoreTest, WithoutItsLeafNothingHappens) {
  auto store = MustOpen();
  ASSERT_TRUE(store->StartWith(SetOf(1), "file").ok());
  ASSERT_TRUE(store->Propose("ann", SetOf(2)).ok());
  log_takes_leaves_ = false;
  EXPECT_EQ(store->Propose("ann", SetOf(3)).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(store->Approve("bob", SetOf(2)->digest()).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(store->history().size(), 2u);
  EXPECT_EQ(store->Find(SetOf(3)->digest()).status().code(), StatusCode::kNotFound);
  log_takes_leaves_ = true;
  EXPECT_TRUE(store->Approve("bob", SetOf(2)->digest()).ok());
}

TEST_F(PolicyStoreTest, IsThereAfterARestart) {
  {
    auto store = MustOpen();
    ASSERT_TRUE(store->StartWith(SetOf(1), "file").ok());
    ASSERT_TRUE(store->Propose("ann", SetOf(2)).ok());
    ASSERT_TRUE(store->Approve("bob", SetOf(2)->digest()).ok());
  }
  auto store = MustOpen();
  EXPECT_EQ(store->history(), leaves_);
  EXPECT_EQ(store->active()->digest(), SetOf(1)->digest());
  ASSERT_TRUE(store->Activate("eve", SetOf(2)->digest()).ok());
  store.reset();
  EXPECT_EQ(MustOpen()->active()->digest(), SetOf(2)->digest());
}

// After a kill or a power cut at any call, every step that returned is there, at most one more, and
// each of them has its leaf.
TEST_F(PolicyStoreTest, NoCrashLosesAStepOrInventsOne) {
  const auto steps = [&](PolicyStore& store) -> std::vector<Status> {
    std::vector<Status> results;
    results.push_back(store.StartWith(SetOf(1), "file").status());
    results.push_back(store.Propose("ann", SetOf(2)).status());
    results.push_back(store.Approve("bob", SetOf(2)->digest()).status());
    results.push_back(store.Activate("bob", SetOf(2)->digest()).status());
    return results;
  };
  bool completed = false;
  for (uint64_t call = 1; !completed; ++call) {
    ASSERT_LT(call, 500u);
    for (const bool power_cut : {false, true}) {
      FakeFileSystem files(call);
      ASSERT_TRUE(CreateFoldersDurably(files, "state").ok());
      std::vector<PolicyChange> leaves;
      const auto open = [&] {
        return PolicyStore::Open({.files = files,
                                  .clock = clock_,
                                  .folder = kFolder,
                                  .record = [&](const PolicyChange& change) {
                                    leaves.push_back(change);
                                    return OkStatus();
                                  }});
      };
      files.KillAtCall(call);
      size_t done = 0;
      if (auto store = open(); store.ok()) {
        for (const Status& result : steps(**store)) {
          done += result.ok() ? 1 : 0;
        }
      }
      completed = done == 4;
      power_cut ? files.CutPower() : files.Restart();
      const size_t num_leaves = leaves.size();
      auto store = open();
      ASSERT_TRUE(store.ok()) << store.status() << " call " << call << " cut " << power_cut;
      const auto history = (*store)->history();
      EXPECT_GE(history.size(), done) << call;
      EXPECT_LE(history.size(), done + 1) << call;
      ASSERT_LE(history.size(), num_leaves);
      EXPECT_TRUE(std::equal(history.begin(), history.end(), leaves.begin())) << call;
      // It goes on from there.
      for (const Status& result : steps(**store)) {
        EXPECT_NE(result.code(), StatusCode::kUnavailable) << result;
      }
      EXPECT_EQ((*store)->active()->digest(), SetOf(2)->digest()) << call;
    }
  }
}

TEST_F(PolicyStoreTest, AChangedByteIsNoticed) {
  {
    auto store = MustOpen();
    ASSERT_TRUE(store->StartWith(SetOf(1), "file").ok());
    ASSERT_TRUE(store->Propose("ann", SetOf(2)).ok());
    ASSERT_TRUE(store->Approve("bob", SetOf(2)->digest()).ok());
  }
  const std::string folder = kFolder;
  std::vector<std::string> paths = {folder + "/history/00000001.json",
                                    folder + "/history/00000003.json",
                                    folder + "/sets/" + SetOf(1)->digest().Hex() + ".policies"};
  for (const std::string& path : paths) {
    const std::string good = files_.Read(path, 1 << 20).value();
    for (size_t at = 0; at < good.size(); at += 7) {
      std::string turned = good;
      turned[at] = static_cast<char>(turned[at] ^ 0x10);
      auto file = files_.Create(path).value();
      ASSERT_TRUE(file->WriteAt(0, turned).ok());
      auto store = Open();
      // A history is not signed: the audit log tells of an actor that was changed in place. What
      // this finds is damage, and whatever would make another set active.
      if (store.ok()) {
        EXPECT_EQ((*store)->history().size(), 3u);
        EXPECT_EQ((*store)->active()->digest(), SetOf(1)->digest()) << path << ' ' << at;
      } else {
        EXPECT_THAT(std::string(Message(store.status())), HasSubstr("restore")) << path;
      }
    }
    auto file = files_.Create(path).value();
    ASSERT_TRUE(file->WriteAt(0, good).ok());
  }
  ASSERT_TRUE(files_.Remove(paths[0]).ok());
  EXPECT_EQ(Open().status().code(), StatusCode::kDataLoss);
}

TEST_F(PolicyStoreTest, ActorsHaveNames) {
  auto store = MustOpen();
  EXPECT_EQ(store->Propose("", SetOf(1)).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(store->Propose(std::string(300, 'a'), SetOf(1)).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(store->Propose("\xff", SetOf(1)).status().code(), StatusCode::kInvalidArgument);
}

TEST(PolicyStore, HasItsFolderAlone) {
  const TempFolder folder;
  const PolicyStore::Parts parts = {.files = SystemFiles(),
                                    .clock = SystemClock(),
                                    .folder = folder / "policy",
                                    .record = [](const PolicyChange&) { return OkStatus(); }};
  auto store = PolicyStore::Open(parts);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(PolicyStore::Open(parts).status().code(), StatusCode::kFailedPrecondition);
  ASSERT_TRUE((*store)->StartWith(SetOf(1), "file").ok());
  store->reset();
  store = PolicyStore::Open(parts);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*store)->active()->digest(), SetOf(1)->digest());
}

TEST(ReadOwnersFile, TakesNoFileThatOthersMayWrite) {
  const TempFolder folder;
  const std::string path = folder / "policies.cedar";
  EXPECT_EQ(ReadOwnersFile(path, 100).status().code(), StatusCode::kNotFound);
  ASSERT_TRUE(
      WriteFileDurably(SystemFiles(), folder.path().string(), "policies.cedar", "text").ok());
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  const auto content = ReadOwnersFile(path, 4);
  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_EQ(*content, "text");
  EXPECT_EQ(ReadOwnersFile(path, 3).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadOwnersFile(folder.path().string(), 100).status().code(),
            StatusCode::kFailedPrecondition);
  for (const mode_t mode : {0664, 0646}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    EXPECT_EQ(ReadOwnersFile(path, 100).status().code(), StatusCode::kFailedPrecondition);
  }
}

}  // namespace
}  // namespace inferd
