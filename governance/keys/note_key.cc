#include "governance/keys/note_key.h"

#include "governance/keys/secret_files.h"
#include "governance/verify/note.h"

namespace inferd {

StatusOr<NoteSigner> ReadNoteKey(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadSecretFile(path));
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  auto signer = NoteSigner::Parse(text);
  Cleanse(text);
  return signer.ok() ? std::move(signer) : StatusOr<NoteSigner>(Annotate(signer.status(), path));
}

}  // namespace inferd
