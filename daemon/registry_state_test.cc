// Goal: the leaves of a rollout, which stand in logs for good, keep their bytes, and what is loaded
// has the signature that is asked for. Method: golden bytes; a registry on disk, opened anew.
#include "daemon/registry_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/sha256.h"
#include "governance/audit/leaf.h"
#include "tests/support/example_keys.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

LeafChain TestChain() {
  LeafChain chain{.origin = "example.com/inferd-audit/n1/2026q4.0", .node = "n1", .boot = "b0"};
  chain.wall = WallTime(std::chrono::microseconds(1'795'268'122'000'001));
  chain.since_boot = Duration(9'007'199'254'740'993);
  chain.tseq = 7;
  chain.tprev = Sha256Of("previous");
  return chain;
}

RegistryChange Proposed() {
  return {.number = 5,
          .step = RegistryStep::kRolloutProposed,
          .at = WallTime(std::chrono::microseconds(1'795'268'122'000'000)),
          .actor = "uid:1000",
          .model = "llama",
          .version = "2",
          .digest = Sha256Of("two"),
          .alias = "default",
          .previous = "1"};
}

// All around what the step says: `detail` and who did it.
std::string Golden(const std::string& actor, const std::string& detail, const std::string& type) {
  return R"({"actor":{"authn":"peercred","id":")" + actor +
         R"(","kind":"human"},"boot":"b0","d":)" + detail +
         R"(,"lvl":"strict","model":{"digest":"sha256:)" + Sha256Of("two").Hex() +
         R"(","ref":"llama:2","ver":"2"},"mono":"9007199254740993",)"
         R"("n":"AAAAAAAAAAAAAAAAAAAAAA","node":"n1","sv":"sha256:)" +
         LeafSchemaDigest().Hex() + R"(","t":")" + type + R"(","tenant":"_log","tprev":"sha256:)" +
         Sha256Of("previous").Hex() + R"(","ts":"2026-11-21T13:35:22.000001Z","tseq":7,"v":1})";
}

TEST(RegistryLeaf, GoldenBytesOfARolloutThatIsProposed) {
  const auto bytes = EncodeLeaf(LeafOfChange(Proposed()), TestChain());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes,
            Golden("uid:1000",
                   R"({"alias":"default","change":5,"previous":"1"})",
                   "model.rollout_proposed"));
}

TEST(RegistryLeaf, GoldenBytesOfARolloutThatIsApproved) {
  RegistryChange approved = Proposed();
  approved.number = 6;
  approved.step = RegistryStep::kRolloutApproved;
  approved.actor = "uid:1001";
  approved.proposed_by = "uid:1000";
  const auto bytes = EncodeLeaf(LeafOfChange(approved), TestChain());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes,
            Golden("uid:1001",
                   R"({"alias":"default","change":6,"previous":"1","proposed_by":"uid:1000"})",
                   "model.rollout_approved"));
}

// Each step is told by its own type, "model." before its name.
TEST(RegistryLeaf, LongAndOddTextsAreCutToWhatALeafHolds) {
  RegistryChange change = Proposed();
  change.signer = "x";
  while (change.signer.size() < 600) {
    change.signer += "\xc3\xa9";  // the cut is in the middle of one
  }
  change.source = "a\xff";  // no UTF-8: a file's name may be any bytes
  const auto bytes = EncodeLeaf(LeafOfChange(change), TestChain());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_THAT(*bytes, ::testing::HasSubstr("\"source\":\"a\xef\xbf\xbd\""));
}

TEST(RegistryLeaf, EachStepHasItsType) {
  RegistryChange change = Proposed();
  for (const RegistryStep step : {RegistryStep::kRegistered,
                                  RegistryStep::kApproved,
                                  RegistryStep::kRolloutProposed,
                                  RegistryStep::kRolloutApproved,
                                  RegistryStep::kCanary,
                                  RegistryStep::kAliasMoved,
                                  RegistryStep::kRolledBack,
                                  RegistryStep::kRevoked}) {
    change.step = step;
    EXPECT_EQ(Name(LeafOfChange(change).type), "model." + std::string(Name(step)));
  }
}

// What was registered while signatures were optional is refused once they are required.
TEST(RegistryState, AVersionWithoutASignatureIsRefusedOnceOneIsRequired) {
  const TempFolder folder;
  Config config;
  config.state_directory = folder.path();
  const ModelContents contents = {.files = {{"m.gguf", 3}}, .root = Sha256Of("one")};
  const ModelEntry entry = {.name = "m", .path = "m.gguf"};
  const auto admit = [&] {
    const auto state = RegistryState::Open(config, nullptr, SystemClock());
    return state.ok() ? (*state)->AdmitLoad(entry, contents, RegistryState::Origin::kConfiguration)
                      : state.status();
  };
  EXPECT_TRUE(admit().ok());
  EXPECT_TRUE(admit().ok());
  config.registry.signatures = "required";
  const Status refused = admit();
  EXPECT_EQ(refused.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(refused)), testing::HasSubstr("is not signed"));
}

// A signature that verifies says nothing of files that it leaves out.
TEST(RegistryState, ASignatureCoversAllThatIsLoaded) {
  const TempFolder folder;
  const TempFolder model;
  const auto write = [](const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  };
  Config config;
  config.state_directory = folder.path();
  config.registry.public_keys = {write(folder.path() / "key.pem", kExampleSigningPublicKey)};
  const auto state = RegistryState::Open(config, nullptr, SystemClock());
  ASSERT_TRUE(state.ok()) << state.status();
  write(model.path() / "model.safetensors", "weights");
  write(model.path() / "README.md", "text");
  write(model.path() / "chat_template.jinja", "");
  const auto check = [&](const std::string& path, const ModelSerialization& serialization) {
    const auto as_signed = HashModelFiles(path, {.serialization = serialization}).value();
    const ModelStatement statement{.name = "m",
                                   .serialization = serialization,
                                   .resources = as_signed.resources,
                                   .root = as_signed.root};
    const std::string bundle =
        write(folder.path() / "bundle", SignModel(statement, kExampleSigningKey).value());
    const ModelHashOptions options{.also = RegistryState::SignedBy(bundle).value()};
    return (*state)->CheckSignature(bundle, HashModelFiles(path, options).value()).status();
  };
  using Method = ModelSerialization::Method;
  const std::string all = model.path().string();
  EXPECT_TRUE(check(all, {.method = Method::kFiles}).ok());
  EXPECT_TRUE(check(all, {.method = Method::kFiles, .ignore_paths = {"README.md"}}).ok());
  const auto refuses = [](const Status& status, const std::string& file) {
    return status.code() == StatusCode::kFailedPrecondition &&
           Message(status).find("does not cover " + file) != std::string_view::npos;
  };
  EXPECT_TRUE(refuses(check(all, {.method = Method::kFiles, .ignore_paths = {"model.safetensors"}}),
                      "model."));
  EXPECT_TRUE(refuses(check(all, {}), "chat_template.jinja"));  // empty: no shard has it
  const std::string lone = write(folder.path() / "m.gguf", "weights");
  EXPECT_TRUE(check(lone, {}).ok());
}

}  // namespace
}  // namespace inferd
