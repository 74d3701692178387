// The key that signs a log, a witness's cosignatures or an evidence bundle, from its secret file.
#pragma once

#include <string>

#include "base/status.h"

namespace inferd {

class NoteSigner;  // governance/verify/note.h

// As ReadSecretFile; kInvalidArgument if what is in the file is no note signing key.
StatusOr<NoteSigner> ReadNoteKey(const std::string& path);

}  // namespace inferd
