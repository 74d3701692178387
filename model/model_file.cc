#include "model/model_file.h"

#include <utility>

namespace inferd {

StatusOr<std::unique_ptr<ModelFile>> ModelFile::Open(const std::string& path,
                                                     const ModelOptions& options) {
  ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  std::unique_ptr<ModelFile> file(new ModelFile(path, std::move(mapped)));
  auto gguf = Gguf::Parse(file->bytes());
  if (!gguf.ok()) {
    return Annotate(gguf.status(), path);
  }
  file->gguf_ = *std::move(gguf);
  auto described = DescribeModel(file->gguf_, options);
  if (!described.ok()) {
    return Annotate(described.status(), path);
  }
  file->config_ = std::move(described->config);
  file->weights_ = std::move(described->weights);
  file->vocabulary_ = std::move(described->vocabulary);
  return file;
}

}  // namespace inferd
