#include "governance/verify/trust_policy.h"

#include <algorithm>

#include "governance/verify/base64.h"

namespace inferd {
namespace {

std::vector<std::string_view> Words(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    const size_t start = line.find_first_not_of(" \t");
    if (start == std::string_view::npos) {
      return words;
    }
    const size_t end = std::min(line.find_first_of(" \t", start), line.size());
    words.push_back(line.substr(start, end - start));
    line.remove_prefix(end);
  }
}

Status Bad(const char* why) { return ErrorF(StatusCode::kInvalidArgument, "%s", why); }

// A vkey of the type that this party signs with.
StatusOr<NoteVerifier> ParseKey(std::string_view vkey, NoteKeyType type) {
  ASSIGN_OR_RETURN(NoteVerifier key, NoteVerifier::Parse(vkey));
  if (key.type() != type) {
    return Bad(type == NoteKeyType::kEd25519 ? "a log's key has type 1"
                                             : "a witness's key has type 4");
  }
  return key;
}

}  // namespace

StatusOr<TrustPolicy> TrustPolicy::Parse(std::string_view text) {
  if (text.size() > kPolicyBytesMax) {
    return Bad("the policy is longer than a policy may be");
  }
  TrustPolicy policy;
  int number = 1;
  for (; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    Status status;
    if (std::any_of(line.begin(), line.end(), [](char c) {
          return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
        })) {
      status = Bad("control characters");
    } else if (const auto words = Words(line); !words.empty() && !words[0].starts_with('#')) {
      status = policy.AddLine(words);
    }
    RETURN_IF_ERROR(Annotate(status, absl::StrFormat("policy, line %d", number)));
  }
  if (policy.quorum_.empty()) {
    return Bad("the policy has no line `quorum`");
  }
  return policy;
}

TrustPolicy TrustPolicy::OfLog(NoteVerifier log) {
  TrustPolicy policy;
  policy.logs_.push_back({.key = std::move(log), .url = ""});
  policy.quorum_ = "none";
  return policy;
}

Status TrustPolicy::AddLine(const std::vector<std::string_view>& words) {
  if (logs_.size() + witnesses_.size() + groups_.size() >= kPolicyNamesMax) {
    return Bad("more names than a policy may have");
  }
  if (words[0] == "log") {
    return AddLog(words);
  }
  if (words[0] == "witness") {
    return AddWitness(words);
  }
  if (words[0] == "group") {
    return AddGroup(words);
  }
  return words[0] == "quorum" ? SetQuorum(words)
                              : Bad("starts with none of log, witness, group, quorum");
}

Status TrustPolicy::AddLog(const std::vector<std::string_view>& words) {
  if (words.size() != 2 && words.size() != 3) {
    return Bad("log <vkey> [<url>]");
  }
  ASSIGN_OR_RETURN(NoteVerifier key, ParseKey(words[1], NoteKeyType::kEd25519));
  for (const Party& log : logs_) {
    if (log.key.public_key() == key.public_key()) {
      return Bad("a log with this key is there already");
    }
  }
  logs_.push_back({std::move(key), std::string(words.size() == 3 ? words[2] : "")});
  return OkStatus();
}

Status TrustPolicy::AddWitness(const std::vector<std::string_view>& words) {
  if (words.size() != 3 && words.size() != 4) {
    return Bad("witness <name> <vkey> [<url>]");
  }
  ASSIGN_OR_RETURN(NoteVerifier key, ParseKey(words[2], NoteKeyType::kEd25519Cosignature));
  for (const auto& [name, witness] : witnesses_) {
    if (witness.key.public_key() == key.public_key()) {
      return Bad("a witness with this key is there already");
    }
  }
  if (Defined(words[1])) {
    return Bad("this name is taken");
  }
  witnesses_.emplace(words[1],
                     Party{std::move(key), std::string(words.size() == 4 ? words[3] : "")});
  return OkStatus();
}

Status TrustPolicy::AddGroup(const std::vector<std::string_view>& words) {
  if (words.size() < 4 || Defined(words[1])) {
    return Bad("group <new name> all|any|<k> <name>...");
  }
  Group group;
  for (const std::string_view member : std::span(words).subspan(3)) {
    if (!Defined(member) || member == "none") {
      return Bad("a group's members are defined on lines before it");
    }
    if (!grouped_.emplace(member, true).second) {
      return Bad("a name can be a member once");
    }
    group.members.emplace_back(member);
  }
  if (words[2] == "all") {
    group.threshold = group.members.size();
  } else if (words[2] == "any") {
    group.threshold = 1;
  } else {
    ASSIGN_OR_RETURN(group.threshold, ParseDecimal(words[2]));
  }
  if (group.threshold < 1 || group.threshold > group.members.size()) {
    return Bad("a group's threshold is at least 1 and at most its members");
  }
  groups_.emplace(words[1], std::move(group));
  return OkStatus();
}

Status TrustPolicy::SetQuorum(const std::vector<std::string_view>& words) {
  if (words.size() != 2 || !quorum_.empty() || !Defined(words[1])) {
    return Bad("quorum <name>, once, after the line that defines the name");
  }
  quorum_ = words[1];
  return OkStatus();
}

bool TrustPolicy::Defined(std::string_view name) const {
  const std::string key(name);
  return name == "none" || witnesses_.contains(key) || groups_.contains(key);
}

bool TrustPolicy::Witnessed(const std::string& name, const SignedNote& note) const {
  if (name == "none") {
    return true;
  }
  if (const auto witness = witnesses_.find(name); witness != witnesses_.end()) {
    return CheckSignature(note, witness->second.key).ok();
  }
  // Groups are defined by names of earlier lines, so that this ends.
  const Group& group = groups_.at(name);
  const auto count =
      std::count_if(group.members.begin(), group.members.end(), [&](const std::string& member) {
        return Witnessed(member, note);
      });
  return static_cast<uint64_t>(count) >= group.threshold;
}

size_t TrustPolicy::CountWitnesses(const SignedNote& note) const {
  return static_cast<size_t>(
      std::count_if(witnesses_.begin(), witnesses_.end(), [&note](const auto& witness) {
        return CheckSignature(note, witness.second.key).ok();
      }));
}

StatusOr<SignedCheckpoint> TrustPolicy::OpenLog(std::string_view note) const {
  Status last = Bad("the policy names no log");
  for (const Party& log : logs_) {
    auto opened = OpenCheckpoint(note, log.key);
    if (!opened.ok()) {
      last = opened.status();
      if (last.code() == StatusCode::kDataLoss) {
        return last;
      }
      continue;
    }
    const std::string& origin = opened->checkpoint.origin;
    if (origin != log.key.name() && !origin.starts_with(log.key.name() + '/')) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "%s signed a checkpoint of another log, %s",
                    log.key.name(),
                    origin);
    }
    return opened;
  }
  return last;
}

Status TrustPolicy::CheckQuorum(const SignedCheckpoint& opened) const {
  return Witnessed(quorum_, opened.note)
             ? OkStatus()
             : ErrorF(StatusCode::kFailedPrecondition,
                      "checkpoint of %s at %d: its cosignatures are not the policy's quorum %s",
                      opened.checkpoint.origin,
                      opened.checkpoint.size,
                      quorum_);
}

StatusOr<SignedCheckpoint> TrustPolicy::Open(std::string_view note) const {
  ASSIGN_OR_RETURN(SignedCheckpoint opened, OpenLog(note));
  RETURN_IF_ERROR(CheckQuorum(opened));
  return opened;
}

}  // namespace inferd
