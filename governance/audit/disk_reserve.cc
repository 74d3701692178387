#include "governance/audit/disk_reserve.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace inferd {
namespace {

constexpr std::string_view kPrefix = "reserve";
constexpr std::string_view kUnfinished = "reserve.tmp";
constexpr uint64_t kChunkBytes = 1 << 20;
constexpr double kHysteresis = 0.01;

bool NoSpace(const Status& status) { return status.code() == StatusCode::kResourceExhausted; }
template <typename T>
bool NoSpace(const StatusOr<T>& result) {
  return NoSpace(result.status());
}

}  // namespace

std::string_view Name(SpaceLevel level) {
  constexpr std::string_view kNames[] = {"plenty", "warn", "page", "refuse"};
  return kNames[static_cast<size_t>(level)];
}

SpaceLevel LevelOf(const DiskSpace& space, const SpaceThresholds& thresholds, SpaceLevel last) {
  const double free = static_cast<double>(space.free_bytes) /
                      static_cast<double>(std::max<uint64_t>(space.total_bytes, 1));
  const auto is_below = [&](double threshold, SpaceLevel level) {
    return free < threshold + (last >= level ? kHysteresis : 0.0);
  };
  return is_below(thresholds.refuse, SpaceLevel::kRefuse) ? SpaceLevel::kRefuse
         : is_below(thresholds.page, SpaceLevel::kPage)   ? SpaceLevel::kPage
         : is_below(thresholds.warn, SpaceLevel::kWarn)   ? SpaceLevel::kWarn
                                                          : SpaceLevel::kPlenty;
}

template <typename Call>
auto DiskReserve::WithReserve(const Call& call) {
  auto result = call();
  return NoSpace(result) && Release() ? call() : std::move(result);
}

// A file that writes once more after the reserve was given back.
class DiskReserve::File final : public WritableFile {
 public:
  File(DiskReserve& reserve, std::unique_ptr<WritableFile> file)
      : reserve_(reserve), file_(std::move(file)) {}
  Status WriteAt(uint64_t offset, std::string_view bytes) override {
    return reserve_.WithReserve([&] { return file_->WriteAt(offset, bytes); });
  }
  Status SyncData() override { return file_->SyncData(); }
  Status Sync() override { return file_->Sync(); }

 private:
  DiskReserve& reserve_;
  const std::unique_ptr<WritableFile> file_;
};

DiskReserve::DiskReserve(FileSystem& files, std::string folder, uint64_t reserve_bytes)
    : files_(files), folder_(std::move(folder)), reserve_bytes_(reserve_bytes) {}

std::string DiskReserve::Path() const {
  return absl::StrFormat("%s/%s.%d", folder_, kPrefix, reserve_bytes_);
}

Status DiskReserve::Fill() {
  MutexLock lock(fill_mutex_);
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(folder_));
  there_ = false;
  for (const std::string& name : names) {
    if (folder_ + '/' + name == Path()) {
      there_ = reserve_bytes_ > 0;
    } else if (name.starts_with(kPrefix)) {
      RETURN_IF_ERROR(files_.Remove(folder_ + '/' + name));
    }
  }
  if (there_ || reserve_bytes_ == 0) {
    return OkStatus();
  }
  const std::string unfinished = folder_ + '/' + std::string(kUnfinished);
  if (const Status written = Write(unfinished); !written.ok()) {
    (void)files_.Remove(unfinished);
    return written;
  }
  RETURN_IF_ERROR(files_.Rename(unfinished, Path()));
  RETURN_IF_ERROR(files_.SyncFolder(folder_));
  there_ = true;
  return OkStatus();
}

// Written, not only allocated: some file systems share or compress what was never written.
Status DiskReserve::Write(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, files_.Create(path));
  const std::string zeros(std::min(kChunkBytes, reserve_bytes_), '\0');
  for (uint64_t at = 0; at < reserve_bytes_; at += zeros.size()) {
    const uint64_t left = reserve_bytes_ - at;
    RETURN_IF_ERROR(file->WriteAt(at, std::string_view(zeros).substr(0, left)));
  }
  return file->Sync();
}

bool DiskReserve::Release() {
  if (!there_.exchange(false) || !files_.Remove(Path()).ok()) {
    return false;
  }
  Log(LogLevel::kError,
      "audit: the disk is full; the reserve was given back for the log's own and administrators' "
      "records, requests are refused",
      {{"folder", folder_}, {"reserve_bytes", std::to_string(reserve_bytes_)}});
  return true;
}

StatusOr<std::string> DiskReserve::Read(const std::string& path, uint64_t size_bytes_max) {
  return files_.Read(path, size_bytes_max);
}

StatusOr<std::unique_ptr<WritableFile>> DiskReserve::Create(const std::string& path) {
  auto file = WithReserve([&] { return files_.Create(path); });
  if (!file.ok()) {
    return file;
  }
  return std::unique_ptr<WritableFile>(std::make_unique<File>(*this, *std::move(file)));
}

Status DiskReserve::WriteFiles(std::span<const NewFile> files) {
  return WithReserve([&] { return files_.WriteFiles(files); });
}

Status DiskReserve::Rename(const std::string& from, const std::string& to) {
  return WithReserve([&] { return files_.Rename(from, to); });
}

Status DiskReserve::Remove(const std::string& path) { return files_.Remove(path); }

Status DiskReserve::CreateFolder(const std::string& path) {
  return WithReserve([&] { return files_.CreateFolder(path); });
}

Status DiskReserve::SyncFolder(const std::string& path) { return files_.SyncFolder(path); }

StatusOr<std::vector<std::string>> DiskReserve::List(const std::string& path) {
  return files_.List(path);
}

StatusOr<DiskSpace> DiskReserve::Space(const std::string& path) { return files_.Space(path); }

StatusOr<std::unique_ptr<FileLock>> DiskReserve::Lock(const std::string& path) {
  return WithReserve([&] { return files_.Lock(path); });
}

}  // namespace inferd
