#include "governance/keys/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <memory>

#include "base/check.h"

namespace inferd {
namespace {

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Bytes(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

int Size(std::string_view text) { return static_cast<int>(text.size()); }

}  // namespace

SecretKey::~SecretKey() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

SecretKey::SecretKey(SecretKey&& other) noexcept : bytes_(other.bytes_) {
  OPENSSL_cleanse(other.bytes_.data(), other.bytes_.size());
}

SecretKey& SecretKey::operator=(SecretKey&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

SecretKey SecretKey::Random() {
  SecretKey key;
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(key.bytes_.data()), kBytes) == 1);
  return key;
}

StatusOr<SecretKey> SecretKey::From(std::string_view bytes) {
  if (bytes.size() != kBytes) {
    return ErrorF(StatusCode::kInvalidArgument, "a key has %d bytes", kBytes);
  }
  SecretKey key;
  std::copy(bytes.begin(), bytes.end(), key.bytes_.begin());
  return key;
}

std::string RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  CHECK(RAND_bytes(Bytes(bytes), static_cast<int>(count)) == 1);
  return bytes;
}

void Cleanse(std::string& secret) {
  OPENSSL_cleanse(secret.data(), secret.size());
  secret.clear();
}

std::string AeadSeal(const SecretKey& key,
                     std::string_view associated_data,
                     std::string_view plaintext) {
  std::string sealed = RandomBytes(kAeadNonceBytes);
  sealed.resize(kAeadOverheadBytes + plaintext.size());
  const Context context(EVP_CIPHER_CTX_new());
  CHECK(context != nullptr);
  unsigned char* const out = Bytes(sealed);
  unsigned char* const text = out + kAeadNonceBytes;
  unsigned char* const tag = text + plaintext.size();
  int size = 0;
  CHECK(EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Bytes(key.bytes()), out));
  CHECK(EVP_EncryptUpdate(
      context.get(), nullptr, &size, Bytes(associated_data), Size(associated_data)));
  CHECK(EVP_EncryptUpdate(context.get(), text, &size, Bytes(plaintext), Size(plaintext)));
  CHECK(EVP_EncryptFinal_ex(context.get(), tag, &size));
  CHECK(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kAeadTagBytes, tag));
  return sealed;
}

StatusOr<std::string> AeadOpen(const SecretKey& key,
                               std::string_view associated_data,
                               std::string_view sealed) {
  const Status refused = ErrorF(StatusCode::kDataLoss,
                                "an encrypted record does not open: it was altered, or belongs to "
                                "another key or place");
  if (sealed.size() < kAeadOverheadBytes) {
    return refused;
  }
  const std::string_view text = sealed.substr(kAeadNonceBytes, sealed.size() - kAeadOverheadBytes);
  std::string tag(sealed.substr(sealed.size() - kAeadTagBytes));
  std::string plaintext(text.size(), '\0');
  const Context context(EVP_CIPHER_CTX_new());
  CHECK(context != nullptr);
  int size = 0;
  CHECK(EVP_DecryptInit_ex(
      context.get(), EVP_aes_256_gcm(), nullptr, Bytes(key.bytes()), Bytes(sealed)));
  CHECK(EVP_DecryptUpdate(
      context.get(), nullptr, &size, Bytes(associated_data), Size(associated_data)));
  CHECK(EVP_DecryptUpdate(context.get(), Bytes(plaintext), &size, Bytes(text), Size(text)));
  CHECK(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kAeadTagBytes, Bytes(tag)));
  if (EVP_DecryptFinal_ex(context.get(), Bytes(tag), &size) != 1) {
    Cleanse(plaintext);
    return refused;
  }
  return plaintext;
}

Digest HmacSha256(const SecretKey& key, std::string_view message) {
  Digest digest;
  unsigned int size = 0;
  CHECK(HMAC(EVP_sha256(),
             key.bytes().data(),
             SecretKey::kBytes,
             Bytes(message),
             message.size(),
             digest.bytes.data(),
             &size) != nullptr);
  return digest;
}

}  // namespace inferd
