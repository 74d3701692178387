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

// Bytes between two calls of `progress`.
constexpr size_t kChunkBytes = 8 << 20;
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

  std::vector<ModelFile> Take() {
    std::sort(files_.begin(), files_.end(), [](const ModelFile& a, const ModelFile& b) {
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
  std::vector<ModelFile> files_;
};

// A part of a file that becomes one resource.
struct Part {
  size_t file;
  uint64_t start, end;
};

std::vector<Part> Cut(const std::vector<ModelFile>& files,
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
  Hasher(std::string root, const std::vector<ModelFile>& files, const ModelHashOptions& options)
      : root_(std::move(root)), files_(files), options_(options) {
    for (const ModelFile& file : files) {
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
    const ModelFile& file = files_[part.file];
    ModelResource resource;
    resource.name = options_.serialization.method == ModelSerialization::Method::kFiles
                        ? file.path
                        : absl::StrFormat("%s:%d:%d", file.path, part.start, part.end);
    if (file.bytes == 0) {  // cannot be mapped
      resource.digest = Sha256Of("");
      return resource;
    }
    const std::string path = root_ + '/' + file.path;
    ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::Open(path));
    if (mapped.bytes().size() != file.bytes) {
      return ErrorF(StatusCode::kUnavailable, "%s: changed while it was read; try again", path);
    }
    Sha256 hash;
    for (uint64_t at = part.start; at < part.end;) {
      const size_t size = std::min<uint64_t>(kChunkBytes, part.end - at);
      const auto chunk = mapped.bytes().subspan(at, size);
      hash.Update(chunk);
      mapped.Release(chunk);
      at += size;
      const uint64_t done = done_ += size;
      if (options_.progress) {
        options_.progress(done, total_);
      }
    }
    resource.digest = hash.Finish();
    return resource;
  }

  const std::string root_;
  const std::vector<ModelFile>& files_;
  const ModelHashOptions& options_;
  uint64_t total_ = 0;
  std::atomic<uint64_t> done_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  Status status_ = OkStatus();
};

}  // namespace

Digest RootDigest(const std::vector<ModelResource>& resources) {
  Sha256 root;
  for (const ModelResource& resource : resources) {
    root.Update(std::as_bytes(std::span(resource.digest.bytes)));
  }
  return root.Finish();
}

StatusOr<ModelContents> HashModelFiles(const std::string& folder, const ModelHashOptions& options) {
  CHECK(options.threads > 0 && options.serialization.shard_bytes > 0);
  std::string root = folder;
  while (root.size() > 1 && root.ends_with('/')) {
    root.pop_back();
  }
  ModelContents contents;
  std::error_code error;
  const fs::file_status status = fs::status(root, error);
  if (fs::is_regular_file(status)) {
    contents.files = {{fs::path(root).filename().string(), fs::file_size(root, error)}};
    root = ParentOf(root);
  } else if (fs::is_directory(status)) {
    FolderWalk walk(root, options.serialization);
    RETURN_IF_ERROR(walk.Visit("", 0));
    contents.files = walk.Take();
  } else {
    return ErrorF(StatusCode::kNotFound, "%s: no file and no folder", root);
  }
  if (error) {
    return ErrorF(StatusCode::kUnavailable, "%s: %s", root, error.message());
  }
  Hasher hasher(root, contents.files, options);
  ASSIGN_OR_RETURN(contents.resources, hasher.Run(Cut(contents.files, options.serialization)));
  contents.root = RootDigest(contents.resources);
  return contents;
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
  for (const ModelFile& file : expected.files) {
    files[file.path] = file.bytes;
  }
  for (const ModelFile& file : actual.files) {
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
