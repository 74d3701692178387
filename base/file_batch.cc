#include "base/file_batch.h"

#include <memory>

namespace inferd {
namespace {

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

Status FileBatch::Put(const std::string& path, std::string_view bytes) {
  const std::string whole = root_ + '/' + path;
  const std::string folder = ParentOf(whole);
  RETURN_IF_ERROR(MakeFolder(folder));
  const std::string temporary = whole + ".tmp";
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, files_.Create(temporary));
    RETURN_IF_ERROR(file->WriteAt(0, bytes));
    RETURN_IF_ERROR(file->Sync());
  }
  RETURN_IF_ERROR(files_.Rename(temporary, whole));
  dirty_.insert(folder);
  return OkStatus();
}

Status FileBatch::Commit() {
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
  RETURN_IF_ERROR(batch.Put(name, bytes));
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
