// Signed notes (C2SP signed-note) with Ed25519: a text and the signatures below it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace inferd {

inline constexpr size_t kNoteBytesMax = 64 * 1024;
inline constexpr size_t kNoteSignaturesMax = 64;

struct NoteSignature {
  std::string name;
  uint32_t key_id = 0;
  std::string signature;  // what follows the key id
};

struct SignedNote {
  std::string text;  // with its final newline
  std::vector<NoteSignature> signatures;
};

// kInvalidArgument for anything but the format: control characters, text that is not UTF-8, base64
// that is not strict, no signature, too many.
StatusOr<SignedNote> ParseNote(std::string_view note);

// "— name base64\n".
std::string SignatureLine(const NoteSignature& signature);

// How a key signs (C2SP signed-note, signature types).
enum class NoteKeyType : uint8_t {
  kEd25519 = 0x01,             // the text
  kEd25519Cosignature = 0x04,  // time and text (C2SP tlog-cosignature)
};

// A public key and the name it signs under.
class NoteVerifier {
 public:
  // Reads `<name>+<hex id>+<base64>`. kInvalidArgument for another form, an id that does not fit
  // the key, or a type that is not one of NoteKeyType.
  static StatusOr<NoteVerifier> Parse(std::string_view vkey);
  NoteVerifier(std::string name, NoteKeyType type, std::string public_key);

  const std::string& name() const { return name_; }
  uint32_t key_id() const { return key_id_; }
  NoteKeyType type() const { return type_; }
  const std::string& public_key() const { return public_key_; }
  std::string VKey() const;

  // Same name and id: then the signature must verify.
  bool Matches(const NoteSignature& signature) const;
  bool Verify(std::string_view text, const NoteSignature& signature) const;

 private:
  std::string name_;
  NoteKeyType type_;
  std::string public_key_;  // 32 bytes
  uint32_t key_id_ = 0;
};

// A private key. It is written and logged nowhere; the text form is `PRIVATE+KEY+<name>+<hex id>+
// <base64>`, as Go's golang.org/x/mod/sumdb/note writes it. Thread-safe.
class NoteSigner {
 public:
  static StatusOr<NoteSigner> Parse(std::string_view skey);
  // A new key. kInvalidArgument for a name with spaces or '+'.
  static StatusOr<NoteSigner> Generate(std::string name, NoteKeyType type = NoteKeyType::kEd25519);
  ~NoteSigner();
  NoteSigner(NoteSigner&&) noexcept = default;
  NoteSigner& operator=(NoteSigner&&) noexcept = default;

  // The text form, secret.
  std::string SKey() const;
  const NoteVerifier& verifier() const { return verifier_; }

  // For kEd25519.
  NoteSignature Sign(std::string_view text) const;
  // For kEd25519Cosignature: seconds since 1970, above 0.
  NoteSignature Cosign(std::string_view text, uint64_t unix_seconds) const;

 private:
  NoteSigner(std::string name, NoteKeyType type, std::string seed, std::string public_key);
  std::string seed_;
  NoteVerifier verifier_;
};

// When a cosignature was made, in seconds since 1970.
StatusOr<uint64_t> CosignatureTime(const NoteSignature& signature);

// kInvalidArgument unless `note` holds a signature of this key; one that does not verify is
// kDataLoss. Signatures of other keys are ignored.
Status CheckSignature(const SignedNote& note, const NoteVerifier& verifier);

}  // namespace inferd
