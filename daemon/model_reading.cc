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

  // Reads all of it, before anybody else reads a part: then parts come from memory.
  StatusOr<std::string_view> ReadAhead() {
    ASSIGN_OR_RETURN(const std::shared_ptr<const InputFile> file, Opened());
    RETURN_IF_ERROR(file->Read(0, memory_.writable()));
    RETURN_IF_ERROR(file->CheckSize());
    MutexLock lock(mutex_);
    file_ = nullptr;
    ahead_ = true;
    return std::string_view(reinterpret_cast<const char*>(memory_.writable().data()), size_bytes_);
  }

  // Bytes [at, at + size), which stay until the thread asks again.
  StatusOr<std::span<const std::byte>> Read(uint64_t at, size_t size) {
    if (ahead_) {
      return std::span<const std::byte>(memory_.writable().subspan(at, size));
    }
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
  bool ahead_ = false;    // before the parts are read
  PrivateMemory memory_;  // once the file is open; each part is written by one thread
  Mutex mutex_;
  // Shared with the threads that read from it.
  std::shared_ptr<const InputFile> file_ GUARDED_BY(mutex_);
  uint64_t left_bytes_ GUARDED_BY(mutex_);
};

using Readings = std::vector<std::unique_ptr<FileReading>>;

// A reading of each file. Of a folder, of weights that its index does not name, nothing is kept.
StatusOr<Readings> MakeReadings(const ModelFileList& list, bool folder) {
  Readings readings(list.files.size());
  const auto path_of = [&list](size_t i) { return list.root + "/" + list.files[i].path; };
  std::optional<std::string_view> index;
  bool too_long = false;  // which is refused once it may be parsed
  for (size_t i = 0; i < readings.size() && folder; ++i) {
    if (list.files[i].path == ModelFolder::kIndexName) {
      readings[i] = std::make_unique<FileReading>(path_of(i), list.files[i].bytes, true);
      too_long = list.files[i].bytes > ModelFolder::kIndexBytesMax;
      if (!too_long) {
        ASSIGN_OR_RETURN(index, readings[i]->ReadAhead());
      }
    }
  }
  for (size_t i = 0; i < readings.size(); ++i) {
    if (readings[i] == nullptr) {
      const std::string& name = list.files[i].path;
      const bool kept =
          !folder || (too_long ? ModelFolder::Wants(name) : ModelFolder::Wants(name, index));
      readings[i] = std::make_unique<FileReading>(path_of(i), list.files[i].bytes, kept);
    }
  }
  return readings;
}

}  // namespace

StatusOr<ModelReading> ReadModel(const std::string& path, const ModelHashOptions& options) {
  ASSIGN_OR_RETURN(const ModelFileList list, ListModelFiles(path, options.serialization));
  std::error_code ignored;  // the list would have failed
  const bool folder = std::filesystem::is_directory(path, ignored);
  ASSIGN_OR_RETURN(const Readings readings, MakeReadings(list, folder));
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
