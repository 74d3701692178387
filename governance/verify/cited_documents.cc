#include "governance/verify/cited_documents.h"

#include <algorithm>

#include "base/sha256.h"

namespace inferd {
namespace {

constexpr std::string_view kPrefix = "\"sha256:";
constexpr size_t kHexDigits = 64;

}  // namespace

StatusOr<std::string> CitedDocuments::Add(std::string_view content) {
  const Digest digest = Sha256Of(content);
  if (named_.size() >= kEvidenceDocumentsMax || !named_.emplace(digest, false).second) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "document %s: it is there already, or there are more than %d",
                  digest.Hex(),
                  kEvidenceDocumentsMax);
  }
  ++num_unnamed_;
  return std::string(kEvidenceDocuments) + digest.Hex();
}

void CitedDocuments::Read(std::string_view leaf) {
  for (size_t at = leaf.find(kPrefix); num_unnamed_ > 0 && at != std::string_view::npos;
       at = leaf.find(kPrefix, at + kPrefix.size())) {
    const auto digest = Digest::FromHex(leaf.substr(at + kPrefix.size(), kHexDigits));
    const auto found = digest.ok() ? named_.find(*digest) : named_.end();
    if (found != named_.end() && !found->second) {
      found->second = true;
      --num_unnamed_;
    }
  }
}

Status CitedDocuments::CheckAll() const {
  const auto unnamed = std::find_if(
      named_.begin(), named_.end(), [](const auto& document) { return !document.second; });
  return unnamed == named_.end()
             ? OkStatus()
             : ErrorF(StatusCode::kInvalidArgument,
                      "%s%s: no leaf of the bundle names this document by its SHA-256",
                      kEvidenceDocuments,
                      unnamed->first.Hex());
}

std::vector<Digest> CitedDocuments::digests() const {
  std::vector<Digest> digests;
  for (const auto& [digest, named] : named_) {
    digests.push_back(digest);
  }
  return digests;
}

}  // namespace inferd
