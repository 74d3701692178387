// Notes, checkpoints, keys and policies of strangers: an error, or exactly what was written.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "governance/verify/checkpoint.h"
#include "governance/verify/note.h"
#include "governance/verify/trust_policy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inferd;  // NOLINT(google-build-using-namespace)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto note = ParseNote(text); note.ok()) {
    std::string again = note->text + '\n';
    for (const NoteSignature& signature : note->signatures) {
      again += SignatureLine(signature);
      (void)CosignatureTime(signature);
    }
    CHECK(again == text);
    if (const auto checkpoint = ParseCheckpoint(note->text); checkpoint.ok()) {
      CHECK(note->text.starts_with(CheckpointText(*checkpoint)));
    }
    static const NoteVerifier key("a", NoteKeyType::kEd25519, std::string(32, 'k'));
    (void)CheckSignature(*note, key);
  }
  if (const auto key = NoteVerifier::Parse(text); key.ok()) {
    CHECK(key->VKey() == text);
  }
  (void)NoteSigner::Parse(text);
  if (const auto policy = TrustPolicy::Parse(text); policy.ok()) {
    (void)policy->Open(text);
  }
  return 0;
}
