// A daemon's state directory for tests and measurements.
#pragma once

#include <string>

#include "tests/support/temp_folder.h"

namespace inferd {

// A state directory with fresh secrets, removed with the object.
class StateFolder {
 public:
  StateFolder();
  const std::string& path() const { return path_; }

 private:
  TempFolder folder_;
  std::string path_;
};

}  // namespace inferd
