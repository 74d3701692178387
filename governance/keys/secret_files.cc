#include "governance/keys/secret_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/file.h"

namespace inferd {
namespace {

constexpr uint64_t kSecretBytesMax = 4096;

Status FileError(const std::string& path, const char* what, int error) {
  const StatusCode code = error == ENOENT   ? StatusCode::kNotFound
                          : error == EEXIST ? StatusCode::kAlreadyExists
                          : error == EACCES ? StatusCode::kPermissionDenied
                                            : StatusCode::kUnavailable;
  return ErrorF(code, "%s: cannot %s: %s", path, what, std::strerror(error));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

std::string CredentialsDirectory() {
  const char* const directory = std::getenv("CREDENTIALS_DIRECTORY");
  return directory == nullptr ? "" : directory;
}

bool IsCredential(const std::string& path) {
  const std::string directory = CredentialsDirectory();
  return !directory.empty() && std::filesystem::path(path).parent_path() == directory;
}

Status CheckMode(const std::string& path, int fd) {
  struct stat info = {};
  if (fstat(fd, &info) != 0) {
    return FileError(path, "stat", errno);
  }
  const mode_t mode = info.st_mode & 07777;
  const bool credential = IsCredential(path);
  const bool allowed = credential ? (mode & 037) == 0 : mode == 0600 || mode == 0400;
  if (!S_ISREG(info.st_mode) || !allowed || (!credential && info.st_uid != geteuid())) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "%s: a secret is a regular file of this user with mode 0600; this one has mode "
                  "%04o and uid %d (chmod 0600, chown)",
                  path,
                  mode,
                  info.st_uid);
  }
  return OkStatus();
}

int HexValue(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

std::string SecretFilePath(const std::string& directory, std::string_view name) {
  const std::string credentials = CredentialsDirectory();
  if (!credentials.empty()) {
    const std::filesystem::path path = std::filesystem::path(credentials) / name;
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) {
      return path.string();
    }
  }
  return (std::filesystem::path(directory) / name).string();
}

StatusOr<std::string> ReadSecretFile(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.get() < 0) {
    return FileError(path, "open", errno);
  }
  RETURN_IF_ERROR(CheckMode(path, file.get()));
  // By way of the descriptor that was checked, not of a name that may point elsewhere by now.
  auto content = ReadFile(absl::StrFormat("/proc/self/fd/%d", file.get()), kSecretBytesMax);
  return content.ok() ? content : Annotate(content.status(), path);
}

StatusOr<SecretKey> ReadKeyFile(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadSecretFile(path));
  const bool has_shape = text.size() == 2 * SecretKey::kBytes + 1 && text.back() == '\n';
  std::string bytes;
  bool is_hex = has_shape;
  for (size_t i = 0; is_hex && i + 1 < text.size(); i += 2) {
    const int high = HexValue(text[i]);
    const int low = HexValue(text[i + 1]);
    is_hex = high >= 0 && low >= 0;
    bytes.push_back(static_cast<char>(high * 16 + low));
  }
  StatusOr<SecretKey> key = is_hex
                                ? SecretKey::From(bytes)
                                : ErrorF(StatusCode::kFailedPrecondition,
                                         "%s: not a key: 64 hex digits and a new line are expected",
                                         path);
  Cleanse(text);
  Cleanse(bytes);
  return key;
}

Status WriteSecretFile(const std::string& path, std::string_view content) {
  const Descriptor file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) {
    return FileError(path, "create", errno);
  }
  if (fchmod(file.get(), 0600) != 0 ||
      write(file.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()) ||
      fsync(file.get()) != 0) {
    const int error = errno;
    unlink(path.c_str());
    return FileError(path, "write", error);
  }
  const std::string directory = std::filesystem::path(path).parent_path().string();
  const Descriptor folder(
      open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return folder.get() >= 0 && fsync(folder.get()) == 0 ? OkStatus()
                                                       : FileError(directory, "sync", errno);
}

Status WriteKeyFile(const std::string& path, const SecretKey& key) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * SecretKey::kBytes + 1);
  for (const char byte : key.bytes()) {
    text.push_back(kDigits[static_cast<unsigned char>(byte) >> 4]);
    text.push_back(kDigits[static_cast<unsigned char>(byte) & 15]);
  }
  text.push_back('\n');
  const Status status = WriteSecretFile(path, text);
  Cleanse(text);
  return status;
}

}  // namespace inferd
