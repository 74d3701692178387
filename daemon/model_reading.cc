#include "daemon/model_reading.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/thread_annotations.h"

namespace inferd {
namespace {

// One file while it is read, in parts and by several threads. Open from its first part to its last.
class FileReading {
 public:
  FileReading(std::string path, uint64_t size_bytes, bool kept)
      : path_(std::move(path)), size_bytes_(size_bytes), kept_(kept), left_bytes_(size_bytes) {}

  // Bytes [at, at + size), which stay until the thread asks again.
  StatusOr<std::span<const std::byte>> Read(uint64_t at, size_t size) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const InputFile> file, Opened());
    std::span<std::byte> out;
    if (kept_) {
      out = memory_.writable().subspan(at, size);
    } else {
      thread_local std::vector<std::byte> scratch;
      scratch.resize(size);
      out = scratch;
    }
    RETURN_IF_ERROR(file->Read(at, out));
    MutexLock lock(mutex_);
    left_bytes_ -= size;
    if (left_bytes_ == 0) {
      RETURN_IF_ERROR(file->CheckSize());
      file_ = nullptr;
    }
    return std::span<const std::byte>(out);
  }

  bool kept() const { return kept_; }
  MemoryPages TakeBytes() { return std::move(memory_); }

 private:
  StatusOr<std::shared_ptr<const InputFile>> Opened() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (file_ == nullptr) {
      ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path_));
      if (file.size_bytes() != size_bytes_) {
        return ErrorF(StatusCode::kUnavailable,
                      "%s: changed its size while the model was read; try again when nobody writes "
                      "it",
                      path_);
      }
      if (kept_) {
        ASSIGN_OR_RETURN(memory_, PrivateMemory::Allocate(size_bytes_));
      }
      file_ = std::make_shared<const InputFile>(std::move(file));
    }
    return file_;
  }

  const std::string path_;
  const uint64_t size_bytes_;
  const bool kept_;
  PrivateMemory memory_;  // once the file is open; each part is written by one thread
  Mutex mutex_;
  // Shared with the threads that read from it.
  std::shared_ptr<const InputFile> file_ GUARDED_BY(mutex_);
  uint64_t left_bytes_ GUARDED_BY(mutex_);
};

}  // namespace

StatusOr<ModelReading> ReadModel(const std::string& path, const ModelHashOptions& options) {
  ASSIGN_OR_RETURN(const ModelFileList list, ListModelFiles(path, options.serialization));
  std::error_code ignored;  // the list would have failed
  const bool folder = std::filesystem::is_directory(path, ignored);
  std::vector<std::unique_ptr<FileReading>> readings;
  for (const ModelFileSize& file : list.files) {
    readings.push_back(std::make_unique<FileReading>(
        list.root + "/" + file.path, file.bytes, !folder || ModelFolder::Wants(file.path)));
  }
  ModelReading reading;
  const ModelRead read = [&readings](size_t file, uint64_t at, size_t size) {
    return readings[file]->Read(at, size);
  };
  ASSIGN_OR_RETURN(reading.contents, HashModel(list.files, read, options));
  for (size_t i = 0; i < readings.size(); ++i) {
    if (readings[i]->kept()) {
      reading.files.push_back({list.files[i].path, readings[i]->TakeBytes()});
    }
  }
  return reading;
}

}  // namespace inferd
