#include "governance/registry/model_signature.h"

#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/pem.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/file.h"
#include "base/sha256.h"
#include "governance/keys/openssl_owners.h"
#include "governance/verify/base64.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

struct KeyPair {
  std::string private_pem, public_pem;
};

std::string TextOf(BIO* memory) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory, &data);
  return {data, static_cast<size_t>(size)};
}

KeyPair MakeKeyPair(const char* curve) {
  const PrivateKeyPtr key(EVP_EC_gen(curve));
  const BioPtr secret(BIO_new(BIO_s_mem()));
  const BioPtr shown(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  PEM_write_bio_PUBKEY(shown.get(), key.get());
  return {TextOf(secret.get()), TextOf(shown.get())};
}

ModelStatement TwoFiles() {
  ModelStatement statement;
  statement.name = "tiny";
  statement.serialization.ignore_paths = {"model.sig"};
  statement.resources = {{"a/b:0:5", Sha256Of("a")}, {"c:0:1", Sha256Of("c")}};
  statement.root = RootDigest(statement.resources);
  return statement;
}

// A vector of the specification; nullopt where the shared data are absent.
std::optional<std::string> Vector(const std::string& name) {
  const std::filesystem::path folder = INFERD_SOURCE_DIR "/../shared/data/oms";
  if (!std::filesystem::exists(folder)) {
    return std::nullopt;
  }
  return ReadFile((folder / name).string(), 1 << 20).value();
}

TEST(ModelSignatureTest, EveryCurveSignsAndOnlyItsKeyVerifies) {
  const KeyPair other = MakeKeyPair("P-256");
  for (const char* curve : {"P-256", "P-384", "P-521"}) {
    const KeyPair pair = MakeKeyPair(curve);
    const auto bundle = SignModel(TwoFiles(), pair.private_pem);
    ASSERT_TRUE(bundle.ok()) << bundle.status();
    const auto signature = ParseModelSignature(*bundle);
    ASSERT_TRUE(signature.ok()) << signature.status();
    EXPECT_EQ(signature->statement, TwoFiles());
    const auto who = VerifyModelSignature(
        *signature, {.public_keys = {other.public_pem, pair.public_pem}, .authorities = ""});
    ASSERT_TRUE(who.ok()) << curve << who.status();
    EXPECT_EQ(*who, "key " + Sha256Of(pair.public_pem).Hex());
    EXPECT_EQ(
        VerifyModelSignature(*signature, {.public_keys = {other.public_pem}, .authorities = ""})
            .status()
            .code(),
        StatusCode::kPermissionDenied);
  }
}

TEST(ModelSignatureTest, AKeyOfAnotherKindIsRefused) {
  const PrivateKeyPtr key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  const BioPtr secret(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  EXPECT_EQ(SignModel(TwoFiles(), TextOf(secret.get())).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(SignModel(TwoFiles(), MakeKeyPair("secp256k1").private_pem).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(ModelSignatureTest, NoByteOfThePayloadCanChange) {
  const KeyPair pair = MakeKeyPair("P-256");
  const Json bundle = Json::parse(SignModel(TwoFiles(), pair.private_pem).value());
  const ModelTrust trust{.public_keys = {pair.public_pem}, .authorities = ""};
  const std::string payload =
      DecodeBase64(bundle["dsseEnvelope"]["payload"].get<std::string>()).value();
  for (size_t i = 0; i < payload.size(); ++i) {
    std::string changed = payload;
    changed[i] ^= 1;
    Json other = bundle;
    other["dsseEnvelope"]["payload"] = EncodeBase64(changed);
    const auto signature = ParseModelSignature(other.dump());
    EXPECT_FALSE(signature.ok() && VerifyModelSignature(*signature, trust).ok()) << i;
  }
}

TEST(ModelSignatureTest, TheSpecificationsVectors) {
  if (!Vector("valid/key.bundle.json")) {
    GTEST_SKIP() << "shared/data is not here";
  }
  for (const char* name : {"valid/key.bundle.json", "valid/certificate.bundle.json"}) {
    const auto signature = ParseModelSignature(*Vector(name));
    ASSERT_TRUE(signature.ok()) << name << signature.status();
    EXPECT_EQ(signature->statement.resources.size(), 2U);
    EXPECT_EQ(signature->statement.serialization.method, ModelSerialization::Method::kFiles);
  }
  EXPECT_EQ(ParseModelSignature(*Vector("valid/sigstore.bundle.json")).status().code(),
            StatusCode::kUnimplemented);
  for (const char* name : {"invalid/empty.bundle.json",
                           "invalid/missing-envelope.bundle.json",
                           "invalid/missing-verification-material.bundle.json",
                           "invalid-payload/wrong-predicate.bundle.json"}) {
    EXPECT_EQ(ParseModelSignature(*Vector(name)).status().code(), StatusCode::kInvalidArgument)
        << name;
  }
}

// The vector comes without its root, so the last certificate of its chain stands in for one.
TEST(ModelSignatureTest, CertificatesVerifyUnderTheirAuthorityAlone) {
  const auto text = Vector("valid/certificate.bundle.json");
  if (!text) {
    GTEST_SKIP() << "shared/data is not here";
  }
  const auto signature = ParseModelSignature(*text);
  ASSERT_TRUE(signature.ok());
  EXPECT_EQ(VerifyModelSignature(*signature, {}).status().code(), StatusCode::kPermissionDenied);
  const std::string& der = signature->certificates.back();
  const auto* at = static_cast<const unsigned char*>(static_cast<const void*>(der.data()));
  const CertificatePtr last(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  const BioPtr pem(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(pem.get(), last.get());
  const ModelTrust trust{.public_keys = {}, .authorities = TextOf(pem.get())};
  const auto who = VerifyModelSignature(*signature, trust);
  ASSERT_TRUE(who.ok()) << who.status();
  EXPECT_EQ(who->substr(0, 12), "certificate ");
  ModelSignature changed = *signature;
  changed.payload += ' ';
  EXPECT_EQ(VerifyModelSignature(changed, trust).status().code(), StatusCode::kPermissionDenied);
}

TEST(ModelStatementTest, NamesStayInsideTheModel) {
  for (const char* name : {"/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", ""}) {
    ModelStatement statement = TwoFiles();
    statement.serialization = {.method = ModelSerialization::Method::kFiles};
    statement.resources = {{name, Sha256Of("a")}};
    statement.root = RootDigest(statement.resources);
    EXPECT_FALSE(ParseModelStatement(FormatModelStatement(statement)).ok()) << name;
  }
  for (const char* name : {"a", "a:0", "a:0:0", "a:5:4", "a:00:4", "a:b:0:4", ":0:4", "../a:0:4"}) {
    ModelStatement statement = TwoFiles();
    statement.resources = {{name, Sha256Of("a")}};
    statement.root = RootDigest(statement.resources);
    EXPECT_FALSE(ParseModelStatement(FormatModelStatement(statement)).ok()) << name;
  }
  ModelStatement twice = TwoFiles();
  twice.resources.push_back(twice.resources.front());
  twice.root = RootDigest(twice.resources);
  EXPECT_FALSE(ParseModelStatement(FormatModelStatement(twice)).ok());
  ModelStatement another_root = TwoFiles();
  another_root.root = Sha256Of("x");
  EXPECT_FALSE(ParseModelStatement(FormatModelStatement(another_root)).ok());
}

}  // namespace
}  // namespace inferd
