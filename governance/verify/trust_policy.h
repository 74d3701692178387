// Whom a verifier trusts (C2SP tlog-policy): logs, witnesses, and how many of them must have
// cosigned a checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "governance/verify/checkpoint.h"
#include "governance/verify/note.h"

namespace inferd {

inline constexpr size_t kPolicyBytesMax = 256 * 1024;
inline constexpr size_t kPolicyNamesMax = 1024;

class TrustPolicy {
 public:
  struct Party {
    NoteVerifier key;
    std::string url;
  };

  // kInvalidArgument with the number of the line.
  static StatusOr<TrustPolicy> Parse(std::string_view text);
  // This log, no witness needed.
  static TrustPolicy OfLog(NoteVerifier log);

  const std::vector<Party>& logs() const { return logs_; }
  const std::map<std::string, Party>& witnesses() const { return witnesses_; }

  // Checks that one of the logs signed the note and that it is a checkpoint of that log: its origin
  // is the key's name, or lies below it. kInvalidArgument for a note that is none or of a stranger,
  // kDataLoss for a signature that does not verify.
  StatusOr<SignedCheckpoint> OpenLog(std::string_view note) const;
  // kFailedPrecondition unless the quorum of witnesses cosigned.
  Status CheckQuorum(const SignedCheckpoint& opened) const;
  // Both.
  StatusOr<SignedCheckpoint> Open(std::string_view note) const;

  // How many witnesses of this policy cosigned; those whose signature does not verify do not count.
  size_t CountWitnesses(const SignedNote& note) const;

 private:
  struct Group {
    uint64_t threshold = 0;
    std::vector<std::string> members;
  };
  Status AddLine(const std::vector<std::string_view>& words);
  Status AddLog(const std::vector<std::string_view>& words);
  Status AddWitness(const std::vector<std::string_view>& words);
  Status AddGroup(const std::vector<std::string_view>& words);
  Status SetQuorum(const std::vector<std::string_view>& words);
  bool Defined(std::string_view name) const;
  // Whether witness or group `name` stands behind the note.
  bool Witnessed(const std::string& name, const SignedNote& note) const;

  std::vector<Party> logs_;
  std::map<std::string, Party> witnesses_;
  std::map<std::string, Group> groups_;
  std::map<std::string, bool> grouped_;  // names that are members of a group
  std::string quorum_;
};

}  // namespace inferd
