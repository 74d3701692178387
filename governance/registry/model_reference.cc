#include "governance/registry/model_reference.h"

#include <algorithm>

namespace inferd {
namespace {

constexpr std::string_view kDigestPrefix = "sha256:";

bool IsAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

Status BadPart(std::string_view what) {
  return ErrorF(StatusCode::kInvalidArgument,
                "%s is 1 to %d of a-z, A-Z, 0-9, '.', '_' and '-', a letter or a digit first",
                what,
                ModelReference::kPartBytesMax);
}

}  // namespace

bool IsModelReferencePart(std::string_view text) {
  return !text.empty() && text.size() <= ModelReference::kPartBytesMax &&
         IsAlphanumeric(text.front()) && std::all_of(text.begin(), text.end(), [](char c) {
           return IsAlphanumeric(c) || c == '.' || c == '_' || c == '-';
         });
}

std::string ModelReference::Text() const {
  switch (kind) {
    case Kind::kName:
      return name;
    case Kind::kDigest:
      return absl::StrFormat("%s@%s%s", name, kDigestPrefix, digest.Hex());
    case Kind::kVersion:
      return name + ':' + label;
    case Kind::kAlias:
      return name + '#' + label;
  }
  return name;
}

StatusOr<ModelReference> ParseModelReference(std::string_view text) {
  const size_t end = std::min(text.find_first_of("@:#"), text.size());
  ModelReference reference;
  reference.name = std::string(text.substr(0, end));
  if (!IsModelReferencePart(reference.name)) {
    return BadPart("a model's name");
  }
  if (end == text.size()) {
    return reference;
  }
  const std::string_view rest = text.substr(end + 1);
  if (text[end] == '@') {
    reference.kind = ModelReference::Kind::kDigest;
    const bool prefixed = rest.substr(0, kDigestPrefix.size()) == kDigestPrefix;
    const auto digest = Digest::FromHex(prefixed ? rest.substr(kDigestPrefix.size()) : "");
    if (!digest.ok()) {
      return ErrorF(StatusCode::kInvalidArgument, "a digest is sha256: and 64 hex digits");
    }
    reference.digest = *digest;
    return reference;
  }
  const bool is_version = text[end] == ':';
  reference.kind = is_version ? ModelReference::Kind::kVersion : ModelReference::Kind::kAlias;
  reference.label = std::string(rest);
  if (!IsModelReferencePart(reference.label)) {
    return BadPart(is_version ? "a version" : "an alias");
  }
  return reference;
}

}  // namespace inferd
