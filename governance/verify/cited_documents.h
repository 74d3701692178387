// Documents of an evidence bundle: policy sets, price lists, model manifests. Each lies under its
// SHA-256, by which at least one leaf of the bundle must name it, so that none is there on the
// exporter's word.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"

namespace inferd {

inline constexpr std::string_view kEvidenceDocuments = "documents/";
inline constexpr size_t kEvidenceDocumentsMax = 1000;

// Follows which documents leaves have named. One thread.
class CitedDocuments {
 public:
  // The document's name in the bundle. kInvalidArgument beyond kEvidenceDocumentsMax.
  StatusOr<std::string> Add(std::string_view content);
  // Notes what the leaf names ("sha256:<hex>", wherever it stands).
  void Read(std::string_view leaf);
  // kInvalidArgument with the name of a document that no leaf has named.
  Status CheckAll() const;
  // In the order of their digests.
  std::vector<Digest> digests() const;

 private:
  std::map<Digest, bool> named_;
  size_t num_unnamed_ = 0;
};

}  // namespace inferd
