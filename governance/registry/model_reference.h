// How a model is asked for: by name alone, or insisting on a digest, a version or an alias.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/status.h"

namespace inferd {

// A value. `name`, `name@sha256:<64 hex digits>`, `name:version` or `name#alias`; every part but
// the digest is 1 to 128 of a-z, A-Z, 0-9, '.', '_' and '-', and begins with a letter or a digit.
struct ModelReference {
  enum class Kind : uint8_t {
    kName,     // whatever the tenant is given
    kDigest,   // these bytes
    kVersion,  // these bytes: once published a version never names others
    kAlias,    // what the alias names now; two persons move it
  };
  std::string name;
  Kind kind = Kind::kName;
  std::string label;  // the version or the alias
  Digest digest{};    // of kDigest

  // Parses to the same reference.
  std::string Text() const;
  friend bool operator==(const ModelReference&, const ModelReference&) = default;

  static constexpr size_t kPartBytesMax = 128;
};

// kInvalidArgument says which part is wrong, never what it was.
StatusOr<ModelReference> ParseModelReference(std::string_view text);

// Is this a model's name, a version or an alias?
bool IsModelReferencePart(std::string_view text);

}  // namespace inferd
