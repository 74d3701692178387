// The files that hold a secret each: root.kek, pepper.api, pepper.subject, note.key.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "governance/keys/crypto.h"

namespace inferd {

inline constexpr char kRootKekFile[] = "root.kek";
inline constexpr char kApiPepperFile[] = "pepper.api";
inline constexpr char kSubjectPepperFile[] = "pepper.subject";
inline constexpr char kNoteKeyFile[] = "note.key";

// Where the secret of this name is: $CREDENTIALS_DIRECTORY/name (systemd's LoadCredential=) if the
// variable is set and the file is there, else directory/name.
std::string SecretFilePath(const std::string& directory, std::string_view name);

// The content of a secret's file. kFailedPrecondition if others than its owner could read it: a
// plain file must be ours and of mode 0600 or 0400; a credential, whose folder systemd guards, may
// show the group bits of an access list. kNotFound if there is none. Never says what is in it.
StatusOr<std::string> ReadSecretFile(const std::string& path);

// A key as WriteKeyFile wrote it: 64 hex digits and a new line.
StatusOr<SecretKey> ReadKeyFile(const std::string& path);

// Makes a new file of mode 0600 and syncs it and its folder. kAlreadyExists rather than overwrite.
Status WriteSecretFile(const std::string& path, std::string_view content);
Status WriteKeyFile(const std::string& path, const SecretKey& key);

}  // namespace inferd
