#include "base/change_history.h"

#include "base/check.h"
#include "base/file_batch.h"

namespace inferd {
namespace {

constexpr std::string_view kSuffix = ".json";

std::string ChangeFile(uint64_t number) { return absl::StrFormat("%08d%s", number, kSuffix); }

}  // namespace

StatusOr<std::unique_ptr<ChangeHistory>> ChangeHistory::Open(FileSystem& files,
                                                             std::string folder,
                                                             const Apply& apply) {
  std::unique_ptr<ChangeHistory> history(new ChangeHistory(files, std::move(folder)));
  RETURN_IF_ERROR(CreateFoldersDurably(files, history->folder_));
  ASSIGN_OR_RETURN(history->lock_, files.Lock(history->folder_ + "/lock"));
  RETURN_IF_ERROR(history->Read(apply));
  return history;
}

Status ChangeHistory::Read(const Apply& apply) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(folder_));
  for (const std::string& name : names) {
    if (!std::string_view(name).ends_with(kSuffix)) {
      continue;  // the lock, or what a crash left behind
    }
    const std::string path = folder_ + '/' + name;
    if (name != ChangeFile(next())) {
      return ErrorF(StatusCode::kDataLoss,
                    "%s: change %d of the history should come here; restore the folder from a copy",
                    path,
                    next());
    }
    ASSIGN_OR_RETURN(const std::string bytes, files_.Read(path, kChangeBytesMax));
    if (const Status applied = apply(next(), bytes); !applied.ok()) {
      return ErrorF(StatusCode::kDataLoss,
                    "%s: not as it was written (%s); restore the folder from a copy",
                    path,
                    Message(applied));
    }
    ++size_;
  }
  return OkStatus();
}

Status ChangeHistory::CheckUsable() const {
  if (unusable_) {
    return ErrorF(StatusCode::kUnavailable,
                  "%s: a change could not be written; restart, which reads what is there",
                  folder_);
  }
  if (size_ >= kChangesMax) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "%s: the history has %d changes and takes no more",
                  folder_,
                  kChangesMax);
  }
  return OkStatus();
}

Status ChangeHistory::Append(std::string_view bytes) {
  RETURN_IF_ERROR(CheckUsable());
  CHECK(bytes.size() <= kChangeBytesMax);
  const Status written = WriteFileDurably(files_, folder_, ChangeFile(next()), bytes);
  unusable_ = !written.ok();
  size_ += written.ok() ? 1 : 0;
  return written;
}

}  // namespace inferd
