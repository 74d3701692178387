// A daemon's state directory for tests and measurements.
#pragma once

#include <string>

namespace inferd {

// A state directory with fresh secrets, removed with the object.
class StateFolder {
 public:
  StateFolder();
  ~StateFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace inferd
