#include "tests/support/fake_file_system.h"

#include <algorithm>

namespace inferd {
namespace {

constexpr uint64_t kSectorBytes = 512;

std::string BaseOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

void Put(std::string& data, uint64_t offset, std::string_view bytes) {
  if (data.size() < offset + bytes.size()) {
    data.resize(offset + bytes.size(), '\0');
  }
  data.replace(offset, bytes.size(), bytes);
}

}  // namespace

struct FakeFileSystem::Node {
  bool is_folder = false;
  // A file: as programs see it, as the device has it, and what lies between.
  struct Write {
    bool truncate = false;
    uint64_t offset = 0;
    std::string bytes;
  };
  std::string data;
  std::string durable;
  std::vector<Write> pending;
  // A folder: the same.
  std::map<std::string, NodePtr> entries;
  std::map<std::string, NodePtr> durable_entries;
  std::vector<Change> changes;

  void Apply(const Change& change) {
    for (const auto& [name, node] : change) {
      if (node == nullptr) {
        entries.erase(name);
      } else {
        entries[name] = node;
      }
    }
    changes.push_back(change);
  }
};

struct FakeFileSystem::Handle final : WritableFile {
  Handle(FakeFileSystem& files_in, NodePtr node_in) : files(files_in), node(std::move(node_in)) {}
  Status WriteAt(uint64_t offset, std::string_view bytes) override {
    return files.WriteAt(*node, offset, bytes);
  }
  Status SyncData() override { return files.Sync(*node, files.ignore_sync_data_); }
  Status Sync() override { return files.Sync(*node, false); }

  FakeFileSystem& files;
  NodePtr node;
};

FakeFileSystem::FakeFileSystem(uint64_t seed) : root_(std::make_shared<Node>()), random_(seed) {
  root_->is_folder = true;
}
FakeFileSystem::~FakeFileSystem() = default;

void FakeFileSystem::FailCall(uint64_t call) {
  MutexLock lock(mutex_);
  fail_at_ = calls_ + call;
}

void FakeFileSystem::KillAtCall(uint64_t call) {
  MutexLock lock(mutex_);
  dead_at_ = calls_ + call;
}

uint64_t FakeFileSystem::num_calls() const {
  MutexLock lock(mutex_);
  return calls_;
}

void FakeFileSystem::Restart() {
  MutexLock lock(mutex_);
  fail_at_.reset();
  dead_at_.reset();
}

void FakeFileSystem::SetCapacity(uint64_t size_bytes) {
  MutexLock lock(mutex_);
  capacity_ = size_bytes;
}

uint64_t FakeFileSystem::UsedBytes() const {
  MutexLock lock(mutex_);
  return UsedBytes(*root_);
}

uint64_t FakeFileSystem::UsedBytes(const Node& node) {
  uint64_t used = node.data.size();
  for (const auto& [name, child] : node.entries) {
    used += UsedBytes(*child);
  }
  return used;
}

Status FakeFileSystem::CountCall(const std::string& path) {
  ++calls_;
  if (dead_at_ && calls_ >= *dead_at_) {
    return ErrorF(StatusCode::kUnavailable, "%s: the process is dead", path);
  }
  if (fail_at_ && calls_ == *fail_at_) {
    return ErrorF(StatusCode::kUnavailable, "%s: injected fault", path);
  }
  return OkStatus();
}

FakeFileSystem::NodePtr FakeFileSystem::Find(const std::string& path) const {
  NodePtr node = root_;
  for (size_t start = 0; start < path.size() && node != nullptr;) {
    const size_t end = std::min(path.find('/', start), path.size());
    if (end > start) {
      const auto found = node->entries.find(path.substr(start, end - start));
      node = found == node->entries.end() ? nullptr : found->second;
    }
    start = end + 1;
  }
  return node;
}

StatusOr<FakeFileSystem::NodePtr> FakeFileSystem::FolderOf(const std::string& path) const {
  const std::string parent = ParentOf(path);
  NodePtr folder = parent == "." ? root_ : Find(parent);
  if (folder == nullptr || !folder->is_folder) {
    return ErrorF(StatusCode::kNotFound, "%s: no such folder", parent);
  }
  return folder;
}

StatusOr<std::string> FakeFileSystem::Read(const std::string& path, uint64_t size_bytes_max) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CountCall(path));
  const NodePtr node = Find(path);
  if (node == nullptr || node->is_folder) {
    return ErrorF(StatusCode::kNotFound, "%s: no such file", path);
  }
  if (node->data.size() > size_bytes_max) {
    return ErrorF(StatusCode::kResourceExhausted, "%s: too large", path);
  }
  return node->data;
}

StatusOr<std::unique_ptr<WritableFile>> FakeFileSystem::Create(const std::string& path) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CountCall(path));
  ASSIGN_OR_RETURN(const NodePtr folder, FolderOf(path));
  NodePtr node = Find(path);
  if (node == nullptr) {
    node = std::make_shared<Node>();
    folder->Apply({{BaseOf(path), node}});
  } else {
    node->data.clear();
    node->pending.push_back({.truncate = true, .offset = 0, .bytes = ""});
  }
  return std::make_unique<Handle>(*this, node);
}

Status FakeFileSystem::WriteAt(Node& node, uint64_t offset, std::string_view bytes) {
  MutexLock lock(mutex_);
  Status status = CountCall("a file");
  const uint64_t end = offset + bytes.size();
  if (status.ok() && capacity_ && end > node.data.size() &&
      UsedBytes(*root_) + (end - node.data.size()) > *capacity_) {
    status = ErrorF(StatusCode::kResourceExhausted, "a file: no space left");
  }
  if (!status.ok()) {
    const bool dead = dead_at_ && calls_ > *dead_at_;
    // Some of it may have been written.
    bytes = bytes.substr(0, dead ? 0 : random_.Below(bytes.size() + 1));
    if (status.code() == StatusCode::kResourceExhausted) {
      // As much as fits.
      const uint64_t left = *capacity_ - std::min(*capacity_, UsedBytes(*root_));
      const uint64_t last = std::max<uint64_t>(node.data.size() + left, offset);
      bytes = bytes.substr(0, last - offset);
    }
  }
  Put(node.data, offset, bytes);
  node.pending.push_back({.truncate = false, .offset = offset, .bytes = std::string(bytes)});
  return status;
}

Status FakeFileSystem::Sync(Node& node, bool ignored) {
  MutexLock lock(mutex_);
  const Status status = CountCall("a file");
  if (ignored) {
    return status;
  }
  if (!status.ok()) {
    const bool dead = dead_at_ && calls_ >= *dead_at_;
    if (!dead && random_.Below(2) == 0) {
      node.pending.clear();  // visible still, and never written
    }
    return status;
  }
  for (const Node::Write& write : node.pending) {
    if (write.truncate) {
      node.durable.clear();
    }
    Put(node.durable, write.offset, write.bytes);
  }
  node.pending.clear();
  return OkStatus();
}

Status FakeFileSystem::Rename(const std::string& from, const std::string& to) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CountCall(from));
  const NodePtr node = Find(from);
  if (node == nullptr || ParentOf(from) != ParentOf(to)) {
    return ErrorF(StatusCode::kNotFound, "%s: not there, or another folder", from);
  }
  ASSIGN_OR_RETURN(const NodePtr folder, FolderOf(to));
  folder->Apply({{BaseOf(from), nullptr}, {BaseOf(to), node}});
  return OkStatus();
}

Status FakeFileSystem::Remove(const std::string& path) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CountCall(path));
  const NodePtr node = Find(path);
  if (node == nullptr) {
    return ErrorF(StatusCode::kNotFound, "%s: not there", path);
  }
  if (!node->entries.empty()) {
    return ErrorF(StatusCode::kUnavailable, "%s: not empty", path);
  }
  ASSIGN_OR_RETURN(const NodePtr folder, FolderOf(path));
  folder->Apply({{BaseOf(path), nullptr}});
  return OkStatus();
}

Status FakeFileSystem::CreateFolder(const std::string& path) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CountCall(path));
  if (Find(path) != nullptr) {
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const NodePtr folder, FolderOf(path));
  auto node = std::make_shared<Node>();
  node->is_folder = true;
  folder->Apply({{BaseOf(path), node}});
  return OkStatus();
}

Status FakeFileSystem::SyncFolder(const std::string& path) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CountCall(path));
  const NodePtr folder = path == "." ? root_ : Find(path);
  if (folder == nullptr || !folder->is_folder) {
    return ErrorF(StatusCode::kNotFound, "%s: no such folder", path);
  }
  folder->durable_entries = folder->entries;
  folder->changes.clear();
  return OkStatus();
}

StatusOr<std::vector<std::string>> FakeFileSystem::List(const std::string& path) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CountCall(path));
  const NodePtr folder = Find(path);
  if (folder == nullptr || !folder->is_folder) {
    return ErrorF(StatusCode::kNotFound, "%s: no such folder", path);
  }
  std::vector<std::string> names;
  for (const auto& [name, node] : folder->entries) {
    names.push_back(name);
  }
  return names;
}

StatusOr<DiskSpace> FakeFileSystem::Space(const std::string& path) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CountCall(path));
  if (capacity_) {
    const uint64_t used = UsedBytes(*root_);
    return DiskSpace{.total_bytes = *capacity_,
                     .free_bytes = *capacity_ - std::min(*capacity_, used)};
  }
  return space_;
}

StatusOr<std::unique_ptr<FileLock>> FakeFileSystem::Lock(const std::string& path) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CountCall(path));
  return std::make_unique<FileLock>();
}

void FakeFileSystem::CutPower() {
  MutexLock lock(mutex_);
  fail_at_.reset();
  dead_at_.reset();
  CutPower(*root_);
}

void FakeFileSystem::CutPower(Node& node) {
  // Nothing, about half, or all of what is not synced arrives.
  const uint64_t odds = random_.Below(3);
  const auto arrives = [this, odds]() NO_THREAD_SAFETY_ANALYSIS {
    return odds == 2 || (odds == 1 && random_.Below(2) == 0);
  };
  if (node.is_folder) {
    node.entries = node.durable_entries;
    for (const Change& change : std::exchange(node.changes, {})) {
      if (arrives()) {
        node.Apply(change);
      }
    }
    node.durable_entries = node.entries;
    node.changes.clear();
    for (const auto& [name, child] : node.entries) {
      CutPower(*child);
    }
    return;
  }
  const uint64_t size = node.data.size();
  for (const Node::Write& write : std::exchange(node.pending, {})) {
    if (write.truncate && arrives()) {
      node.durable.clear();
    }
    for (uint64_t at = 0; at < write.bytes.size();) {
      const uint64_t end = std::min<uint64_t>(
          write.bytes.size(),
          ((write.offset + at) / kSectorBytes + 1) * kSectorBytes - write.offset);
      if (arrives()) {
        Put(node.durable, write.offset + at, std::string_view(write.bytes).substr(at, end - at));
      }
      at = end;
    }
  }
  // The size may arrive without the bytes.
  if (node.durable.size() < size && arrives()) {
    node.durable.resize(size, '\0');
  }
  node.data = node.durable;
}

}  // namespace inferd
