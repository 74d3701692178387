#include "base/file_batch.h"

#include <utility>

namespace inferd {
namespace {

constexpr std::string_view kTemporary = ".tmp";
// Held back to be written together.
constexpr size_t kFilesMax = 128;
constexpr uint64_t kBytesMax = 32 << 20;
constexpr size_t kFoldersMax = 4096;  // to remember; others are made again, which does no harm

}  // namespace

Status FileBatch::MakeFolder(const std::string& path) {
  if (path == root_ || made_.contains(path)) {
    return OkStatus();
  }
  const std::string parent = ParentOf(path);
  RETURN_IF_ERROR(MakeFolder(parent));
  RETURN_IF_ERROR(files_.CreateFolder(path));
  if (made_.size() >= kFoldersMax) {
    made_.clear();
  }
  // It may be there since a crash that came before its parent was synced.
  made_.insert(path);
  dirty_.insert(parent);
  return OkStatus();
}

Status FileBatch::Put(const std::string& path, std::string bytes) {
  waiting_bytes_ += bytes.size();
  waiting_.push_back({root_ + '/' + path + std::string(kTemporary), std::move(bytes)});
  return waiting_.size() >= kFilesMax || waiting_bytes_ >= kBytesMax ? Write() : OkStatus();
}

Status FileBatch::Write() {
  const std::vector<NewFile> files = std::exchange(waiting_, {});
  waiting_bytes_ = 0;
  for (const NewFile& file : files) {
    RETURN_IF_ERROR(MakeFolder(ParentOf(file.path)));
  }
  RETURN_IF_ERROR(files_.WriteFiles(files));
  for (const NewFile& file : files) {
    RETURN_IF_ERROR(
        files_.Rename(file.path, file.path.substr(0, file.path.size() - kTemporary.size())));
    dirty_.insert(ParentOf(file.path));
  }
  return OkStatus();
}

Status FileBatch::Commit() {
  RETURN_IF_ERROR(Write());
  for (const std::string& folder : dirty_) {
    RETURN_IF_ERROR(files_.SyncFolder(folder));
  }
  dirty_.clear();
  return OkStatus();
}

Status WriteFileDurably(FileSystem& files,
                        const std::string& folder,
                        const std::string& name,
                        std::string_view bytes) {
  FileBatch batch(files, folder);
  RETURN_IF_ERROR(batch.Put(name, std::string(bytes)));
  return batch.Commit();
}

Status CreateFoldersDurably(FileSystem& files, const std::string& path) {
  if (path.empty() || path == "/" || path == ".") {
    return OkStatus();
  }
  // Parents that exist may belong to someone else and refuse to be synced: leave them alone.
  if (files.List(path).ok()) {
    return OkStatus();
  }
  const std::string parent = ParentOf(path);
  RETURN_IF_ERROR(CreateFoldersDurably(files, parent));
  RETURN_IF_ERROR(files.CreateFolder(path));
  return files.SyncFolder(parent);
}

}  // namespace inferd
