#include "tests/support/temp_folder.h"

#include <stdlib.h>

#include "base/check.h"

namespace inferd {

TempFolder::TempFolder() {
  // mkdtemp replaces the last six characters.
  std::string name = (std::filesystem::temp_directory_path() / "inferd-test-").string();
  name.append(6, 'X');
  CHECK(mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;  // what a test left unreadable stays
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace inferd
