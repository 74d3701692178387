// Goal: a leaf's bytes are what docs/formats/leaf.md says, and nothing that may not enter a leaf
// gets in. Method: golden bytes of whole leaves, the commitment recomputed by hand, every refusal.
#include "governance/audit/leaf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "governance/audit/canonical_json.h"
#include "governance/verify/leaf_view.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;

LeafChain TestChain() {
  LeafChain chain{.origin = "example.com/inferd-audit/n1/2026q4.0", .node = "n1", .boot = "b0"};
  chain.nonce = {0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  chain.wall = WallTime(std::chrono::microseconds(1'795'268'122'000'001));
  chain.since_boot = Duration(9'007'199'254'740'993);
  chain.tseq = 7;
  chain.tprev = Sha256Of("previous");
  return chain;
}

LeafDraft SmallDraft() {
  LeafDraft draft;
  draft.type = LeafType::kHoldSet;
  draft.tenant = TenantId("acme");
  draft.rid = RequestId("01ARZ3NDEKTSV4RRFFQ69G5FAV");
  draft.actor = ActorFacts{.kind = "human", .id = "uid:1000", .authn = "peercred", .cred = ""};
  draft.detail["hold"] = std::string("h-1");
  draft.detail["count"] = uint64_t{3};
  return draft;
}

TEST(Leaf, GoldenBytes) {
  const auto bytes = EncodeLeaf(SmallDraft(), TestChain());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes,
            R"({"actor":{"authn":"peercred","id":"uid:1000","kind":"human"},"boot":"b0",)"
            R"("d":{"count":3,"hold":"h-1"},"lvl":"strict","mono":"9007199254740993",)"
            R"("n":"_wECAwQFBgcICQoLDA0ODw","node":"n1","rid":"01ARZ3NDEKTSV4RRFFQ69G5FAV",)"
            R"("sv":")"
            "sha256:" +
                LeafSchemaDigest().Hex() +
                R"(","t":"hold.set","tenant":"acme",)"
                R"("tprev":"sha256:)" +
                Sha256Of("previous").Hex() +
                R"(","ts":"2026-11-21T13:35:22.000001Z","tseq":7,"v":1})");
}

TEST(Leaf, SchemaHasOneDigest) {
  // Changes only together with a new version of the schema, and with docs/formats/leaf.md.
  EXPECT_EQ(LeafSchemaDigest().Hex().size(), 64u);
}

TEST(Leaf, EveryGroupIsCanonicalJson) {
  LeafDraft draft = SmallDraft();
  draft.type = LeafType::kInferenceCompleted;
  draft.level = AuditLevel::kFull;
  draft.model = ModelFacts{.ref = "m", .digest = Sha256Of("m"), .lora = {"a", "b"}};
  draft.policy = PolicyFacts{.dec = "allow", .rules = {"r1"}};
  draft.quota = QuotaFacts{.dec = "denied",
                           .acct = QuotaAccountFacts{.org = "o", .key = "k"},
                           .win = "2026-11-21",
                           .res = {.in = 1, .out = 2},
                           .hit = {{.metric = "tpm", .id = "q", .limit = 100}}};
  draft.input = InputFacts{.content = CommitTo({}, "x"), .parts = {{"user", 1}}};
  draft.sampling = SamplingFacts{.temperature = 0.7f, .seed = ~uint64_t{0}};
  draft.route = RouteFacts{.kind = "local"};
  draft.egress = EgressFacts{.redactions = {{"person", 2}}};
  draft.outcome = OutcomeFacts{.finish = "stop", .settle = {.in = 3}, .cost_micro = 5};
  draft.admitted = AuditReceipt{.origin = "elsewhere", .index = 12};
  const auto bytes = EncodeLeaf(draft, TestChain());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto json = nlohmann::json::parse(*bytes);
  EXPECT_EQ(json.dump(), *bytes);  // sorted, without whitespace, as another library writes it
  EXPECT_EQ(json["samp"]["temp"], "0.7");
  EXPECT_EQ(json["samp"]["seed"], "18446744073709551615");
  EXPECT_EQ(json["adm"], 12);
  EXPECT_EQ(json["adm_origin"], "elsewhere");
  EXPECT_EQ(json["quota"]["hit"][0]["limit"], 100);
  EXPECT_EQ(json["quota"].dump(),
            R"({"acct":{"key":"k","org":"o"},"dec":"denied","hit":[{"id":"q","limit":100,)"
            R"("metric":"tpm","remaining":0,"reset_ms":0}],"res":{"in":1,"out":2},)"
            R"("win":"2026-11-21"})");
  const auto view = ParseLeaf(*bytes);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->account, R"({"key":"k","org":"o"})");
  EXPECT_EQ(view->window, R"("2026-11-21")");
  EXPECT_EQ(view->reserved, R"({"in":1,"out":2})");
  EXPECT_EQ(view->settled, R"({"in":3})");
}

TEST(Leaf, RefusesWhatMustNotEnter) {
  const auto refuses = [](const char* why, auto&& spoil) {
    LeafDraft draft = SmallDraft();
    spoil(draft);
    const Status status = Validate(draft);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(Message(status)), HasSubstr(why));
  };
  refuses("names no tenant", [](LeafDraft& d) { d.tenant = TenantId(); });
  refuses("not a ULID", [](LeafDraft& d) { d.rid = RequestId("mine"); });
  refuses("src: is longer", [](LeafDraft& d) { d.src.assign(kLeafTextBytesMax + 1, 'x'); });
  refuses("src: is not UTF-8", [](LeafDraft& d) { d.src = "\xff"; });
  refuses("d: count: is above", [](LeafDraft& d) { d.detail["count"] = kJsonIntegerMax + 1; });
  refuses("not printable ASCII", [](LeafDraft& d) { d.detail["a b"] = uint64_t{1}; });
  refuses("samp: temp: is not a finite", [](LeafDraft& d) {
    d.sampling = SamplingFacts{.temperature = std::numeric_limits<float>::quiet_NaN()};
  });
  refuses("has more items", [](LeafDraft& d) {
    d.model = ModelFacts{.lora = std::vector<std::string>(kLeafListMax + 1, "x")};
  });
  refuses("bytes, at most", [](LeafDraft& d) {
    d.model = ModelFacts{.lora = std::vector<std::string>(kLeafListMax, std::string(300, 'x'))};
  });
  EXPECT_TRUE(Validate(SmallDraft()).ok());
}

// Strings are read eight bytes at a time: what may not stand in one is seen wherever it stands.
TEST(LeafView, EveryByteOfAStringIsLookedAt) {
  const std::string leaf = *EncodeLeaf(SmallDraft(), TestChain());
  const size_t node = leaf.find("\"n1\"") + 1;
  for (size_t size = 0; size < 20; ++size) {
    for (size_t at = 0; at < size; ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string text(size, 'x');
        text[at] = static_cast<char>(byte);
        std::string changed = leaf;
        changed.replace(node, 2, text);
        const bool plain = byte >= ' ' && byte != '"' && byte != '\\' && byte < 0x80;
        EXPECT_EQ(ParseLeaf(changed).ok(), plain) << byte << " at " << at << " of " << size;
      }
    }
    std::string escaped = leaf;
    escaped.replace(node, 2, std::string(size, 'x') + "\\u001f\\\"" + std::string(size, '\x7f'));
    EXPECT_TRUE(ParseLeaf(escaped).ok()) << size;
  }
}

// Two texts of one leaf would be two hashes of it.
TEST(LeafView, AControlCharacterIsWrittenInOneWay) {
  const std::string leaf = *EncodeLeaf(SmallDraft(), TestChain());
  const size_t node = leaf.find("\"n1\"") + 1;
  for (int byte = 0; byte < ' '; ++byte) {
    std::string changed = leaf;
    changed.replace(node, 2, absl::StrFormat("\\u%04x", byte));
    const bool is_canonical = JsonString(std::string(1, static_cast<char>(byte))).size() == 8;
    EXPECT_EQ(ParseLeaf(changed).ok(), is_canonical) << byte;
  }
}

TEST(LeafView, KnowsEveryTypeByItsName) {
  for (size_t i = 0; i < kNumLeafTypes; ++i) {
    const auto type = static_cast<LeafType>(i);
    EXPECT_EQ(LeafTypeFromName(Name(type)), type);
  }
  EXPECT_EQ(LeafTypeFromName(""), std::nullopt);
  EXPECT_EQ(LeafTypeFromName("log.genesi"), std::nullopt);
  EXPECT_EQ(LeafTypeFromName("zzz"), std::nullopt);
}

TEST(Commitment, IsTheHashOfTagSaltAndPayload) {
  CommitmentSalt salt;
  salt.fill(0x5a);
  const std::string preimage = std::string("infer-commit-v1") + '\0' + std::string(32, 0x5a) + "hi";
  EXPECT_EQ(CommitTo(salt, "hi").value, Sha256Of(preimage));
  EXPECT_EQ(CommitTo(salt, "hi").Text().size(), 43u);
  EXPECT_NE(NewCommitmentSalt(), NewCommitmentSalt());
}

TEST(CanonicalJson, EscapesAsJcsDoes) {
  EXPECT_EQ(JsonString("\b\t\n\f\r\"\\/\x01\x7f€"), "\"\\b\\t\\n\\f\\r\\\"\\\\/\\u0001\x7f€\"");
}

TEST(CanonicalJson, DecimalsReadBackExactly) {
  for (const float value : {0.7f, 1e-5f, 3.4028235e38f, 1.17549435e-38f, 0.1f + 0.2f}) {
    EXPECT_EQ(std::stof(ShortestDecimal(value)), value);
  }
  EXPECT_EQ(ShortestDecimal(1.0f), "1");
}

}  // namespace
}  // namespace inferd
