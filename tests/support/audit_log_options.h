// The options of a log in a test's own files, small enough to roll over. Header alone.
#pragma once

#include <string>
#include <utility>

#include "governance/audit/log_core.h"

namespace inferd {

// In the folder "audit"; segments of 64 KiB, no reserve. Tests change what they are about.
inline AuditLogOptions TestLogOptions(FileSystem& files,
                                      const NoteSigner& signer,
                                      std::string name) {
  AuditLogOptions options;
  options.files = &files;
  options.folder = "audit";
  options.name = std::move(name);
  options.node = "n1";
  options.boot = "b";
  options.signer = &signer;
  options.segment_bytes = 64 << 10;
  options.reserve_bytes = 0;
  return options;
}

}  // namespace inferd
