#include "governance/registry/model_files.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/file.h"
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

// Before memory is taken for them: a bundle that nobody has verified may ask for shards of a byte.
Status CheckResources(const std::vector<ModelFileSize>& files,
                      const ModelSerialization& serialization) {
  size_t left = ModelHashOptions::kResourcesMax;
  for (const ModelFileSize& file : files) {
    const bool cut = serialization.method == ModelSerialization::Method::kShards;
    const uint64_t shards = file.bytes / serialization.shard_bytes +
                            (file.bytes % serialization.shard_bytes > 0 ? 1 : 0);
    const uint64_t resources = cut ? shards : 1;
    if (resources > left) {
      return ErrorF(StatusCode::kResourceExhausted,
                    "shards of %d bytes cut the model into more than %d parts; sign it with larger "
                    "ones",
                    serialization.shard_bytes,
                    ModelHashOptions::kResourcesMax);
    }
    left -= resources;
  }
  return OkStatus();
}

std::string ResourceName(const ModelFileSize& file,
                         uint64_t start,
                         uint64_t end,
                         const ModelSerialization& serialization) {
  return serialization.method == ModelSerialization::Method::kFiles
             ? file.path
             : absl::StrFormat("%s:%d:%d", file.path, start, end);
}

// The resources of one file, from its bytes in their order.
class FileResources {
 public:
  FileResources(const ModelFileSize& file, const ModelSerialization& serialization)
      : file_(file), serialization_(serialization), parts_(Cut({file}, serialization)) {
    FinishIfAtEnd();
  }

  void Update(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const size_t size = std::min<uint64_t>(bytes.size(), parts_[resources_.size()].end - at_);
      hash_.Update(bytes.first(size));
      at_ += size;
      bytes = bytes.subspan(size);
      FinishIfAtEnd();
    }
  }
  const std::vector<ModelResource>& resources() const { return resources_; }

 private:
  void FinishIfAtEnd() {
    if (resources_.size() < parts_.size() && parts_[resources_.size()].end == at_) {
      const Part& part = parts_[resources_.size()];
      resources_.push_back(
          {ResourceName(file_, part.start, part.end, serialization_), hash_.Finish()});
      hash_ = Sha256();
    }
  }

  const ModelFileSize& file_;
  const ModelSerialization& serialization_;
  const std::vector<Part> parts_;
  Sha256 hash_;
  uint64_t at_ = 0;
  std::vector<ModelResource> resources_;
};

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

  // Into contents.resources: each part by one thread.
  Status Run(ModelContents& contents) {
    const std::vector<Part> parts = Cut(files_, options_.serialization);
    contents.resources.resize(parts.size());
    return InParallel(parts.size(), [&](size_t i) -> Status {
      const Part& part = parts[i];
      Sha256 hash;
      RETURN_IF_ERROR(
          Read(part, [&hash](std::span<const std::byte> chunk) { hash.Update(chunk); }));
      contents.resources[i] = {
          ResourceName(files_[part.file], part.start, part.end, options_.serialization),
          hash.Finish()};
      return OkStatus();
    });
  }

  // The same, and into contents.also: each file by one thread, each chunk into both.
  Status RunForTwo(ModelContents& contents) {
    std::vector<std::vector<ModelResource>> first(files_.size());
    std::vector<std::vector<ModelResource>> second(files_.size());
    const auto hash_file = [&](size_t i) -> Status {
      FileResources as_usual(files_[i], options_.serialization);
      FileResources as_asked(files_[i], *options_.also);
      RETURN_IF_ERROR(Read({i, 0, files_[i].bytes}, [&](std::span<const std::byte> chunk) {
        as_usual.Update(chunk);
        as_asked.Update(chunk);
      }));
      first[i] = as_usual.resources();
      if (!IsIgnored(files_[i].path, *options_.also)) {
        second[i] = as_asked.resources();
      }
      return OkStatus();
    };
    RETURN_IF_ERROR(InParallel(files_.size(), hash_file));
    for (size_t i = 0; i < files_.size(); ++i) {
      contents.resources.insert(contents.resources.end(), first[i].begin(), first[i].end());
      contents.also.insert(contents.also.end(), second[i].begin(), second[i].end());
    }
    contents.also_by = options_.also;
    return OkStatus();
  }

 private:
  // Until one fails: then its status.
  template <typename Work>
  Status InParallel(size_t count, const Work& work) {
    std::atomic<size_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex mutex;
    Status first_failure = OkStatus();
    const auto run = [&] {
      for (size_t i = next++; i < count && !failed; i = next++) {
        if (const Status status = work(i); !status.ok()) {
          const std::lock_guard lock(mutex);
          first_failure = failed.exchange(true) ? first_failure : status;
          return;
        }
      }
    };
    std::vector<std::thread> others;
    for (size_t i = 1; i < std::min(count, static_cast<size_t>(options_.threads)); ++i) {
      others.emplace_back(run);
    }
    run();
    for (std::thread& thread : others) {
      thread.join();
    }
    return first_failure;
  }

  template <typename Use>
  Status Read(const Part& part, const Use& use) {
    for (uint64_t at = part.start; at < part.end;) {
      const size_t size = std::min<uint64_t>(kChunkBytes, part.end - at);
      ASSIGN_OR_RETURN(const std::span<const std::byte> chunk, read_(part.file, at, size));
      CHECK(chunk.size() == size);
      use(chunk);
      at += size;
      const uint64_t done = done_ += size;
      if (options_.progress) {
        options_.progress(done, total_);
      }
    }
    return OkStatus();
  }

  const std::vector<ModelFileSize>& files_;
  const ModelRead& read_;
  const ModelHashOptions& options_;
  uint64_t total_ = 0;
  std::atomic<uint64_t> done_{0};
};

// Reads a model's files into a buffer of each thread: what is hashed is what was read, whatever
// happens to the files meanwhile.
class FolderReader {
 public:
  explicit FolderReader(const ModelFileList& list) : list_(list) {}

  StatusOr<std::span<const std::byte>> Read(size_t index, uint64_t at, size_t size) {
    const ModelFileSize& wanted = list_.files[index];
    ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(list_.root + '/' + wanted.path));
    if (file.size_bytes() != wanted.bytes) {
      return ErrorF(StatusCode::kUnavailable,
                    "%s: changed its size while the model was read; try again",
                    wanted.path);
    }
    thread_local std::vector<std::byte> buffer;
    buffer.resize(size);
    RETURN_IF_ERROR(file.Read(at, buffer));
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
  RETURN_IF_ERROR(CheckResources(files, options.serialization));
  if (options.also) {
    RETURN_IF_ERROR(CheckResources(files, *options.also));
  }
  ModelContents contents{.files = std::move(files)};
  Hasher hasher(contents.files, read, options);
  RETURN_IF_ERROR(options.also ? hasher.RunForTwo(contents) : hasher.Run(contents));
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
