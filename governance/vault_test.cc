// Goal: a payload comes back whole under its own envelope or not at all, a torn end costs nothing
// but itself, destroying the subject's key makes it unreadable, and the bytes on disk are those
// that docs/formats/vault.md describes. Method: real folders, every byte of a segment altered,
// every prefix of it read.
#include "governance/vault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "governance/vault_text.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPrompt[] = "the patient's name is canary-prompt";
constexpr auto kDay = std::chrono::hours(24);

class VaultTest : public ::testing::Test {
 protected:
  VaultTest() {
    fs::create_directory(root_ / "vault");
    clock_.Advance(kDay * 20'000);
    keys_ = *KeyStore::Open((root_ / "keystore.sqlite").string(),
                            *SecretKey::From(std::string(SecretKey::kBytes, 'r')));
    Restart();
  }

  void Restart() { vault_ = std::make_unique<Vault>((root_ / "vault").string(), *keys_, clock_); }
  Vault::Put Store(std::string_view payload,
                   const SubjectRef& subject = kAnna,
                   std::string_view rid = "01J") {
    const auto put = vault_->Store({.rid = rid,
                                    .subject = subject,
                                    .origin = "example.org/log",
                                    .direction = VaultDirection::kInput,
                                    .salt = NewCommitmentSalt(),
                                    .payload = payload});
    EXPECT_TRUE(put.ok()) << put.status();
    return *put;
  }
  int CountRecords() const {
    int count = 0;
    EXPECT_TRUE(vault_->ForEach("acme", [&](auto, const auto&) { ++count; }).ok());
    return count;
  }
  std::string SegmentPath(const VaultHandle& handle) const {
    return (root_ / "vault" / handle.substr(0, handle.rfind(':'))).string();
  }
  static std::string Read(const std::string& path) { return *ReadFile(path, 1 << 24); }
  static void Write(const std::string& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  inline static const SubjectRef kAnna{.tenant = "acme", .subject = "anna"};
  inline static const SubjectRef kBert{.tenant = "acme", .subject = "bert"};
  TempFolder folder_;
  const fs::path root_ = folder_.path();
  ManualClock clock_;
  std::unique_ptr<KeyStore> keys_;
  std::unique_ptr<Vault> vault_;
};

TEST_F(VaultTest, WhatWasStoredOpens) {
  const Vault::Put put = Store(kPrompt);
  const auto record = vault_->Open(put.handle);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->payload, kPrompt);
  EXPECT_EQ(record->envelope.rid, "01J");
  EXPECT_EQ(record->envelope.tenant, "acme");
  EXPECT_EQ(record->envelope.origin, "example.org/log");
  EXPECT_EQ(record->envelope.direction, VaultDirection::kInput);
  EXPECT_EQ(CommitTo(record->salt, record->payload), put.commitment);
  EXPECT_EQ(vault_->Open(Store("").handle)->payload, "");
}

TEST_F(VaultTest, TheDiskHasNeitherTextNorSubject) {
  const std::string path = SegmentPath(Store(kPrompt).handle);
  EXPECT_THAT(Read(path), Not(HasSubstr("canary-prompt")));
  EXPECT_THAT(Read(path), Not(HasSubstr("anna")));
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(VaultTest, EveryAlteredByteIsSeen) {
  const Vault::Put put = Store(kPrompt);
  const std::string path = SegmentPath(put.handle);
  const std::string bytes = Read(path);
  for (size_t i = vault_format::kSegmentHeader.size(); i < bytes.size(); ++i) {
    std::string altered = bytes;
    altered[i] = static_cast<char>(altered[i] ^ 0x01);
    Write(path, altered);
    EXPECT_FALSE(vault_->Open(put.handle).ok()) << i;
  }
}

// The checksum is for torn writes; whoever mends it still meets the seals.
TEST_F(VaultTest, AnEnvelopeOfAnotherRecordDoesNotOpen) {
  const Vault::Put put = Store(kPrompt);
  const std::string path = SegmentPath(put.handle);
  const std::string bytes = Read(path);
  const auto frame =
      *vault_format::Decode(std::string_view(bytes).substr(vault_format::kSegmentHeader.size()));
  const auto with = [&](const std::function<void(VaultEnvelope&)>& change) {
    VaultEnvelope envelope = frame.envelope;
    change(envelope);
    Write(path,
          std::string(vault_format::kSegmentHeader) +
              vault_format::Encode(envelope, frame.sealed_key, frame.sealed_payload));
    return vault_->Open(put.handle).status();
  };
  EXPECT_TRUE(with([](VaultEnvelope&) {}).ok());
  EXPECT_EQ(with([](VaultEnvelope& e) { e.rid = "01K"; }).code(), StatusCode::kDataLoss);
  EXPECT_EQ(with([](VaultEnvelope& e) { e.tenant = "acmf"; }).code(), StatusCode::kDataLoss);
  EXPECT_EQ(with([](VaultEnvelope& e) { e.origin = "x"; }).code(), StatusCode::kDataLoss);
  EXPECT_EQ(with([](VaultEnvelope& e) { e.direction = VaultDirection::kOutput; }).code(),
            StatusCode::kDataLoss);
  const std::string other = keys_->KeyForSealing(kBert)->key_id;
  EXPECT_EQ(with([&](VaultEnvelope& e) { e.key_id = other; }).code(), StatusCode::kDataLoss);
}

TEST_F(VaultTest, ATornEndCostsNothingButItself) {
  const Vault::Put first = Store("first");
  const Vault::Put second = Store("second");
  const std::string path = SegmentPath(second.handle);
  const std::string bytes = Read(path);
  const size_t second_at = std::stoul(second.handle.substr(second.handle.rfind(':') + 1));
  for (size_t size = 0; size < bytes.size(); ++size) {
    Write(path, std::string_view(bytes).substr(0, size));
    ASSERT_EQ(CountRecords(), size < second_at ? 0 : 1) << size;
  }
  Restart();
  const Vault::Put third = Store("third");
  EXPECT_NE(SegmentPath(third.handle), path);
  EXPECT_EQ(vault_->Open(third.handle)->payload, "third");
  EXPECT_EQ(vault_->Open(first.handle)->payload, "first");
  EXPECT_EQ(vault_->Open(second.handle).status().code(), StatusCode::kDataLoss);
}

TEST_F(VaultTest, DamageBeforeAWholeRecordIsNoTornEnd) {
  const Vault::Put first = Store("first");
  Store("second");
  const std::string path = SegmentPath(first.handle);
  std::string bytes = Read(path);
  bytes[vault_format::kSegmentHeader.size() + 40] ^= 1;
  Write(path, bytes);
  EXPECT_EQ(vault_->ForEach("acme", [](auto, const auto&) {}).code(), StatusCode::kDataLoss);
}

TEST_F(VaultTest, AnErasedSubjectsRecordsDoNotOpen) {
  const Vault::Put anna = Store(kPrompt);
  const Vault::Put bert = Store("bert's", kBert);
  ASSERT_TRUE(keys_->Destroy(kAnna, clock_.WallNow()).ok());
  EXPECT_EQ(vault_->Open(anna.handle).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(vault_->Open(bert.handle)->payload, "bert's");
}

TEST_F(VaultTest, HandlesThatLeadElsewhereAreRefused) {
  Store(kPrompt);
  for (const char* handle : {"",
                             ":0",
                             "a:0",
                             "../keystore.sqlite:0",
                             "/etc/passwd:0",
                             "a/../b:0",
                             "acme/x/y",
                             "acme/x/y:",
                             "acme/x/y:-1",
                             "acme/x/y:1x"}) {
    EXPECT_EQ(vault_->Open(handle).status().code(), StatusCode::kInvalidArgument) << handle;
  }
  EXPECT_EQ(vault_->Open("acme/20200101/none.vault:15").status().code(), StatusCode::kNotFound);
}

TEST_F(VaultTest, PurgeTakesWholeDaysThatAreNotHeld) {
  const Vault::Put old = Store("old");
  clock_.Advance(kDay);
  const Vault::Put held = Store("held", kBert, "01HELD");
  clock_.Advance(kDay);
  const Vault::Put recent = Store("recent");
  const auto is_held = [](std::string_view, const VaultEnvelope& envelope) {
    return envelope.rid == "01HELD";
  };
  const auto purged = vault_->Purge("acme", clock_.WallNow(), is_held);
  ASSERT_TRUE(purged.ok()) << purged.status();
  EXPECT_EQ(purged->days, 1u);
  EXPECT_EQ(purged->days_held, 1u);
  EXPECT_EQ(vault_->Open(old.handle).status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(vault_->Open(held.handle).ok());
  EXPECT_TRUE(vault_->Open(recent.handle).ok());
}

// docs/formats/vault.md shows these bytes.
TEST(VaultFormat, GoldenBytes) {
  const VaultEnvelope envelope{.rid = "01JD",
                               .tenant = "acme",
                               .origin = "example.org/log",
                               .direction = VaultDirection::kOutput,
                               .key_id = "0123456789abcdef"};
  const std::string frame =
      vault_format::Encode(envelope, std::string(92, 'k'), std::string(28, 'p'));
  EXPECT_EQ(HexOf(frame.substr(0, 63)),
            "49565231a7000000c827c2d3da9cb6b3010230313233343536373839616263646566040030314a44040061"
            "636d650f006578616d706c652e6f72672f6c6f67");
  EXPECT_EQ(frame.substr(63), std::string(92, 'k') + std::string(28, 'p'));
  EXPECT_EQ(vault_format::kSegmentHeader, "inferd vault 1\n");
}

}  // namespace
}  // namespace inferd
