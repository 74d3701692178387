#include "model/model_file.h"

#include <filesystem>
#include <utility>

namespace inferd {

StatusOr<std::unique_ptr<ModelFile>> ModelFile::Open(const std::string& path,
                                                     const ModelOptions& options) {
  std::unique_ptr<ModelFile> file(new ModelFile(path));
  std::error_code ignored;  // what cannot be looked at is refused as a file
  const bool folder = std::filesystem::is_directory(path, ignored);
  auto described = folder ? file->OpenFolder(options) : file->OpenGguf(options);
  if (!described.ok()) {
    return described.status();
  }
  file->config_ = std::move(described->config);
  file->weights_ = std::move(described->weights);
  file->vocabulary_ = std::move(described->vocabulary);
  return file;
}

StatusOr<ModelDescription> ModelFile::OpenGguf(const ModelOptions& options) {
  ASSIGN_OR_RETURN(file_, MappedFile::Open(path_));
  auto gguf = Gguf::Parse(file_->bytes());
  if (!gguf.ok()) {
    return Annotate(gguf.status(), path_);
  }
  gguf_ = *std::move(gguf);
  auto described = DescribeModel(gguf_, options);
  if (!described.ok()) {
    return Annotate(described.status(), path_);
  }
  return described;
}

StatusOr<ModelDescription> ModelFile::OpenFolder(const ModelOptions& options) {
  auto folder = ModelFolder::Open(path_);
  if (!folder.ok()) {
    return Annotate(folder.status(), path_);
  }
  folder_ = *std::move(folder);
  gguf_ = folder_->gguf();
  auto described = DescribeModel(folder_->family(), gguf_, folder_->vocabulary(), options);
  if (!described.ok()) {
    return Annotate(described.status(), path_);
  }
  return described;
}

void ModelFile::Release(const TensorView& tensor) const {
  if (file_) {
    file_->Release(tensor.data);
  } else {
    folder_->Release(tensor.data);
  }
}

uint64_t ModelFile::size_bytes() const {
  uint64_t bytes = 0;
  for (const auto& file : files()) {
    bytes += file.size();
  }
  return bytes;
}

std::vector<std::span<const std::byte>> ModelFile::files() const {
  std::vector<std::span<const std::byte>> files;
  if (file_) {
    files.push_back(file_->bytes());
  } else {
    for (const FolderFile& file : folder_->files()) {
      files.push_back(file.bytes);
    }
  }
  return files;
}

}  // namespace inferd
