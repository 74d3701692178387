#include "governance/policy/policy_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file_batch.h"
#include "base/utf8.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

constexpr size_t kActorBytesMax = 256;
constexpr uint64_t kDocumentBytesMax = (2 << 20) + 256;

std::string HistoryFolder(const std::string& folder) { return folder + "/history"; }
std::string SetsFolder(const std::string& folder) { return folder + "/sets"; }
std::string SetFile(const Digest& set) { return set.Hex() + ".policies"; }

int64_t Micros(WallTime time) {
  return std::chrono::floor<std::chrono::microseconds>(time).time_since_epoch().count();
}

std::string Encode(const PolicyChange& change) {
  Json json = {{"v", 1},
               {"number", change.number},
               {"step", Name(change.step)},
               {"set", change.set.Hex()},
               {"actor", change.actor},
               {"at_us", Micros(change.at)}};
  if (!change.proposed_by.empty()) {
    json["proposed_by"] = change.proposed_by;
  }
  if (!change.approved_by.empty()) {
    json["approved_by"] = change.approved_by;
  }
  if (change.replaces) {
    json["replaces"] = change.replaces->Hex();
  }
  return json.dump() + '\n';
}

std::string TextOr(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

// Only what Encode writes: the bytes are compared.
StatusOr<PolicyChange> Decode(std::string_view bytes) {
  const Status bad = ErrorF(StatusCode::kDataLoss, "not a change as this program writes it");
  const Json json = Json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("number") || !json.at("number").is_number_unsigned() ||
      !json.contains("at_us") || !json.at("at_us").is_number_integer()) {
    return bad;
  }
  PolicyChange change;
  change.number = json.at("number");
  change.at = WallTime(std::chrono::microseconds(json.at("at_us").get<int64_t>()));
  const std::string step = TextOr(json, "step");
  change.step = step == "proposed"   ? PolicyStep::kProposed
                : step == "approved" ? PolicyStep::kApproved
                                     : PolicyStep::kActivated;
  ASSIGN_OR_RETURN(change.set, Digest::FromHex(TextOr(json, "set")));
  change.actor = TextOr(json, "actor");
  change.proposed_by = TextOr(json, "proposed_by");
  change.approved_by = TextOr(json, "approved_by");
  if (json.contains("replaces")) {
    ASSIGN_OR_RETURN(change.replaces, Digest::FromHex(TextOr(json, "replaces")));
  }
  return Encode(change) == bytes ? StatusOr<PolicyChange>(std::move(change)) : bad;
}

StatusOr<PolicySet::Pointer> ReadSet(FileSystem& files,
                                     const std::string& folder,
                                     const Digest& digest) {
  const std::string path = SetsFolder(folder) + '/' + SetFile(digest);
  ASSIGN_OR_RETURN(const std::string document, files.Read(path, kDocumentBytesMax));
  auto set = PolicySet::FromDocument(document);
  if (!set.ok() || (*set)->digest() != digest) {
    return ErrorF(StatusCode::kDataLoss,
                  "%s: its content is not the policy set of its name; restore it from a copy",
                  path);
  }
  return set;
}

}  // namespace

std::string_view Name(PolicyStep step) {
  switch (step) {
    case PolicyStep::kProposed:
      return "proposed";
    case PolicyStep::kApproved:
      return "approved";
    case PolicyStep::kActivated:
      return "activated";
  }
  return "";
}

StatusOr<std::unique_ptr<PolicyStore>> PolicyStore::Open(Parts parts) {
  std::unique_ptr<PolicyStore> store(new PolicyStore(std::move(parts)));
  FileSystem& files = store->parts_.files;
  const std::string& folder = store->parts_.folder;
  RETURN_IF_ERROR(CreateFoldersDurably(files, SetsFolder(folder)));
  MutexLock lock(store->mutex_);
  RETURN_IF_ERROR(store->ReadHistory());
  return store;
}

Status PolicyStore::ReadHistory() {
  std::optional<Digest> active;
  const auto apply = [&](uint64_t number, std::string_view bytes)
                         NO_THREAD_SAFETY_ANALYSIS -> Status {
    ASSIGN_OR_RETURN(const PolicyChange change, Decode(bytes));
    if (change.number != number) {
      return ErrorF(StatusCode::kDataLoss, "it says that it is change %d", change.number);
    }
    if (change.step == PolicyStep::kActivated) {
      active = change.set;
    }
    Apply(change);
    return OkStatus();
  };
  ASSIGN_OR_RETURN(changes_,
                   ChangeHistory::Open(parts_.files, HistoryFolder(parts_.folder), apply));
  if (active) {
    ASSIGN_OR_RETURN(auto set, ReadSet(parts_.files, parts_.folder, *active));
    Use(std::move(set));
  }
  return OkStatus();
}

void PolicyStore::Apply(const PolicyChange& change) {
  Life& life = lives_[change.set];
  if (change.step == PolicyStep::kProposed) {
    life.proposed_by = change.actor;
  } else if (change.step == PolicyStep::kApproved) {
    life.approved_by = change.actor;
    life.approved = true;
  } else if (change.approved_by.empty()) {  // the first set
    life = {.proposed_by = change.actor, .approved_by = {}, .approved = true};
  }
  history_.push_back(change);
}

Status PolicyStore::CheckUsable(std::string_view actor) const {
  RETURN_IF_ERROR(changes_->CheckUsable());
  if (actor.empty() || actor.size() > kActorBytesMax || !IsValidUtf8(actor)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "an actor has a name of 1 to %d bytes of UTF-8",
                  kActorBytesMax);
  }
  return OkStatus();
}

// The leaf, then the files, then memory.
StatusOr<PolicyChange> PolicyStore::Take(PolicyChange change, PolicySet::Pointer set) {
  change.number = changes_->next();
  change.at = WallTime(std::chrono::microseconds(Micros(parts_.clock.WallNow())));
  RETURN_IF_ERROR(parts_.record(change));
  if (!lives_.contains(change.set)) {
    // A set without a change is a file that nobody reads; it is written again.
    RETURN_IF_ERROR(WriteFileDurably(
        parts_.files, SetsFolder(parts_.folder), SetFile(change.set), set->document()));
  }
  RETURN_IF_ERROR(changes_->Append(Encode(change)));
  Apply(change);
  if (change.step == PolicyStep::kActivated) {
    Use(std::move(set));
  }
  return change;
}

StatusOr<PolicyChange> PolicyStore::StartWith(PolicySet::Pointer set, std::string_view source) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckUsable(source));
  if (const auto now = active(); now != nullptr) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "policy set %s is active: another is proposed and approved, not read from a file",
                  now->digest().Hex());
  }
  PolicyChange change = {
      .step = PolicyStep::kActivated, .set = set->digest(), .actor = std::string(source)};
  return Take(std::move(change), std::move(set));
}

StatusOr<PolicyChange> PolicyStore::Propose(std::string_view actor, PolicySet::Pointer set) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckUsable(actor));
  if (const auto life = lives_.find(set->digest()); life != lives_.end()) {
    return ErrorF(StatusCode::kAlreadyExists,
                  "policy set %s was proposed by %s: %s it",
                  set->digest().Hex(),
                  life->second.proposed_by,
                  life->second.approved ? "activate" : "approve");
  }
  PolicyChange change = {
      .step = PolicyStep::kProposed, .set = set->digest(), .actor = std::string(actor)};
  return Take(std::move(change), std::move(set));
}

StatusOr<PolicyStore::Life> PolicyStore::LifeOf(const Digest& set) const {
  const auto life = lives_.find(set);
  if (life == lives_.end()) {
    return ErrorF(StatusCode::kNotFound, "policy set %s was not proposed", set.Hex());
  }
  return life->second;
}

StatusOr<PolicyChange> PolicyStore::Approve(std::string_view actor, const Digest& set) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckUsable(actor));
  ASSIGN_OR_RETURN(const Life life, LifeOf(set));
  if (life.approved) {
    return ErrorF(
        StatusCode::kAlreadyExists, "policy set %s was approved before: activate it", set.Hex());
  }
  if (life.proposed_by == actor) {
    return ErrorF(StatusCode::kPermissionDenied,
                  "policy set %s was proposed by %s: a second person approves it",
                  set.Hex(),
                  actor);
  }
  return Take({.step = PolicyStep::kApproved,
               .set = set,
               .actor = std::string(actor),
               .proposed_by = life.proposed_by},
              nullptr);
}

StatusOr<PolicyChange> PolicyStore::Activate(std::string_view actor, const Digest& set) {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckUsable(actor));
  ASSIGN_OR_RETURN(const Life life, LifeOf(set));
  if (!life.approved) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "policy set %s was proposed by %s and not approved",
                  set.Hex(),
                  life.proposed_by);
  }
  const PolicySet::Pointer now = active();
  if (now != nullptr && now->digest() == set) {
    return ErrorF(StatusCode::kFailedPrecondition, "policy set %s is active", set.Hex());
  }
  ASSIGN_OR_RETURN(auto document, ReadSet(parts_.files, parts_.folder, set));
  PolicyChange change = {
      .step = PolicyStep::kActivated,
      .set = set,
      .actor = std::string(actor),
      .proposed_by = life.proposed_by,
      // The first set was approved by whoever owns the file.
      .approved_by = life.approved_by.empty() ? life.proposed_by : life.approved_by};
  if (now != nullptr) {
    change.replaces = now->digest();
  }
  return Take(std::move(change), std::move(document));
}

PolicySet::Pointer PolicyStore::active() const {
  MutexLock lock(active_mutex_);
  return active_;
}

void PolicyStore::Use(PolicySet::Pointer set) {
  MutexLock lock(active_mutex_);
  active_.swap(set);
}

StatusOr<PolicySet::Pointer> PolicyStore::Find(const Digest& set) const {
  return ReadSet(parts_.files, parts_.folder, set);
}

std::vector<PolicyChange> PolicyStore::history() const {
  MutexLock lock(mutex_);
  return history_;
}

StatusOr<std::string> ReadOwnersFile(const std::string& path, uint64_t size_bytes_max) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return ErrorF(errno == ENOENT ? StatusCode::kNotFound : StatusCode::kPermissionDenied,
                  "%s: cannot open: %s",
                  path,
                  std::strerror(errno));
  }
  std::string content;
  struct stat info = {};
  Status status = OkStatus();
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) ||
      (info.st_uid != 0 && info.st_uid != geteuid()) || (info.st_mode & 022) != 0) {
    status = ErrorF(StatusCode::kFailedPrecondition,
                    "%s: must be a regular file of root's, or of this user's, that nobody else may "
                    "write; this one has mode %04o and uid %d (chown root, chmod go-w)",
                    path,
                    info.st_mode & 07777,
                    info.st_uid);
  }
  std::vector<char> buffer(1 << 16);
  while (status.ok()) {
    const ssize_t count = read(fd, buffer.data(), buffer.size());
    if (count == 0) {
      break;
    }
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      status = ErrorF(StatusCode::kUnavailable, "%s: cannot read: %s", path, std::strerror(errno));
    } else if (content.size() + static_cast<size_t>(count) > size_bytes_max) {
      status =
          ErrorF(StatusCode::kResourceExhausted, "%s: more than %d bytes", path, size_bytes_max);
    } else {
      content.append(buffer.data(), static_cast<size_t>(count));
    }
  }
  close(fd);
  RETURN_IF_ERROR(status);
  return content;
}

}  // namespace inferd
