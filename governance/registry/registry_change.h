// One step in the life of a model's version or alias: what its audit leaf says, and a file of the
// registry's history.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"

namespace inferd {

enum class RegistryStep : uint8_t {
  kRegistered,       // its bytes were hashed, and its signature checked where there is one
  kApproved,         // by one of two persons
  kRolloutProposed,  // of a version to an alias
  kRolloutApproved,  // by a second person; it has no sessions yet
  kCanary,           // it has `percent` of the sessions
  kAliasMoved,       // it has them all
  kRolledBack,       // the alias names what it named before
  kRevoked,          // from every alias, for good
};
// "registered", "alias_moved": with "model." before it, the type of its leaf.
std::string_view Name(RegistryStep step);

// A value. Which members are set depends on the step.
struct RegistryChange {
  uint64_t number = 0;  // in the history, from 1
  RegistryStep step = RegistryStep::kRegistered;
  WallTime at{};  // of microseconds
  std::string actor{};
  std::string model{};    // its name
  std::string version{};  // that the step is about
  Digest digest{};        // of that version
  Digest files{};         // kRegistered: FilesDigest of the version
  std::string signer{};   // kRegistered: whose signature verified; "" if none was asked for
  std::string source{};   // kRegistered: by which the machine's owner approves it at once
  std::string alias{};
  std::string previous{};  // the version that the alias named until then; "" if none
  int percent = 0;         // kCanary
  std::string proposed_by{}, approved_by{};
  friend bool operator==(const RegistryChange&, const RegistryChange&) = default;
};

// One line of JSON with sorted keys, without the members that are empty.
std::string EncodeChange(const RegistryChange& change);
// Only what EncodeChange writes; kDataLoss otherwise.
StatusOr<RegistryChange> DecodeChange(std::string_view bytes);

}  // namespace inferd
