#include "tests/support/state_folder.h"

#include <filesystem>

#include "base/check.h"
#include "governance/keys/secret_files.h"
#include "governance/verify/note.h"

namespace inferd {

StateFolder::StateFolder() : path_(folder_.path().string()) {
  const std::string keys = path_ + "/keys";
  std::filesystem::create_directory(keys);
  const auto note_key = NoteSigner::Generate("example.org/inferd-audit/test");
  CHECK(note_key.ok());
  CHECK(WriteSecretFile(keys + "/" + kNoteKeyFile, note_key->SKey() + "\n").ok());
  for (const char* name : {kRootKekFile, kApiPepperFile, kSubjectPepperFile}) {
    CHECK(WriteKeyFile(keys + "/" + name, SecretKey::Random()).ok());
  }
}

}  // namespace inferd
