#include "governance/registry/model_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/file_system.h"
#include "base/sha256.h"
#include "base/utf8.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

// Bytes between two calls of `progress`; a buffer of as much for each thread stays in the cache.
constexpr size_t kChunkBytes = 1 << 20;
constexpr std::array<std::string_view, 4> kIgnoredAlways = {
    ".git", ".gitattributes", ".github", ".gitignore"};

// The specification's order: by the parts of the path, so that "a/b" comes before "a-b".
bool PathLess(std::string_view a, std::string_view b) {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    const auto rank = [](char c) { return c == '/' ? 0 : static_cast<unsigned char>(c); };
    return rank(x) < rank(y);
  });
}

// Is `path` one of these, or below one?
bool IsIgnored(std::string_view path, const ModelSerialization& serialization) {
  const auto covers = [&](std::string_view ignored) {
    while (ignored.ends_with('/')) {
      ignored.remove_suffix(1);
    }
    return path.substr(0, ignored.size()) == ignored &&
           (path.size() == ignored.size() || path[ignored.size()] == '/');
  };
  return std::any_of(kIgnoredAlways.begin(), kIgnoredAlways.end(), covers) ||
         std::any_of(serialization.ignore_paths.begin(), serialization.ignore_paths.end(), covers);
}

// Collects the files below a folder; links are never followed.
class FolderWalk {
 public:
  FolderWalk(fs::path root, const ModelSerialization& serialization)
      : root_(std::move(root)), serialization_(serialization) {}

  Status Visit(const std::string& relative, size_t depth) {
    if (depth > ModelHashOptions::kDepthMax) {
      return ErrorF(StatusCode::kResourceExhausted,
                    "%s: folders nested more than %d deep",
                    root_.string(),
                    ModelHashOptions::kDepthMax);
    }
    std::error_code error;
    for (fs::directory_iterator entry(root_ / relative, error), end; !error && entry != end;
         entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      const std::string path = relative.empty() ? name : relative + '/' + name;
      if (!IsIgnored(path, serialization_)) {
        RETURN_IF_ERROR(VisitEntry(*entry, path, depth));
      }
    }
    if (error) {
      return ErrorF(StatusCode::kUnavailable,
                    "%s: cannot be listed: %s",
                    (root_ / relative).string(),
                    error.message());
    }
    return OkStatus();
  }

  std::vector<ModelFileSize> Take() {
    std::sort(files_.begin(), files_.end(), [](const ModelFileSize& a, const ModelFileSize& b) {
      return PathLess(a.path, b.path);
    });
    return std::move(files_);
  }

 private:
  Status VisitEntry(const fs::directory_entry& entry, const std::string& path, size_t depth) {
    std::error_code error;
    const fs::file_status status = entry.symlink_status(error);
    if (!error && fs::is_directory(status)) {
      return Visit(path, depth + 1);
    }
    const uint64_t bytes = error ? 0 : entry.file_size(error);
    if (error || !fs::is_regular_file(status)) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "%s: a model is made of regular files; this is a link or something else",
                    entry.path().string());
    }
    const bool cut = serialization_.method == ModelSerialization::Method::kShards;
    if (!IsValidUtf8(path) || (cut && path.find(':') != std::string::npos)) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "a file in %s has a name that is not UTF-8 or has a ':'; rename it",
                    root_.string());
    }
    if (files_.size() == ModelHashOptions::kFilesMax) {
      return ErrorF(StatusCode::kResourceExhausted,
                    "%s: more than %d files",
                    root_.string(),
                    ModelHashOptions::kFilesMax);
    }
    files_.push_back({path, bytes});
    return OkStatus();
  }

  const fs::path root_;
  const ModelSerialization& serialization_;
  std::vector<ModelFileSize> files_;
};

// A part of a file that becomes one resource.
struct Part {
  size_t file;
  uint64_t start, end;
};

std::vector<Part> Cut(const std::vector<ModelFileSize>& files,
                      const ModelSerialization& serialization) {
  std::vector<Part> parts;
  for (size_t i = 0; i < files.size(); ++i) {
    if (serialization.method == ModelSerialization::Method::kFiles) {
      parts.push_back({i, 0, files[i].bytes});
      continue;
    }
    for (uint64_t start = 0; start < files[i].bytes;) {
      const uint64_t end = start + std::min(serialization.shard_bytes, files[i].bytes - start);
      parts.push_back({i, start, end});
      start = end;
    }
  }
  return parts;
}

class Hasher {
 public:
  Hasher(const std::vector<ModelFileSize>& files,
         const ModelRead& read,
         const ModelHashOptions& options)
      : files_(files), read_(read), options_(options) {
    for (const ModelFileSize& file : files) {
      total_ += file.bytes;
    }
  }

  StatusOr<std::vector<ModelResource>> Run(const std::vector<Part>& parts) {
    std::vector<ModelResource> resources(parts.size());
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i = next++; i < parts.size() && !failed_; i = next++) {
        auto resource = HashPart(parts[i]);
        if (!resource.ok()) {
          const std::lock_guard lock(mutex_);
          status_ = failed_.exchange(true) ? status_ : resource.status();
          return;
        }
        resources[i] = *std::move(resource);
      }
    };
    std::vector<std::thread> others;
    for (size_t i = 1; i < std::min(parts.size(), static_cast<size_t>(options_.threads)); ++i) {
      others.emplace_back(work);
    }
    work();
    for (std::thread& thread : others) {
      thread.join();
    }
    RETURN_IF_ERROR(status_);
    return resources;
  }

 private:
  StatusOr<ModelResource> HashPart(const Part& part) {
    const ModelFileSize& file = files_[part.file];
    ModelResource resource;
    resource.name = options_.serialization.method == ModelSerialization::Method::kFiles
                        ? file.path
                        : absl::StrFormat("%s:%d:%d", file.path, part.start, part.end);
    Sha256 hash;
    for (uint64_t at = part.start; at < part.end;) {
      const size_t size = std::min<uint64_t>(kChunkBytes, part.end - at);
      ASSIGN_OR_RETURN(const std::span<const std::byte> chunk, read_(part.file, at, size));
      CHECK(chunk.size() == size);
      hash.Update(chunk);
      at += size;
      const uint64_t done = done_ += size;
      if (options_.progress) {
        options_.progress(done, total_);
      }
    }
    resource.digest = hash.Finish();
    return resource;
  }

  const std::vector<ModelFileSize>& files_;
  const ModelRead& read_;
  const ModelHashOptions& options_;
  uint64_t total_ = 0;
  std::atomic<uint64_t> done_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  Status status_ = OkStatus();
};

// Reads a model's files into a buffer of each thread: what is hashed is what was read, whatever
// happens to the files meanwhile.
class FolderReader {
 public:
  explicit FolderReader(const ModelFileList& list) : list_(list) {}

  StatusOr<std::span<const std::byte>> Read(size_t index, uint64_t at, size_t size) {
    const ModelFileSize& file = list_.files[index];
    const std::string path = list_.root + '/' + file.path;
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
      return ErrorF(StatusCode::kUnavailable, "%s: cannot open: %s", path, std::strerror(errno));
    }
    thread_local std::vector<std::byte> buffer;
    buffer.resize(size);
    struct stat info = {};
    Status status = OkStatus();
    size_t done = 0;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) ||
        static_cast<uint64_t>(info.st_size) != file.bytes) {
      status = ErrorF(StatusCode::kUnavailable, "%s: changed while it was read; try again", path);
    }
    while (status.ok() && done < size) {
      const ssize_t count =
          pread(fd, buffer.data() + done, size - done, static_cast<off_t>(at + done));
      if (count > 0) {
        done += static_cast<size_t>(count);
      } else if (count == 0 || errno != EINTR) {
        status = ErrorF(StatusCode::kUnavailable,
                        "%s: %s",
                        path,
                        count == 0 ? "became shorter while it was read" : std::strerror(errno));
      }
    }
    close(fd);
    RETURN_IF_ERROR(status);
    return std::span<const std::byte>(buffer);
  }

 private:
  const ModelFileList& list_;
};

}  // namespace

Digest RootDigest(const std::vector<ModelResource>& resources) {
  Sha256 root;
  for (const ModelResource& resource : resources) {
    root.Update(std::as_bytes(std::span(resource.digest.bytes)));
  }
  return root.Finish();
}

StatusOr<ModelFileList> ListModelFiles(const std::string& folder,
                                       const ModelSerialization& serialization) {
  ModelFileList list;
  list.root = folder;
  while (list.root.size() > 1 && list.root.ends_with('/')) {
    list.root.pop_back();
  }
  std::error_code error;
  const fs::file_status status = fs::status(list.root, error);
  if (fs::is_regular_file(status)) {
    list.files = {{fs::path(list.root).filename().string(), fs::file_size(list.root, error)}};
    list.root = ParentOf(list.root);
  } else if (fs::is_directory(status)) {
    FolderWalk walk(list.root, serialization);
    RETURN_IF_ERROR(walk.Visit("", 0));
    list.files = walk.Take();
  } else {
    return ErrorF(StatusCode::kNotFound, "%s: no file and no folder", list.root);
  }
  if (error) {
    return ErrorF(StatusCode::kUnavailable, "%s: %s", list.root, error.message());
  }
  return list;
}

StatusOr<ModelContents> HashModel(std::vector<ModelFileSize> files,
                                  const ModelRead& read,
                                  const ModelHashOptions& options) {
  CHECK(options.threads > 0 && options.serialization.shard_bytes > 0);
  ModelContents contents{.files = std::move(files)};
  Hasher hasher(contents.files, read, options);
  ASSIGN_OR_RETURN(contents.resources, hasher.Run(Cut(contents.files, options.serialization)));
  contents.root = RootDigest(contents.resources);
  return contents;
}

StatusOr<ModelContents> HashModelFiles(const std::string& folder, const ModelHashOptions& options) {
  ASSIGN_OR_RETURN(const ModelFileList list, ListModelFiles(folder, options.serialization));
  FolderReader reader(list);
  const auto read = [&](size_t file, uint64_t at, size_t size) {
    return reader.Read(file, at, size);
  };
  return HashModel(list.files, read, options);
}

std::string DescribeDifference(const std::vector<ModelResource>& expected,
                               const std::vector<ModelResource>& actual) {
  std::map<std::string_view, const Digest*> resources;
  for (const ModelResource& resource : expected) {
    resources[resource.name] = &resource.digest;
  }
  for (const ModelResource& resource : actual) {
    const auto found = resources.find(resource.name);
    if (found == resources.end()) {
      return "extra " + resource.name;
    }
    if (*found->second != resource.digest) {
      return resource.name + " has other bytes";
    }
    resources.erase(found);
  }
  return resources.empty() ? "" : std::string(resources.begin()->first) + " is missing";
}

std::string DescribeDifference(const ModelContents& expected, const ModelContents& actual) {
  std::map<std::string_view, uint64_t> files;
  for (const ModelFileSize& file : expected.files) {
    files[file.path] = file.bytes;
  }
  for (const ModelFileSize& file : actual.files) {
    const auto found = files.find(file.path);
    if (found == files.end()) {
      return "extra file " + file.path;
    }
    if (found->second != file.bytes) {
      return absl::StrFormat("%s has %d bytes, not %d", file.path, file.bytes, found->second);
    }
    files.erase(found);
  }
  if (!files.empty()) {
    return absl::StrFormat("%s is missing", std::string(files.begin()->first));
  }
  return DescribeDifference(expected.resources, actual.resources);
}

}  // namespace inferd
