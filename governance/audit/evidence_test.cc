// Goal: a bundle proves its leaves with the log's key alone, and no byte of it can change. Method:
// a log of fixed leaves and keys; the bundle's bytes beside the committed ones; every byte turned;
// bundles that a dishonest exporter signs.
#include "governance/verify/evidence.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/file.h"
#include "base/sha256.h"
#include "governance/audit/canonical_json.h"
#include "governance/audit/publisher.h"
#include "governance/verify/evidence_manifest.h"
#include "governance/verify/merkle.h"
#include "tests/support/example_keys.h"
#include "tests/support/fake_file_system.h"

namespace inferd {
namespace {

constexpr char kGolden[] = INFERD_SOURCE_DIR "/tests/fuzz/corpus/evidence/chain.tar";
constexpr WallTime kStart{std::chrono::seconds(1'795'000'000)};

std::string Rid(int i) { return absl::StrFormat("01ARZ3NDEKTSV4RRFFQ69G%04d", i); }

// A leaf as it was once written, whatever the schema is now: the golden bytes hang on it.
std::string LeafText(int i, uint64_t tseq, const Digest& tprev) {
  constexpr char kBase64Url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const int byte = i % 256;
  return absl::StrFormat(
      R"({"boot":"b","lvl":"strict","mono":"0","n":"%c%c%s","node":"n1","rid":"%s",)"
      R"("sv":"sha256:4db8c1b5f0df727658731451256df44ebde8406f7f5b4de0c00afdc7d47aa4d2",)"
      R"("t":"admin.action","tenant":"%s","tprev":"sha256:%s","ts":"%s","tseq":%d,"v":1})",
      kBase64Url[byte / 4],
      kBase64Url[byte % 4 * 16],
      std::string(20, 'A'),
      Rid(i),
      i % 2 == 0 ? "a" : "b",
      tprev.Hex(),
      Rfc3339Micros(kStart + std::chrono::minutes(i)),
      tseq);
}

class EvidenceTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* folder : {"log", "log/2026q4.0", "log/2026q4.1", "state"}) {
      ASSERT_TRUE(files_.CreateFolder(folder).ok());
    }
  }

  // One leaf a minute, of tenants a and b in turn; its request is Rid(i).
  void MakeShard(const std::string& name, int num_leaves) {
    Publisher publisher({.files = &files_,
                         .log_folder = "log/" + name,
                         .state_folder = "state",
                         .origin = std::string(kExampleLogName) + '/' + name,
                         .signer = &log_key_},
                        TileTree(),
                        "");
    uint64_t tseq[2] = {};
    Digest tprev[2] = {};
    for (int i = 0; i < num_leaves; ++i) {
      std::string leaf = LeafText(i, tseq[i % 2]++, tprev[i % 2]);
      if (i == 2 && !document_.empty()) {
        leaf.insert(
            leaf.find("\"rid\""),
            "\"policy\":{\"dec\":\"allow\",\"set\":\"sha256:" + Sha256Of(document_).Hex() + "\"},");
      }
      tprev[i % 2] = LeafHash(leaf);
      ASSERT_TRUE(publisher.Add(leaf, tprev[i % 2]).ok());
    }
    ASSERT_TRUE(publisher.Publish().ok());
    shards_.push_back(*ShardReader::Open(files_, "log/" + name, policy_));
  }

  EvidenceOptions Options(const EvidenceSelection& selection) {
    return {.selection = selection,
            .exporter = &exporter_,
            .policy = "log " + log_key_.verifier().VKey() + "\nquorum none\n",
            .made_at = "2026-11-21T13:35:22Z"};
  }
  StatusOr<std::string> Write(const EvidenceSelection& selection) {
    std::string tar;
    RETURN_IF_ERROR(WriteEvidence(shards_, Options(selection), [&tar](std::string_view bytes) {
      tar += bytes;
      return OkStatus();
    }));
    return tar;
  }
  StatusOr<EvidenceReport> Verify(std::string_view tar) {
    return VerifyEvidence(tar, policy_, &exporter_.verifier());
  }

  // The bundle with some files changed, and a manifest that the exporter signed over them.
  std::string Resigned(const std::string& tar,
                       const std::function<void(std::vector<TarMember>&)>& change) {
    std::vector<TarMember> members = *ReadTar(tar);
    EvidenceManifest manifest = *ParseManifest(ParseDsse(members.back().content)->payload);
    members.pop_back();
    change(members);
    manifest.files.clear();
    std::string changed;
    TarWriter writer([&changed](std::string_view bytes) {
      changed += bytes;
      return OkStatus();
    });
    for (const TarMember& member : members) {
      manifest.files.push_back(
          {.name = std::string(member.name), .sha256 = Sha256Of(member.content)});
      EXPECT_TRUE(writer.Add(member.name, member.content).ok());
    }
    EXPECT_TRUE(writer
                    .Add(kEvidenceManifest,
                         SignDsse(kEvidencePayloadType, EncodeManifest(manifest), exporter_))
                    .ok());
    EXPECT_TRUE(writer.Finish().ok());
    return changed;
  }

  std::string document_;  // named by leaf 2
  FakeFileSystem files_{1};
  const NoteSigner log_key_ = *NoteSigner::Parse(kExampleLogKey);
  const NoteSigner exporter_ = *NoteSigner::Parse(kExampleExporterKey);
  const TrustPolicy policy_ = TrustPolicy::OfLog(log_key_.verifier());
  std::vector<std::unique_ptr<ShardReader>> shards_;
};

TEST_F(EvidenceTest, ATenantsChainOfAllShards) {
  MakeShard("2026q4.0", 600);
  MakeShard("2026q4.1", 9);
  const auto tar = Write({.tenant = "a"});
  ASSERT_TRUE(tar.ok()) << tar.status();
  const auto report = Verify(*tar);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->shards.size(), 2u);
  EXPECT_EQ(report->shards[0].num_chained, 300u);
  EXPECT_EQ(report->shards[0].first_tseq, 0u);
  EXPECT_EQ(report->shards[1].last_tseq, 4u);
  EXPECT_EQ(report->num_leaves, 305u);
  EXPECT_EQ(report->selection, EvidenceSelection{.tenant = "a"});
  // Without the exporter's key it is the manifest's own that signed; another's is refused.
  EXPECT_TRUE(VerifyEvidence(*tar, policy_, nullptr).ok());
  EXPECT_FALSE(VerifyEvidence(*tar, policy_, &log_key_.verifier()).ok());
  const auto stranger = NoteSigner::Generate(kExampleLogName);
  EXPECT_FALSE(VerifyEvidence(*tar, TrustPolicy::OfLog(stranger->verifier()), nullptr).ok());
}

TEST_F(EvidenceTest, ATimeIsFromItsFirstLeafToItsLast) {
  MakeShard("2026q4.0", 60);
  // 1,795,000,000 s is 2026-11-18T11:06:40Z.
  const auto tar =
      Write({.tenant = "a", .from = "2026-11-18T11:16:40Z", .to = "2026-11-18T11:26:40.000001Z"});
  ASSERT_TRUE(tar.ok()) << tar.status();
  const auto report = Verify(*tar);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->shards.at(0).first_tseq, 5u);
  EXPECT_EQ(report->shards.at(0).last_tseq, 10u);
  EXPECT_EQ(Write({.tenant = "a", .from = "2026-11-19"}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Write({.tenant = "nobody"}).status().code(), StatusCode::kNotFound);
  for (const char* time : {"yesterday",
                           "2026-11-1",
                           "2026-11-18T11:16Z",
                           "2026-11-18T11:16:40.Z",
                           "2026-11-18T11:16:40",
                           "2026-11-18T11:16:40.0000000Z"}) {
    EXPECT_EQ(Write({.tenant = "a", .from = time}).status().code(), StatusCode::kInvalidArgument)
        << time;
  }
  EXPECT_EQ(Write({}).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(EvidenceTest, SingleLeavesHaveAProofEach) {
  MakeShard("2026q4.0", 600);
  const auto tar = Write({.tenant = "a", .rids = {Rid(4), Rid(598), Rid(5)}});
  ASSERT_TRUE(tar.ok()) << tar.status();
  const auto report = Verify(*tar);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->shards.at(0).num_single, 2u) << "one is of another tenant";
  EXPECT_EQ(report->shards.at(0).num_chained, 0u);
  EXPECT_EQ(ReadTar(*tar)->at(4).name, "2026q4.0/leaves/000000000004.json");
}

TEST_F(EvidenceTest, BytesAsCommitted) {
  MakeShard("2026q4.0", 6);
  const auto tar = Write({.tenant = "a"});
  ASSERT_TRUE(tar.ok()) << tar.status();
  if (std::getenv("UPDATE_GOLDEN") != nullptr) {
    std::ofstream(kGolden, std::ios::binary) << *tar;
  }
  const auto golden = ReadFile(kGolden, 1 << 20);
  ASSERT_TRUE(golden.ok()) << golden.status();
  EXPECT_TRUE(*tar == *golden) << "UPDATE_GOLDEN=1 rewrites it";
}

// With the exporter's key given, and without: then the manifest names its own.
TEST_F(EvidenceTest, NoByteCanChange) {
  MakeShard("2026q4.0", 6);
  std::string tar = *Write({.tenant = "a"});
  uint64_t missed = 0;
  for (size_t at = 0; at < tar.size(); ++at) {
    for (const char flip : {'\x01', '\xff'}) {
      tar[at] = static_cast<char>(tar[at] ^ flip);
      const bool holds = flip == 1 ? Verify(tar).ok() : VerifyEvidence(tar, policy_, nullptr).ok();
      missed += holds ? 1u : 0u;
      tar[at] = static_cast<char>(tar[at] ^ flip);
    }
  }
  EXPECT_EQ(missed, 0u);
  EXPECT_TRUE(Verify(tar).ok());
  for (size_t size = 0; size < tar.size(); size += 97) {
    EXPECT_FALSE(Verify(std::string_view(tar).substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(Verify(tar + std::string(kTarBlockBytes, '\0')).ok());
}

// Whoever exports may sign what they like: the leaves are the log's nevertheless.
TEST_F(EvidenceTest, AnExporterCannotLie) {
  MakeShard("2026q4.0", 20);
  const std::string tar = *Write({.tenant = "a"});
  EXPECT_TRUE(Verify(Resigned(tar, [](auto&) {})).ok());
  const auto refused = [&](const char* what, const auto& change) {
    const auto report = Verify(Resigned(tar, change));
    EXPECT_FALSE(report.ok()) << what;
  };
  constexpr size_t kFirstLeaf = 4;
  refused("a leaf left out", [](auto& files) { files.erase(files.begin() + kFirstLeaf + 2); });
  refused("the last leaf left out", [](auto& files) { files.erase(files.end() - 2); });
  refused("no leaf", [](auto& files) { files.erase(files.begin() + 3, files.end()); });
  refused("no checkpoint", [](auto& files) { files.erase(files.begin() + 3); });
  refused("no proof", [](auto& files) { files.pop_back(); });
  refused("two leaves swapped",
          [](auto& files) { std::swap(files[kFirstLeaf].content, files[kFirstLeaf + 1].content); });
  const std::string altered = [&] {
    std::string leaf(ReadTar(tar)->at(kFirstLeaf).content);
    leaf.replace(leaf.find(Rid(0)), Rid(0).size(), Rid(1));
    return leaf;
  }();
  refused("a leaf altered", [&](auto& files) { files[kFirstLeaf].content = altered; });
  refused("something more", [](auto& files) { files.push_back({.name = "x", .content = "y"}); });
  const std::string of_b = *Write({.tenant = "b"});
  refused("of another tenant",
          [&](auto& files) { files[kFirstLeaf].content = ReadTar(of_b)->at(kFirstLeaf).content; });
  // The first leaves alone may be left out: the manifest's time says what was asked for.
  EXPECT_TRUE(
      Verify(Resigned(tar, [](auto& files) { files.erase(files.begin() + kFirstLeaf); })).ok());
}

// What leaves name by its digest can lie in the bundle, and nothing else.
TEST_F(EvidenceTest, DocumentsThatLeavesName) {
  document_ = "permit(principal, action, resource);";
  MakeShard("2026q4.0", 20);
  const auto write = [&](const EvidenceSelection& selection, std::vector<std::string> documents) {
    EvidenceOptions options = Options(selection);
    options.documents = std::move(documents);
    std::string tar;
    const Status written = WriteEvidence(shards_, options, [&tar](std::string_view bytes) {
      tar += bytes;
      return OkStatus();
    });
    return written.ok() ? StatusOr<std::string>(tar) : written;
  };
  const std::string name = "documents/" + Sha256Of(document_).Hex();
  for (const EvidenceSelection& selection :
       {EvidenceSelection{.tenant = "a"}, EvidenceSelection{.tenant = "a", .rids = {Rid(2)}}}) {
    const auto tar = write(selection, {document_});
    ASSERT_TRUE(tar.ok()) << tar.status();
    EXPECT_EQ(ReadTar(*tar)->at(3).name, name);
    const auto report = Verify(*tar);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->documents, std::vector<Digest>{Sha256Of(document_)});
    const auto refused = [&](const char* what, const auto& change) {
      EXPECT_FALSE(Verify(Resigned(*tar, change)).ok()) << what;
    };
    refused("other content", [](auto& files) { files[3].content = "permit(all);"; });
    refused("of no leaf", [](auto& files) {
      static const std::string other = "documents/" + Sha256Of(std::string_view("x")).Hex();
      files.insert(files.begin() + 4, {.name = other, .content = "x"});
    });
    refused("at the end", [](auto& files) { std::swap(files[3], files.back()); });
    EXPECT_TRUE(Verify(Resigned(*tar, [](auto& files) { files.erase(files.begin() + 3); })).ok());
  }
  EXPECT_EQ(write({.tenant = "a"}, {document_, "x"}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(write({.tenant = "a"}, {document_, document_}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(write({.tenant = "a", .rids = {Rid(0)}}, {document_}).status().code(),
            StatusCode::kInvalidArgument)
      << "named by another leaf";
}

TEST(Tar, NamesStayInTheFolder) {
  for (const char* good : {"a", "a/b.json", "2026q4.0/chain/000000000001.json", "A_b-c"}) {
    EXPECT_TRUE(IsTarName(good)) << good;
  }
  for (const char* bad : {"", "/a", "a/", "a//b", "..", "../a", "a/../b", ".a", "a b", "a\\b"}) {
    EXPECT_FALSE(IsTarName(bad)) << bad;
  }
  EXPECT_FALSE(IsTarName(std::string(kTarNameBytesMax + 1, 'a')));
  TarWriter writer([](std::string_view) { return OkStatus(); });
  EXPECT_FALSE(writer.Add("../a", "").ok());
}

}  // namespace
}  // namespace inferd
