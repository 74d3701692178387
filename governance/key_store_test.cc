// Goal: keys come back only under the right root key and place, a destroyed key is gone from every
// byte of the store, and secrets' files are refused unless they are their owner's alone. Method:
// real files in a folder of the test; the store's bytes searched for blobs that a copy held before.
#include "governance/key_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "governance/audit/canonical_json.h"
#include "governance/keys/secret_files.h"
#include "governance/vault_text.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

SecretKey TestKey(char fill) { return *SecretKey::From(std::string(SecretKey::kBytes, fill)); }

std::unique_ptr<KeyStore> OpenStore(const TempFolder& folder, char root = 'r') {
  auto store = KeyStore::Open(folder / "keystore.sqlite", TestKey(root));
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

// All bytes of the store's files.
std::string StoreBytes(const TempFolder& folder) {
  std::string all;
  for (const char* name : {"keystore.sqlite", "keystore.sqlite-wal"}) {
    const auto bytes = ReadFile(folder / name, 1 << 24);
    all += bytes.ok() ? *bytes : "";
  }
  return all;
}

// The wrapped keys in a copy of the store.
std::vector<std::string> WrappedIn(const std::string& path, const char* sql) {
  std::vector<std::string> blobs;
  auto copy = Sqlite::Open(path);
  EXPECT_TRUE(copy.ok()) << copy.status();
  auto select = (*copy)->Prepare(sql);
  EXPECT_TRUE(select.ok()) << select.status();
  for (auto row = select->Step(); row.ok() && *row; row = select->Step()) {
    blobs.emplace_back(select->Blob(0));
  }
  return blobs;
}

constexpr WallTime kNow{std::chrono::hours(24 * 365 * 50)};
const SubjectRef kAnna{.tenant = "acme", .subject = "anna"};
const SubjectRef kBert{.tenant = "acme", .subject = "bert"};
const SubjectRef kCara{.tenant = "blau", .subject = "cara"};

TEST(Aead, OpensOnlyWithItsKeyAndPlace) {
  const SecretKey key = SecretKey::Random();
  const std::string sealed = AeadSeal(key, "here", "secret text");
  EXPECT_THAT(sealed, Not(HasSubstr("secret text")));
  EXPECT_EQ(*AeadOpen(key, "here", sealed), "secret text");
  EXPECT_EQ(AeadOpen(key, "there", sealed).status().code(), StatusCode::kDataLoss);
  EXPECT_FALSE(AeadOpen(SecretKey::Random(), "here", sealed).ok());
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string altered = sealed;
    altered[i] = static_cast<char>(altered[i] ^ 1);
    EXPECT_FALSE(AeadOpen(key, "here", altered).ok()) << i;
  }
  for (size_t size = 0; size < sealed.size(); ++size) {
    EXPECT_FALSE(AeadOpen(key, "here", std::string_view(sealed).substr(0, size)).ok()) << size;
  }
  EXPECT_EQ(*AeadOpen(key, "", AeadSeal(key, "", "")), "");
}

// NIST GCM test vector: AES-256, zero key, zero nonce, one zero block (gcm-revised-spec, case 14).
TEST(Aead, KnownAnswer) {
  const std::string sealed =
      std::string(kAeadNonceBytes, '\0') +
      *BytesOfHex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
  EXPECT_EQ(*AeadOpen(TestKey('\0'), "", sealed), std::string(16, '\0'));
}

TEST(SubjectHash, IsKeyedAndPerTenant) {
  EXPECT_EQ(SubjectHash(TestKey('p'), "acme", ""), "");
  EXPECT_NE(SubjectHash(TestKey('p'), "acme", "anna"), SubjectHash(TestKey('q'), "acme", "anna"));
  EXPECT_NE(SubjectHash(TestKey('p'), "acme", "anna"), SubjectHash(TestKey('p'), "blau", "anna"));
  EXPECT_EQ(SubjectHash(TestKey('p'), "acme", "anna").size(), 43u);
}

TEST(KeyStore, ASubjectKeepsItsKeyOverARestart) {
  const TempFolder folder;
  std::string key_id, key;
  {
    const auto store = OpenStore(folder);
    const auto first = store->KeyForSealing(kAnna);
    ASSERT_TRUE(first.ok()) << first.status();
    key_id = first->key_id;
    key = first->key.bytes();
    EXPECT_EQ(store->KeyForSealing(kAnna)->key_id, key_id);
    EXPECT_NE(store->KeyForSealing(kBert)->key_id, key_id);
  }
  const auto store = OpenStore(folder);
  EXPECT_EQ(store->KeyForSealing(kAnna)->key_id, key_id);
  EXPECT_EQ(store->KeyForOpening(key_id)->bytes(), key);
  EXPECT_EQ(*store->KeyIdOf(kAnna), key_id);
}

TEST(KeyStore, AnotherRootKeyDoesNotOpenIt) {
  const TempFolder folder;
  OpenStore(folder);
  const auto store = KeyStore::Open(folder / "keystore.sqlite", TestKey('x'));
  EXPECT_EQ(store.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(store.status())), HasSubstr("root.kek"));
}

TEST(KeyStore, ASecondProcessIsRefused) {
  const TempFolder folder;
  const auto store = OpenStore(folder);
  EXPECT_EQ(KeyStore::Open(folder / "keystore.sqlite", TestKey('r')).status().code(),
            StatusCode::kFailedPrecondition);
}

TEST(KeyStore, DestroyTakesOneSubjectAndRotates) {
  const TempFolder folder;
  const auto store = OpenStore(folder);
  const std::string anna = store->KeyForSealing(kAnna)->key_id;
  const auto bert = store->KeyForSealing(kBert);
  const auto cara = store->KeyForSealing(kCara);
  const auto destroyed = store->Destroy(kAnna, kNow);
  ASSERT_TRUE(destroyed.ok()) << destroyed.status();
  EXPECT_EQ(destroyed->key_id, anna);
  EXPECT_EQ(destroyed->epoch, 2);
  EXPECT_EQ(store->epoch(), 2);
  EXPECT_EQ(store->KeyForOpening(anna).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(*store->EpochOfDestruction(anna), 2);
  EXPECT_EQ(store->EpochOfDestruction(bert->key_id).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store->KeyForOpening(bert->key_id)->bytes(), bert->key.bytes());
  EXPECT_EQ(store->KeyForOpening(cara->key_id)->bytes(), cara->key.bytes());
  EXPECT_EQ(store->Destroy(kAnna, kNow).status().code(), StatusCode::kNotFound);
  EXPECT_NE(store->KeyForSealing(kAnna)->key_id, anna);
}

TEST(KeyStore, NothingOfADestroyedKeyStaysInTheFiles) {
  const TempFolder folder;
  auto store = OpenStore(folder);
  for (int i = 0; i < 40; ++i) {  // several pages
    ASSERT_TRUE(
        store->KeyForSealing({.tenant = "acme", .subject = "other-" + std::to_string(i)}).ok());
  }
  ASSERT_TRUE(store->KeyForSealing(kAnna).ok());
  ASSERT_TRUE(store->KeyForSealing(kCara).ok());
  const std::string copy = *store->Backup(folder.path(), kNow);
  std::vector<std::string> gone =
      WrappedIn(copy, "SELECT wrapped FROM subjects WHERE subject='anna'");
  for (const char* upper : {"SELECT wrapped FROM tenants", "SELECT wrapped FROM epochs"}) {
    const auto blobs = WrappedIn(copy, upper);
    gone.insert(gone.end(), blobs.begin(), blobs.end());
  }
  ASSERT_EQ(gone.size(), 4u);
  for (const std::string& blob : gone) {
    EXPECT_THAT(StoreBytes(folder), HasSubstr(blob));
  }
  ASSERT_TRUE(store->Destroy(kAnna, kNow).ok());
  for (const std::string& blob : gone) {
    EXPECT_THAT(StoreBytes(folder), Not(HasSubstr(blob)));
  }
  store.reset();
  for (const std::string& blob : gone) {
    EXPECT_THAT(StoreBytes(folder), Not(HasSubstr(blob)));
  }
}

TEST(KeyStore, ABlobInAnotherRowDoesNotOpen) {
  const TempFolder folder;
  std::string anna;
  {
    const auto store = OpenStore(folder);
    anna = store->KeyForSealing(kAnna)->key_id;
    ASSERT_TRUE(store->KeyForSealing(kBert).ok());
  }
  {
    auto raw = Sqlite::Open(folder / "keystore.sqlite");
    ASSERT_TRUE(raw.ok());
    ASSERT_TRUE((*raw)
                    ->Execute("UPDATE subjects SET wrapped="
                              "(SELECT wrapped FROM subjects WHERE subject='bert')")
                    .ok());
  }
  EXPECT_EQ(OpenStore(folder)->KeyForOpening(anna).status().code(), StatusCode::kDataLoss);
}

TEST(KeyStore, BackupsExpireAfterThirtyDays) {
  const TempFolder folder;
  const auto store = OpenStore(folder);
  const std::string old = *store->Backup(folder.path(), kNow);
  struct stat info = {};
  ASSERT_EQ(stat(old.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const auto day = std::chrono::hours(24);
  const std::string recent = *store->Backup(folder.path(), kNow + 20 * day);
  EXPECT_TRUE(std::filesystem::exists(old));
  EXPECT_EQ(*KeyStore::ExpireBackups(folder.path(), kNow + 29 * day), 0u);
  EXPECT_EQ(KeyStore::NewestBackup(folder.path()), kNow + 20 * day);
  EXPECT_EQ(*KeyStore::ExpireBackups(folder.path(), kNow + 31 * day), 1u);
  EXPECT_FALSE(std::filesystem::exists(old));
  EXPECT_TRUE(std::filesystem::exists(recent));
  EXPECT_TRUE(std::filesystem::exists(folder / "keystore.sqlite"));
}

TEST(SecretFile, RoundTrip) {
  const TempFolder folder;
  const SecretKey key = SecretKey::Random();
  ASSERT_TRUE(WriteKeyFile(folder / "root.kek", key).ok());
  EXPECT_EQ(ReadKeyFile(folder / "root.kek")->bytes(), key.bytes());
  EXPECT_EQ(WriteKeyFile(folder / "root.kek", key).code(), StatusCode::kAlreadyExists);
}

TEST(SecretFile, ModesThatOthersCouldReadAreRefused) {
  const TempFolder folder;
  const std::string path = folder / "root.kek";
  ASSERT_TRUE(WriteKeyFile(path, SecretKey::Random()).ok());
  for (const mode_t mode : {0644u, 0640u, 0604u, 0660u, 0700u, 0602u}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    EXPECT_EQ(ReadKeyFile(path).status().code(), StatusCode::kFailedPrecondition) << mode;
  }
  ASSERT_EQ(chmod(path.c_str(), 0400), 0);
  EXPECT_TRUE(ReadKeyFile(path).ok());
  std::filesystem::create_symlink(path, folder / "link");
  EXPECT_FALSE(ReadKeyFile(folder / "link").ok());
  EXPECT_EQ(ReadKeyFile(folder / "none").status().code(), StatusCode::kNotFound);
}

TEST(SecretFile, ACredentialGoesFirst) {
  const TempFolder keys, credentials;
  ASSERT_TRUE(WriteKeyFile(keys / "root.kek", TestKey('k')).ok());
  EXPECT_EQ(SecretFilePath(keys.path(), "root.kek"), keys / "root.kek");
  setenv("CREDENTIALS_DIRECTORY", credentials.path().c_str(), 1);
  EXPECT_EQ(SecretFilePath(keys.path(), "root.kek"), keys / "root.kek");
  ASSERT_TRUE(WriteKeyFile(credentials / "root.kek", TestKey('c')).ok());
  const std::string path = SecretFilePath(keys.path(), "root.kek");
  EXPECT_EQ(path, credentials / "root.kek");
  ASSERT_EQ(chmod(path.c_str(), 0440), 0);  // as an access list shows
  EXPECT_EQ(ReadKeyFile(path)->bytes(), TestKey('c').bytes());
  ASSERT_EQ(chmod(path.c_str(), 0444), 0);
  EXPECT_FALSE(ReadKeyFile(path).ok());
  unsetenv("CREDENTIALS_DIRECTORY");
}

TEST(SecretFile, BrokenContentIsRefusedWithoutShowingIt) {
  const TempFolder folder;
  const std::string bad[] = {"", "\n", std::string(64, 'a'), std::string(64, 'G') + "\n"};
  for (size_t i = 0; i < std::size(bad); ++i) {
    const std::string path = folder / std::to_string(i);
    ASSERT_TRUE(WriteSecretFile(path, bad[i]).ok());
    const auto key = ReadKeyFile(path);
    EXPECT_EQ(key.status().code(), StatusCode::kFailedPrecondition) << i;
    EXPECT_THAT(std::string(Message(key.status())), Not(HasSubstr("GGG")));
  }
}

TEST(VaultText, TimesRoundTrip) {
  const WallTime time = *ParseTime("2026-11-21T13:35:22.000001Z");
  EXPECT_EQ(Rfc3339Micros(time), "2026-11-21T13:35:22.000001Z");
  EXPECT_EQ(DayText(time), "20261121");
  EXPECT_EQ(Rfc3339Micros(*ParseTime("2028-02-29")), "2028-02-29T00:00:00.000000Z");
  for (const char* bad : {"",
                          "2026",
                          "2026-02-30",
                          "2026-11-21T",
                          "2026-11-21T25:00:00Z",
                          "2026-11-21T13:35:22",
                          "2026-11-21T13:35:22Zx",
                          "2026-13-01"}) {
    EXPECT_FALSE(ParseTime(bad).ok()) << bad;
  }
}

TEST(VaultText, FolderNamesAreSafeAndDistinct) {
  EXPECT_EQ(FolderName("local"), "local");
  EXPECT_EQ(FolderName(".."), "%2E%2E");
  EXPECT_EQ(FolderName("a/b"), "a%2Fb");
  EXPECT_EQ(FolderName(""), "%");
  EXPECT_NE(FolderName("a%2Fb"), FolderName("a/b"));
}

}  // namespace
}  // namespace inferd
