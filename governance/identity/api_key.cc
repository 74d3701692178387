#include "governance/identity/api_key.h"

#include <openssl/crypto.h>

#include <algorithm>

#include "base/check.h"
#include "base/crc32c.h"

namespace inferd {
namespace {

constexpr std::string_view kDigits =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kEnvironmentBytes = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr size_t kEnvironmentBytesMax = 16;
constexpr size_t kSecretBytes = 43;  // 62^43 > 2^256
constexpr size_t kChecksumBytes = 6;
constexpr std::string_view kPrefix = "ik_";

std::string RandomDigits(size_t count) {
  // Bytes that would make the first digits more likely are thrown away.
  constexpr int kFair = 256 - 256 % 62;
  std::string digits;
  while (digits.size() < count) {
    for (const char byte : RandomBytes(count)) {
      const int value = static_cast<unsigned char>(byte);
      if (value < kFair && digits.size() < count) {
        digits.push_back(kDigits[static_cast<size_t>(value % 62)]);
      }
    }
  }
  return digits;
}

std::string Checksum(std::string_view text) {
  std::string digits(kChecksumBytes, '0');
  uint32_t crc = Crc32c(text);
  for (size_t i = kChecksumBytes; i > 0; --i) {
    digits[i - 1] = kDigits[crc % 62];
    crc /= 62;
  }
  return digits;
}

// Takes what stands before the next underscore.
std::optional<std::string_view> TakePart(std::string_view& text) {
  const size_t end = text.find('_');
  if (end == std::string_view::npos) {
    return std::nullopt;
  }
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(end + 1);
  return part;
}

bool HasOnly(std::string_view text, std::string_view allowed) {
  return text.find_first_not_of(allowed) == std::string_view::npos;
}

// The id of a key's text; nullopt if it is none.
std::optional<std::string_view> IdOf(std::string_view text) {
  if (!text.starts_with(kPrefix)) {
    return std::nullopt;
  }
  std::string_view rest = text.substr(kPrefix.size());
  const auto environment = TakePart(rest);
  const auto id = TakePart(rest);
  const auto secret = TakePart(rest);
  if (!environment || environment->empty() || environment->size() > kEnvironmentBytesMax ||
      !HasOnly(*environment, kEnvironmentBytes) || !id || id->size() != kApiKeyIdBytes ||
      !HasOnly(*id, kDigits) || !secret || secret->size() != kSecretBytes ||
      !HasOnly(*secret, kDigits) || rest.size() != kChecksumBytes ||
      rest != Checksum(text.substr(0, text.size() - kChecksumBytes - 1))) {
    return std::nullopt;
  }
  return id;
}

// In the order of the ids.
unsigned __int128 AsNumber(std::string_view id) {
  unsigned __int128 number = 0;
  for (const char c : id) {
    number = (number << 8) | static_cast<unsigned char>(c);
  }
  return number;
}

Digest MacOf(const SecretKey& pepper, std::string_view text) {
  return HmacSha256(pepper, text.substr(0, text.size() - kChecksumBytes - 1));
}

Status Unknown() {
  return Status(StatusCode::kUnauthenticated, "this is no API key that is in use here");
}

}  // namespace

bool IsApiKeyText(std::string_view text) { return IdOf(text).has_value(); }

std::string MakeApiKey(const SecretKey& pepper, ApiKey& key) {
  CHECK(!key.environment.empty() && key.environment.size() <= kEnvironmentBytesMax &&
        HasOnly(key.environment, kEnvironmentBytes));
  key.id = RandomDigits(kApiKeyIdBytes);
  std::string text =
      std::string(kPrefix) + key.environment + '_' + key.id + '_' + RandomDigits(kSecretBytes);
  text += '_' + Checksum(text);
  key.mac = MacOf(pepper, text);
  return text;
}

ApiKeyRing::ApiKeyRing(std::vector<ApiKey> keys, const SecretKey& pepper)
    : pepper_(pepper), keys_(std::move(keys)) {
  std::sort(
      keys_.begin(), keys_.end(), [](const ApiKey& a, const ApiKey& b) { return a.id < b.id; });
  slots_.resize(keys_.size() + 1);
  for (size_t i = 0; i < keys_.size(); ++i) {
    CHECK(keys_[i].id.size() == kApiKeyIdBytes && (i == 0 || keys_[i - 1].id < keys_[i].id));
    slots_[i] = {.id = AsNumber(keys_[i].id), .mac = keys_[i].mac};
  }
  // Behind all others, and no key's.
  slots_.back().id = ~static_cast<unsigned __int128>(0);
}

// A known id with a wrong secret and an unknown id do the same: as many steps of the search, a slot
// of the same kind at its end, both comparisons over all bytes, one branch on both.
StatusOr<const ApiKey*> ApiKeyRing::Verify(std::string_view text,
                                           WallTime now,
                                           std::string_view source_address) const {
  const std::optional<std::string_view> id = IdOf(text);
  if (!id) {
    return Unknown();
  }
  const Digest mac = MacOf(pepper_, text);
  const unsigned __int128 wanted = AsNumber(*id);
  size_t first = 0;
  for (size_t size = slots_.size(); size > 1; size -= size / 2) {
    const size_t middle = first + size / 2;
    // The last slot that is not behind the id.
    first = slots_[middle].id <= wanted ? middle : first;
  }
  const Slot& slot = slots_[first];
  const int other_id = CRYPTO_memcmp(&slot.id, &wanted, sizeof(wanted));
  const int other_mac = CRYPTO_memcmp(slot.mac.bytes.data(), mac.bytes.data(), mac.bytes.size());
  if ((other_id | other_mac) != 0) {
    return Unknown();
  }
  const ApiKey& key = keys_[first];
  const auto refuse = [&key](std::string_view why) {
    return ErrorF(StatusCode::kUnauthenticated, "API key %s %s", key.id, why);
  };
  if (key.revoked) {
    return refuse("is revoked");
  }
  if (now >= key.expires) {
    return refuse("has expired");
  }
  const bool from_here =
      key.sources.empty() ||
      std::any_of(key.sources.begin(), key.sources.end(), [&](const Network& network) {
        return network.Contains(source_address);
      });
  if (!from_here) {
    return refuse("may not be used from this address");
  }
  key.use->Note(now);
  return &key;
}

}  // namespace inferd
