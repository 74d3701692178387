#include "governance/vault.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "governance/vault_text.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSegmentReadBytesMax =
    static_cast<uint64_t>(kVaultSegmentBytesMax) + kVaultPayloadBytesMax + (1 << 20);
constexpr std::string_view kPayloadPlace = "inferd-vault-v1 payload ";
constexpr std::string_view kKeyPlace = "inferd-vault-v1 key ";

Status FileError(const std::string& path, const char* what, int error) {
  return ErrorF(error == ENOENT ? StatusCode::kNotFound : StatusCode::kUnavailable,
                "%s: cannot %s: %s",
                path,
                what,
                std::strerror(error));
}

Status SyncFolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) {
    close(fd);
  }
  return synced ? OkStatus() : FileError(path, "sync", error);
}

// Makes a folder for its owner alone, durably. Fine if it is there.
Status MakeFolder(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    return OkStatus();
  }
  if (!fs::create_directory(path, error)) {
    return FileError(path, "make", error.value());
  }
  fs::permissions(path, fs::perms::owner_all, error);
  return SyncFolder(fs::path(path).parent_path().string());
}

Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return FileError(path, "write", errno);
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return OkStatus();
}

Status CheckNames(const Vault::PutRequest& request) {
  if (request.rid.size() > kVaultNameBytesMax ||
      request.subject.tenant.size() > kVaultNameBytesMax ||
      request.origin.size() > kVaultNameBytesMax ||
      request.payload.size() > kVaultPayloadBytesMax) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "%s: a payload of %d bytes does not fit the vault, which takes %d, names %d",
                  request.rid.substr(0, 64),
                  request.payload.size(),
                  kVaultPayloadBytesMax,
                  kVaultNameBytesMax);
  }
  return OkStatus();
}

// Splits "tenant/day/segment:offset", and refuses what could lead out of the vault.
StatusOr<std::pair<std::string, size_t>> ParseHandle(std::string_view handle) {
  const Status malformed = ErrorF(StatusCode::kInvalidArgument, "not a handle of the vault");
  const size_t colon = handle.rfind(':');
  if (colon == std::string_view::npos) {
    return malformed;
  }
  size_t offset = 0;
  const char* const end = handle.data() + handle.size();
  const auto [stop, error] = std::from_chars(handle.data() + colon + 1, end, offset);
  const std::string_view path = handle.substr(0, colon);
  const bool three_parts = std::count(path.begin(), path.end(), '/') == 2;
  if (error != std::errc() || stop != end || !three_parts || path.starts_with('/') ||
      path.find("..") != std::string_view::npos || path.find('\0') != std::string_view::npos) {
    return malformed;
  }
  return std::pair(std::string(path), offset);
}

}  // namespace

struct Vault::Segment {
  ~Segment() {
    if (fd >= 0) {
      close(fd);
    }
  }
  std::string name;  // below the vault's folder
  int fd = -1;
  int64_t size_bytes = 0;
  bool failed = false;  // a write did not end: nothing may follow it
  int64_t last_use = 0;
};

Vault::Vault(std::string folder, KeyStore& keys, const Clock& clock)
    : folder_(std::move(folder)), keys_(keys), clock_(clock) {}

Vault::~Vault() = default;

StatusOr<Vault::Segment*> Vault::SegmentFor(const std::string& tenant_folder) {
  const std::string day = tenant_folder + "/" + DayText(clock_.WallNow());
  auto& open_segment = open_[tenant_folder];
  const bool usable = open_segment != nullptr && !open_segment->failed &&
                      open_segment->name.starts_with(day + "/") &&
                      open_segment->size_bytes < kVaultSegmentBytesMax;
  if (!usable) {
    open_segment.reset();
    RETURN_IF_ERROR(MakeFolder(folder_ + "/" + tenant_folder));
    RETURN_IF_ERROR(MakeFolder(folder_ + "/" + day));
    auto segment = std::make_unique<Segment>();
    const int64_t now_us = MicrosOf(clock_.WallNow());
    std::string path;
    do {  // a name is taken if the clock stepped back over a restart
      segment->name =
          absl::StrFormat("%s/%020d-%06d%s", day, now_us, next_segment_++, kVaultSegmentSuffix);
      path = folder_ + "/" + segment->name;
      segment->fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    } while (segment->fd < 0 && errno == EEXIST);
    if (segment->fd < 0) {
      return FileError(path, "create", errno);
    }
    RETURN_IF_ERROR(WriteAll(segment->fd, vault_format::kSegmentHeader, path));
    segment->size_bytes = static_cast<int64_t>(vault_format::kSegmentHeader.size());
    RETURN_IF_ERROR(SyncFolder(folder_ + "/" + day));
    open_segment = std::move(segment);
  }
  Segment* const result = open_segment.get();
  result->last_use = ++uses_;
  if (open_.size() > kVaultOpenSegmentsMax) {
    open_.erase(std::min_element(open_.begin(), open_.end(), [](const auto& a, const auto& b) {
      return (a.second ? a.second->last_use : 0) < (b.second ? b.second->last_use : 0);
    }));
  }
  return result;
}

StatusOr<Vault::Put> Vault::Store(const PutRequest& request) {
  RETURN_IF_ERROR(CheckNames(request));
  ASSIGN_OR_RETURN(const SubjectKey subject_key, keys_.KeyForSealing(request.subject));
  const VaultEnvelope envelope{.rid = std::string(request.rid),
                               .tenant = request.subject.tenant,
                               .origin = std::string(request.origin),
                               .direction = request.direction,
                               .key_id = subject_key.key_id};
  const std::string bound = vault_format::EncodeEnvelope(envelope);
  const SecretKey record_key = SecretKey::Random();
  std::string secret(request.salt.begin(), request.salt.end());
  Put result;
  result.commitment = CommitTo(request.salt, request.payload);
  secret.append(record_key.bytes());
  const std::string sealed_key = AeadSeal(subject_key.key, std::string(kKeyPlace) + bound, secret);
  Cleanse(secret);
  const std::string frame = vault_format::Encode(
      envelope,
      sealed_key,
      AeadSeal(record_key, std::string(kPayloadPlace) + bound, request.payload));
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(Segment* const segment, SegmentFor(FolderName(request.subject.tenant)));
  const std::string path = folder_ + "/" + segment->name;
  result.handle = absl::StrFormat("%s:%d", segment->name, segment->size_bytes);
  Status status = WriteAll(segment->fd, frame, path);
  if (status.ok() && fdatasync(segment->fd) != 0) {
    status = FileError(path, "sync", errno);
  }
  if (!status.ok()) {
    segment->failed = true;  // the next record begins a segment of its own
    return status;
  }
  segment->size_bytes += static_cast<int64_t>(frame.size());
  return result;
}

StatusOr<VaultRecord> Vault::Open(std::string_view handle) {
  ASSIGN_OR_RETURN(const auto place, ParseHandle(handle));
  ASSIGN_OR_RETURN(const std::string bytes,
                   ReadFile(folder_ + "/" + place.first, kSegmentReadBytesMax));
  if (place.second > bytes.size()) {
    return ErrorF(StatusCode::kDataLoss, "the vault's segment ends before %s", handle);
  }
  const auto frame = vault_format::Decode(std::string_view(bytes).substr(place.second));
  if (!frame.ok()) {
    return ErrorF(StatusCode::kDataLoss, "%s: %s", handle, Message(frame.status()));
  }
  ASSIGN_OR_RETURN(const SecretKey subject_key, keys_.KeyForOpening(frame->envelope.key_id));
  ASSIGN_OR_RETURN(
      std::string secret,
      AeadOpen(subject_key, std::string(kKeyPlace) + std::string(frame->bound), frame->sealed_key));
  VaultRecord record{.envelope = frame->envelope, .salt = {}, .payload = {}};
  std::copy_n(secret.begin(), record.salt.size(), record.salt.begin());
  ASSIGN_OR_RETURN(const SecretKey record_key,
                   SecretKey::From(std::string_view(secret).substr(record.salt.size())));
  Cleanse(secret);
  ASSIGN_OR_RETURN(record.payload,
                   AeadOpen(record_key,
                            std::string(kPayloadPlace) + std::string(frame->bound),
                            frame->sealed_payload));
  return record;
}

std::vector<std::string> Vault::DaysOf(std::string_view tenant) const {
  std::vector<std::string> days;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(fs::path(folder_) / FolderName(tenant), error)) {
    days.push_back(entry.path().filename().string());
  }
  std::sort(days.begin(), days.end());
  return days;
}

std::vector<std::string> Vault::TenantsBefore(WallTime before) const {
  std::vector<std::string> tenants;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const auto tenant = TenantOfFolder(entry.path().filename().string());
    if (tenant.has_value()) {
      const std::vector<std::string> days = DaysOf(*tenant);
      if (!days.empty() && days.front() < DayText(before)) {
        tenants.push_back(*tenant);
      }
    }
  }
  std::sort(tenants.begin(), tenants.end());
  return tenants;
}

Status Vault::VisitDay(std::string_view tenant,
                       const std::string& day,
                       const Visitor& visit) const {
  std::error_code error;
  for (const auto& segment :
       fs::directory_iterator(fs::path(folder_) / FolderName(tenant) / day, error)) {
    ASSIGN_OR_RETURN(const std::string bytes,
                     ReadFile(segment.path().string(), kSegmentReadBytesMax));
    RETURN_IF_ERROR(vault_format::ForEachFrame(
        bytes, [&](size_t, const vault_format::Frame& frame) { visit(day, frame.envelope); }));
  }
  return error ? FileError(folder_, "list", error.value()) : OkStatus();
}

Status Vault::ForEach(std::string_view tenant, const Visitor& visit) const {
  for (const std::string& day : DaysOf(tenant)) {
    RETURN_IF_ERROR(VisitDay(tenant, day, visit));
  }
  return OkStatus();
}

StatusOr<Vault::Purged> Vault::Purge(std::string_view tenant,
                                     WallTime before,
                                     const IsHeld& is_held) {
  MutexLock lock(mutex_);
  Purged purged;
  const std::string tenant_folder = folder_ + "/" + FolderName(tenant);
  for (const std::string& day : DaysOf(tenant)) {
    if (day >= DayText(before)) {
      continue;
    }
    bool held = false;
    RETURN_IF_ERROR(
        VisitDay(tenant, day, [&](std::string_view that_day, const VaultEnvelope& envelope) {
          held = held || is_held(that_day, envelope);
        }));
    if (held) {
      ++purged.days_held;
      continue;
    }
    std::error_code error;
    fs::remove_all(fs::path(tenant_folder) / day, error);
    if (error) {
      return FileError(tenant_folder + "/" + day, "remove", error.value());
    }
    ++purged.days;
  }
  if (purged.days > 0) {
    RETURN_IF_ERROR(SyncFolder(tenant_folder));
  }
  return purged;
}

}  // namespace inferd
