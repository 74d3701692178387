#include "model/model_file.h"

#include <filesystem>
#include <utility>

namespace inferd {

StatusOr<std::unique_ptr<ModelFile>> ModelFile::Open(const std::string& path,
                                                     const ModelOptions& options) {
  std::unique_ptr<ModelFile> file(new ModelFile(path));
  std::error_code ignored;  // what cannot be looked at is refused as a file
  if (std::filesystem::is_directory(path, ignored)) {
    auto folder = ModelFolder::Open(path);
    if (!folder.ok()) {
      return Annotate(folder.status(), path);
    }
    file->folder_ = *std::move(folder);
  } else {
    ASSIGN_OR_RETURN(file->file_, MappedFile::Open(path));
  }
  return Finish(std::move(file), options);
}

StatusOr<std::unique_ptr<ModelFile>> ModelFile::FromBytes(const std::string& path,
                                                          std::vector<ModelBytes> files,
                                                          const ModelOptions& options) {
  std::unique_ptr<ModelFile> file(new ModelFile(path));
  if (files.size() == 1 && !ModelFolder::Wants(files.front().name)) {
    file->file_ = std::move(files.front().pages);
    return Finish(std::move(file), options);
  }
  auto folder = ModelFolder::FromBytes(std::move(files));
  if (!folder.ok()) {
    return Annotate(folder.status(), path);
  }
  file->folder_ = *std::move(folder);
  return Finish(std::move(file), options);
}

StatusOr<std::unique_ptr<ModelFile>> ModelFile::Finish(std::unique_ptr<ModelFile> file,
                                                       const ModelOptions& options) {
  auto described = file->Describe(options);
  if (!described.ok()) {
    return Annotate(described.status(), file->path_);
  }
  file->config_ = std::move(described->config);
  file->weights_ = std::move(described->weights);
  file->vocabulary_ = std::move(described->vocabulary);
  return file;
}

StatusOr<ModelDescription> ModelFile::Describe(const ModelOptions& options) {
  if (folder_ != nullptr) {
    gguf_ = folder_->gguf();
    return DescribeModel(folder_->family(), gguf_, folder_->vocabulary(), options);
  }
  ASSIGN_OR_RETURN(gguf_, Gguf::Parse(file_->bytes()));
  return DescribeModel(gguf_, options);
}

void ModelFile::Release(const TensorView& tensor) const {
  if (file_) {
    file_->Release(tensor.data);
  } else {
    folder_->Release(tensor.data);
  }
}

uint64_t ModelFile::size_bytes() const {
  return file_ ? file_->bytes().size() : folder_->size_bytes();
}

}  // namespace inferd
