// What a model's signature says: an in-toto Statement v1 with the OpenSSF Model Signing predicate
// v1.0, as a value.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "governance/registry/model_files.h"

namespace inferd {

inline constexpr std::string_view kStatementPayloadType = "application/vnd.in-toto+json";

// Its root is that of its resources, and no two of these have one name.
struct ModelStatement {
  std::string name;  // informative: the last part of the folder that was signed
  ModelSerialization serialization;
  std::vector<ModelResource> resources;
  Digest root;
  friend bool operator==(const ModelStatement&, const ModelStatement&) = default;

  static constexpr size_t kPayloadBytesMax = size_t{32} << 20;
};

// Reads a payload. kInvalidArgument for another type or predicate, hashes other than SHA-256, a
// root that is not that of the resources, names that are absolute, have ".." or occur twice, and
// for statements that follow symbolic links. Members that the predicate does not know are skipped,
// as it asks.
StatusOr<ModelStatement> ParseModelStatement(std::string_view json);

// The payload of a statement. Parses to the same.
std::string FormatModelStatement(const ModelStatement& statement);

}  // namespace inferd
