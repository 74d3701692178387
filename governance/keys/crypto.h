// The cryptography of the key store and the vault: AES-256-GCM, HMAC-SHA-256 and random bytes, all
// OpenSSL's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/status.h"

namespace inferd {

// A 256-bit secret. Movable, never copied; its memory is overwritten when it goes.
class SecretKey {
 public:
  static constexpr size_t kBytes = 32;

  SecretKey() = default;
  ~SecretKey();
  SecretKey(SecretKey&& other) noexcept;
  SecretKey& operator=(SecretKey&& other) noexcept;

  static SecretKey Random();
  // `bytes` are kBytes long, else kInvalidArgument. The caller cleans its own copy.
  static StatusOr<SecretKey> From(std::string_view bytes);

  std::string_view bytes() const { return {bytes_.data(), bytes_.size()}; }

 private:
  std::array<char, kBytes> bytes_{};
};

// From the operating system's generator by way of OpenSSL's. Aborts if there are none.
std::string RandomBytes(size_t count);

// Overwrites the string's bytes, then empties it.
void Cleanse(std::string& secret);

inline constexpr size_t kAeadNonceBytes = 12;
inline constexpr size_t kAeadTagBytes = 16;
inline constexpr size_t kAeadOverheadBytes = kAeadNonceBytes + kAeadTagBytes;

// AES-256-GCM (NIST SP 800-38D): nonce, ciphertext, tag, one after another. The nonce is random: at
// most 2^32 messages under one key (section 8.3), which a record's own key never comes near.
std::string AeadSeal(const SecretKey& key,
                     std::string_view associated_data,
                     std::string_view plaintext);
// kDataLoss if the bytes were not sealed with this key and associated data.
StatusOr<std::string> AeadOpen(const SecretKey& key,
                               std::string_view associated_data,
                               std::string_view sealed);

Digest HmacSha256(const SecretKey& key, std::string_view message);

}  // namespace inferd
