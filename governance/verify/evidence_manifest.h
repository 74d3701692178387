// The manifest of an evidence bundle: an in-toto statement over its files, in a DSSE envelope.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "governance/verify/dsse.h"
#include "governance/verify/evidence.h"

namespace inferd {

struct EvidenceManifest {
  EvidenceSelection selection;
  std::string made_at;
  std::string exporter;  // vkey
  struct File {
    std::string name;
    Digest sha256;
  };
  std::vector<File> files;  // in the order of the tar, without the manifest
};

// The statement, JSON with sorted keys.
std::string EncodeManifest(const EvidenceManifest& manifest);
// kInvalidArgument for anything that is no such statement.
StatusOr<EvidenceManifest> ParseManifest(std::string_view statement);

// Where things lie in a bundle; `shard` is the last part of the origin.
std::string ChainLeafPath(std::string_view shard, uint64_t tseq);
std::string ChainProofPath(std::string_view shard);
std::string SingleLeafPath(std::string_view shard, uint64_t index);
std::string SingleProofPath(std::string_view shard, uint64_t index);

// The last part of an origin, or of a path.
std::string_view LastPart(std::string_view path);

}  // namespace inferd
