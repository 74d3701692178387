// Reading a model: each byte of its files once, into memory of this process, hashed on the way.
// What is approved, parsed and packed afterwards is what was hashed, whoever writes the files
// meanwhile.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "governance/registry/model_files.h"
#include "model/model_folder.h"

namespace inferd {

// What was read. `files` are those that the model may be made of (ModelFile::FromBytes); the
// others, a README for one, were hashed alone.
struct ModelReading {
  ModelContents contents;  // of all files: names, sizes, digests, and the root that names the model
  std::vector<ModelBytes> files;
};

// Reads a GGUF file or a folder; blocks. As ListModelFiles; kUnavailable if a file became shorter
// or longer meanwhile; kResourceExhausted if memory lacks. Takes as much memory as the files that
// are kept.
StatusOr<ModelReading> ReadModel(const std::string& path, const ModelHashOptions& options);

}  // namespace inferd
