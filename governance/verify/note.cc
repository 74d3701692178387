#include "governance/verify/note.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <memory>

#include "base/check.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "governance/verify/base64.h"

namespace inferd {
namespace {

constexpr std::string_view kDash = "\xe2\x80\x94 ";  // em dash, space
constexpr std::string_view kSecretPrefix = "PRIVATE+KEY+";
constexpr size_t kKeyBytes = 32;
constexpr size_t kSignatureBytes = 64;
constexpr size_t kTimeBytes = 8;

struct PkeyDeleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct ContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Pkey = std::unique_ptr<EVP_PKEY, PkeyDeleter>;
using Context = std::unique_ptr<EVP_MD_CTX, ContextDeleter>;

const uint8_t* Bytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

std::string BigEndian(uint64_t value, size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = size; i-- > 0; value >>= 8) {
    bytes[i] = static_cast<char>(value & 0xff);
  }
  return bytes;
}

uint64_t FromBigEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (const char c : bytes) {
    value = value << 8 | static_cast<uint8_t>(c);
  }
  return value;
}

Status BadNote(const char* why) {
  return ErrorF(StatusCode::kInvalidArgument, "not a signed note: %s", why);
}

// Unicode spaces (property White_Space) beyond ASCII, in UTF-8.
bool HasUnicodeSpace(std::string_view text) {
  static constexpr std::string_view kSpaces[] = {"\xc2\x85",
                                                 "\xc2\xa0",
                                                 "\xe1\x9a\x80",
                                                 "\xe2\x80\x80",
                                                 "\xe2\x80\x81",
                                                 "\xe2\x80\x82",
                                                 "\xe2\x80\x83",
                                                 "\xe2\x80\x84",
                                                 "\xe2\x80\x85",
                                                 "\xe2\x80\x86",
                                                 "\xe2\x80\x87",
                                                 "\xe2\x80\x88",
                                                 "\xe2\x80\x89",
                                                 "\xe2\x80\x8a",
                                                 "\xe2\x80\xa8",
                                                 "\xe2\x80\xa9",
                                                 "\xe2\x80\xaf",
                                                 "\xe2\x81\x9f",
                                                 "\xe3\x80\x80"};
  return std::any_of(std::begin(kSpaces), std::end(kSpaces), [text](std::string_view space) {
    return text.find(space) != std::string_view::npos;
  });
}

bool IsKeyName(std::string_view name) {
  return !name.empty() && IsValidUtf8(name) && !HasUnicodeSpace(name) &&
         std::none_of(name.begin(), name.end(), [](char c) {
           return static_cast<unsigned char>(c) <= ' ' || c == '+' || c == 0x7f;
         });
}

StatusOr<NoteSignature> ParseSignatureLine(std::string_view line) {
  if (!line.starts_with(kDash)) {
    return BadNote("a signature line does not start with an em dash");
  }
  line.remove_prefix(kDash.size());
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || !IsKeyName(line.substr(0, space))) {
    return BadNote("a signature line has no key name");
  }
  const auto bytes = DecodeBase64(line.substr(space + 1));
  if (!bytes.ok() || bytes->size() < 5) {
    return BadNote("a signature is not base64");
  }
  const std::string_view id = std::string_view(*bytes).substr(0, 4);
  return NoteSignature{.name = std::string(line.substr(0, space)),
                       .key_id = static_cast<uint32_t>(FromBigEndian(id)),
                       .signature = bytes->substr(4)};
}

uint32_t KeyId(std::string_view name, NoteKeyType type, std::string_view public_key) {
  Sha256 sha;
  sha.Update(name);
  const char separator[] = {'\n', static_cast<char>(type)};
  sha.Update(std::string_view(separator, 2));
  sha.Update(public_key);
  const Digest digest = sha.Finish();
  return uint32_t{digest.bytes[0]} << 24 | uint32_t{digest.bytes[1]} << 16 |
         uint32_t{digest.bytes[2]} << 8 | digest.bytes[3];
}

std::string CosignedMessage(std::string_view text, uint64_t unix_seconds) {
  return absl::StrFormat("cosignature/v1\ntime %d\n%s", unix_seconds, text);
}

bool VerifyEd25519(std::string_view public_key,
                   std::string_view message,
                   std::string_view signature) {
  const Pkey key(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, Bytes(public_key), public_key.size()));
  const Context context(EVP_MD_CTX_new());
  return key != nullptr && context != nullptr &&
         EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
         EVP_DigestVerify(
             context.get(), Bytes(signature), signature.size(), Bytes(message), message.size()) ==
             1;
}

std::string SignEd25519(std::string_view seed, std::string_view message) {
  const Pkey key(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, Bytes(seed), seed.size()));
  const Context context(EVP_MD_CTX_new());
  CHECK(key != nullptr && context != nullptr);
  std::string signature(kSignatureBytes, '\0');
  size_t size = signature.size();
  CHECK(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1);
  CHECK(EVP_DigestSign(context.get(),
                       reinterpret_cast<uint8_t*>(signature.data()),
                       &size,
                       Bytes(message),
                       message.size()) == 1);
  return signature;
}

// A key's text form: `<name>+<hex id>+<base64 of type and key>`.
struct KeyText {
  std::string name;
  uint32_t key_id = 0;
  NoteKeyType type = NoteKeyType::kEd25519;
  std::string key{};
};

StatusOr<KeyText> ParseKeyText(std::string_view text) {
  const Status bad =
      ErrorF(StatusCode::kInvalidArgument, "a note key is written <name>+<8 hex digits>+<base64>");
  const size_t first = text.find('+');
  if (first == std::string_view::npos || text.size() < first + 10 || text[first + 9] != '+') {
    return bad;
  }
  KeyText key{.name = std::string(text.substr(0, first))};
  const std::string_view hex = text.substr(first + 1, 8);
  if (!IsKeyName(key.name) || hex.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    return bad;
  }
  for (const char c : hex) {
    key.key_id = key.key_id << 4 | static_cast<uint32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  ASSIGN_OR_RETURN(const std::string bytes, DecodeBase64(text.substr(first + 10)));
  if (bytes.size() != 1 + kKeyBytes) {
    return bad;
  }
  key.type = static_cast<NoteKeyType>(bytes[0]);
  if (key.type != NoteKeyType::kEd25519 && key.type != NoteKeyType::kEd25519Cosignature) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "note key %s: type %d is not Ed25519 (1) or its cosignatures (4)",
                  key.name,
                  static_cast<int>(static_cast<uint8_t>(bytes[0])));
  }
  key.key = bytes.substr(1);
  return key;
}

StatusOr<std::string> PublicKeyOf(std::string_view seed) {
  const Pkey key(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, Bytes(seed), seed.size()));
  std::string public_key(kKeyBytes, '\0');
  size_t size = public_key.size();
  if (key == nullptr || EVP_PKEY_get_raw_public_key(
                            key.get(), reinterpret_cast<uint8_t*>(public_key.data()), &size) != 1) {
    return ErrorF(StatusCode::kInternal, "libcrypto offers no Ed25519");
  }
  return public_key;
}

std::string Hex8(uint32_t id) { return absl::StrFormat("%08x", id); }

std::string TypedKey(NoteKeyType type, std::string_view key) {
  std::string bytes(1, static_cast<char>(type));
  return EncodeBase64(bytes.append(key));
}

}  // namespace

StatusOr<SignedNote> ParseNote(std::string_view note) {
  if (note.size() > kNoteBytesMax) {
    return BadNote("it is longer than a note may be");
  }
  if (!IsValidUtf8(note) || std::any_of(note.begin(), note.end(), [](char c) {
        return static_cast<unsigned char>(c) < 0x20 && c != '\n';
      })) {
    return BadNote("it has control characters or is not UTF-8");
  }
  const size_t blank = note.rfind("\n\n");
  if (blank == std::string_view::npos || !note.ends_with('\n')) {
    return BadNote("no blank line before signatures, or no newline at its end");
  }
  SignedNote parsed{.text = std::string(note.substr(0, blank + 1)), .signatures = {}};
  std::string_view rest = note.substr(blank + 2);
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    ASSIGN_OR_RETURN(NoteSignature signature, ParseSignatureLine(rest.substr(0, end)));
    parsed.signatures.push_back(std::move(signature));
    if (parsed.signatures.size() > kNoteSignaturesMax) {
      return BadNote("it has too many signatures");
    }
    rest.remove_prefix(end + 1);
  }
  if (parsed.signatures.empty()) {
    return BadNote("it has no signature");
  }
  return parsed;
}

std::string SignatureLine(const NoteSignature& signature) {
  std::string line(kDash);
  line += signature.name + ' ';
  return line + EncodeBase64(BigEndian(signature.key_id, 4) + signature.signature) + '\n';
}

NoteVerifier::NoteVerifier(std::string name, NoteKeyType type, std::string public_key)
    : name_(std::move(name)),
      type_(type),
      public_key_(std::move(public_key)),
      key_id_(KeyId(name_, type_, public_key_)) {}

StatusOr<NoteVerifier> NoteVerifier::Parse(std::string_view vkey) {
  ASSIGN_OR_RETURN(KeyText key, ParseKeyText(vkey));
  NoteVerifier verifier(std::move(key.name), key.type, std::move(key.key));
  if (verifier.key_id() != key.key_id) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "note key %s: its id is %s, the text says %s: it was changed",
                  verifier.name(),
                  Hex8(verifier.key_id()),
                  Hex8(key.key_id));
  }
  return verifier;
}

std::string NoteVerifier::VKey() const {
  return name_ + '+' + Hex8(key_id_) + '+' + TypedKey(type_, public_key_);
}

bool NoteVerifier::Matches(const NoteSignature& signature) const {
  return signature.name == name_ && signature.key_id == key_id_;
}

bool NoteVerifier::Verify(std::string_view text, const NoteSignature& signature) const {
  if (type_ == NoteKeyType::kEd25519) {
    return VerifyEd25519(public_key_, text, signature.signature);
  }
  const auto time = CosignatureTime(signature);
  return time.ok() && VerifyEd25519(public_key_,
                                    CosignedMessage(text, *time),
                                    std::string_view(signature.signature).substr(kTimeBytes));
}

StatusOr<uint64_t> CosignatureTime(const NoteSignature& signature) {
  const std::string_view bytes = signature.signature;
  const uint64_t time = FromBigEndian(bytes.substr(0, kTimeBytes));
  if (bytes.size() != kTimeBytes + kSignatureBytes || time == 0 || time >> 63 != 0) {
    return ErrorF(StatusCode::kInvalidArgument, "%s: not a cosignature", signature.name);
  }
  return time;
}

NoteSigner::NoteSigner(std::string name, NoteKeyType type, std::string seed, std::string public_key)
    : seed_(std::move(seed)), verifier_(std::move(name), type, std::move(public_key)) {}

NoteSigner::~NoteSigner() { OPENSSL_cleanse(seed_.data(), seed_.size()); }

StatusOr<NoteSigner> NoteSigner::Parse(std::string_view skey) {
  if (!skey.starts_with(kSecretPrefix)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a secret note key starts with %s: is this the public one?",
                  kSecretPrefix);
  }
  ASSIGN_OR_RETURN(KeyText key, ParseKeyText(skey.substr(kSecretPrefix.size())));
  ASSIGN_OR_RETURN(std::string public_key, PublicKeyOf(key.key));
  NoteSigner signer(std::move(key.name), key.type, std::move(key.key), std::move(public_key));
  if (signer.verifier().key_id() != key.key_id) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "secret note key %s: its id does not fit: it was changed",
                  signer.verifier().name());
  }
  return signer;
}

StatusOr<NoteSigner> NoteSigner::Generate(std::string name, NoteKeyType type) {
  if (!IsKeyName(name)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "a note key's name is not empty and has no spaces and no '+'");
  }
  const Pkey key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  std::string seed(kKeyBytes, '\0');
  size_t size = seed.size();
  if (key == nullptr || EVP_PKEY_get_raw_private_key(
                            key.get(), reinterpret_cast<uint8_t*>(seed.data()), &size) != 1) {
    return ErrorF(StatusCode::kInternal, "libcrypto cannot make an Ed25519 key");
  }
  ASSIGN_OR_RETURN(std::string public_key, PublicKeyOf(seed));
  return NoteSigner(std::move(name), type, std::move(seed), std::move(public_key));
}

std::string NoteSigner::SKey() const {
  return std::string(kSecretPrefix) + verifier_.name() + '+' + Hex8(verifier_.key_id()) + '+' +
         TypedKey(verifier_.type(), seed_);
}

NoteSignature NoteSigner::Sign(std::string_view text) const {
  CHECK(verifier_.type() == NoteKeyType::kEd25519);
  return {.name = verifier_.name(),
          .key_id = verifier_.key_id(),
          .signature = SignEd25519(seed_, text)};
}

NoteSignature NoteSigner::Cosign(std::string_view text, uint64_t unix_seconds) const {
  CHECK(verifier_.type() == NoteKeyType::kEd25519Cosignature && unix_seconds > 0);
  return {.name = verifier_.name(),
          .key_id = verifier_.key_id(),
          .signature = BigEndian(unix_seconds, kTimeBytes) +
                       SignEd25519(seed_, CosignedMessage(text, unix_seconds))};
}

Status CheckSignature(const SignedNote& note, const NoteVerifier& verifier) {
  bool found = false;
  for (const NoteSignature& signature : note.signatures) {
    if (!verifier.Matches(signature)) {
      continue;
    }
    if (!verifier.Verify(note.text, signature)) {
      return ErrorF(StatusCode::kDataLoss,
                    "the signature of %s does not verify: the note was changed",
                    verifier.name());
    }
    found = true;
  }
  return found ? OkStatus()
               : ErrorF(StatusCode::kInvalidArgument,
                        "the note has no signature of %s (key id %s)",
                        verifier.name(),
                        Hex8(verifier.key_id()));
}

}  // namespace inferd
