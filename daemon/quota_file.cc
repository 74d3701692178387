#include "daemon/quota_file.h"

#include "absl/strings/str_join.h"
#include "daemon/config_reader.h"

namespace inferd {

StatusOr<std::vector<QuotaLimit>> ParseQuotaFile(std::string_view text,
                                                 const std::string& file_name) {
  if (text.size() > kQuotaFileBytesMax) {
    return ErrorF(
        StatusCode::kInvalidArgument, "%s: is longer than %d bytes", file_name, kQuotaFileBytesMax);
  }
  std::vector<QuotaEntry> quotas;
  const std::vector<std::string> errors =
      ReadYaml(text, file_name, [&](YamlReader& reader, const YAML::Node& root) {
        VisitQuotas(reader, quotas);
        reader.Finish();
        for (const ConfigFault& fault : CheckQuotas(quotas)) {
          reader.ErrorAt(reader.Where(NodeAt(root, fault.key), fault.key), fault.key, fault.what);
        }
      });
  if (!errors.empty()) {
    return Status(StatusCode::kInvalidArgument, absl::StrJoin(errors, "\n"));
  }
  std::vector<QuotaLimit> limits;
  for (const QuotaEntry& entry : quotas) {
    limits.push_back(ToQuotaLimit(entry));
  }
  return limits;
}

}  // namespace inferd
