#include "client/audit_evidence.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "base/file.h"
#include "base/file_system.h"
#include "client/audit_text.h"
#include "client/commands.h"
#include "client/table.h"
#include "governance/keys/note_key.h"
#include "governance/verify/evidence.h"
#include "governance/verify/log_layout.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kDocumentBytesMax = uint64_t{16} << 20;

// The shards in their order, each as of the note that the policy is content with: the published
// one, or the last one that enough witnesses cosigned.
StatusOr<std::vector<std::unique_ptr<ShardReader>>> OpenShards(const std::string& log_folder,
                                                               const TrustPolicy& policy) {
  ASSIGN_OR_RETURN(const auto names, SystemFiles().List(log_folder));
  std::vector<ShardName> shards;
  for (const std::string& text : names) {
    if (const auto name = ShardName::Parse(text); name.ok()) {
      shards.push_back(*name);
    }
  }
  std::sort(shards.begin(), shards.end());
  std::vector<std::unique_ptr<ShardReader>> readers;
  for (const ShardName& name : shards) {
    const std::string folder = log_folder + '/' + name.Text();
    ASSIGN_OR_RETURN(auto reader, ShardReader::Open(SystemFiles(), folder, policy));
    if (!policy.CheckQuorum(reader->checkpoint()).ok()) {
      auto note = SystemFiles().Read(folder + '/' + std::string(kWitnessedFile), kNoteBytesMax);
      if (note.ok()) {
        ASSIGN_OR_RETURN(reader,
                         ShardReader::OpenAt(SystemFiles(), folder, policy, *std::move(note)));
      }
    }
    readers.push_back(std::move(reader));
  }
  return readers;
}

// A file that gets its name when it is complete.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {
    file_.open(name(), std::ios::binary | std::ios::trunc);
  }
  ~TemporaryFile() {
    std::error_code error;
    std::filesystem::remove(name(), error);
  }
  std::string name() const { return path_ + ".partial"; }
  Status Append(std::string_view bytes) {
    file_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    size_bytes_ += bytes.size();
    return file_ ? OkStatus() : ErrorF(StatusCode::kUnavailable, "%s: cannot be written", name());
  }
  Status Close() {
    file_.close();
    return file_ ? OkStatus() : ErrorF(StatusCode::kUnavailable, "%s: cannot be written", name());
  }
  Status Keep() {
    std::error_code error;
    std::filesystem::rename(name(), path_, error);
    return error ? ErrorF(StatusCode::kUnavailable, "%s: %s", path_, error.message()) : OkStatus();
  }
  uint64_t size_bytes() const { return size_bytes_; }

 private:
  const std::string path_;
  std::ofstream file_;
  uint64_t size_bytes_ = 0;
};

StatusOr<EvidenceReport> VerifyFile(const std::string& path,
                                    const TrustPolicy& policy,
                                    const NoteVerifier* exporter) {
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::string_view bytes(reinterpret_cast<const char*>(file.bytes().data()),
                               file.bytes().size());
  return VerifyEvidence(bytes, policy, exporter);
}

Json ToJson(const EvidenceReport& report) {
  Json shards = Json::array();
  for (const EvidenceReport::Shard& shard : report.shards) {
    shards.push_back({{"origin", shard.origin},
                      {"size", shard.size},
                      {"root", "sha256:" + shard.root.Hex()},
                      {"witnesses", shard.num_witnesses},
                      {"chained", shard.num_chained},
                      {"first_tseq", shard.first_tseq},
                      {"last_tseq", shard.last_tseq},
                      {"single", shard.num_single}});
  }
  Json documents = Json::array();
  for (const Digest& document : report.documents) {
    documents.push_back("sha256:" + document.Hex());
  }
  return {{"leaves", report.num_leaves},
          {"documents", std::move(documents)},
          {"tenant", report.selection.tenant},
          {"from", report.selection.from},
          {"to", report.selection.to},
          {"rids", report.selection.rids},
          {"made_at", report.made_at},
          {"exporter", report.exporter},
          {"shards", std::move(shards)}};
}

}  // namespace

StatusOr<std::string> ReadPolicy(const AuditCommand& command, const std::string& log_key) {
  if (!command.policy_file.empty()) {
    return ReadFile(command.policy_file, kPolicyBytesMax);
  }
  return "log " + log_key + "\nquorum none\n";
}

StatusOr<ExitCode> ExportEvidence(const CommonOptions& common,
                                  const AuditCommand& command,
                                  const std::string& log_folder,
                                  const std::string& log_key,
                                  const std::function<void(uint64_t, uint64_t)>& progress,
                                  Terminal& terminal) {
  if (command.sign_key.empty()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "--sign-key names the key of whoever exports; `inferctl keys signer` makes one");
  }
  ASSIGN_OR_RETURN(const NoteSigner signer, ReadNoteKey(command.sign_key));
  EvidenceOptions options{.selection = {.tenant = command.tenant,
                                        .from = command.from,
                                        .to = command.to,
                                        .rids = command.rids},
                          .exporter = &signer,
                          .policy = "",
                          .made_at = UtcNow(),
                          .progress = progress};
  ASSIGN_OR_RETURN(options.policy, ReadPolicy(command, log_key));
  for (const std::string& path : command.documents) {
    ASSIGN_OR_RETURN(std::string document, ReadFile(path, kDocumentBytesMax));
    options.documents.push_back(std::move(document));
  }
  ASSIGN_OR_RETURN(const TrustPolicy policy, TrustPolicy::Parse(options.policy));
  ASSIGN_OR_RETURN(const auto shards, OpenShards(log_folder, policy));
  TemporaryFile file(command.out);
  RETURN_IF_ERROR(WriteEvidence(
      shards, options, [&file](std::string_view bytes) { return file.Append(bytes); }));
  RETURN_IF_ERROR(file.Close());
  // What is handed out holds: a log that was altered gives no evidence.
  ASSIGN_OR_RETURN(const EvidenceReport report,
                   VerifyFile(file.name(), policy, &signer.verifier()));
  RETURN_IF_ERROR(file.Keep());
  if (common.output == OutputFormat::kJson) {
    Json json = {{"file", command.out}, {"bytes", file.size_bytes()}};
    json.update(ToJson(report));
    terminal.out << json.dump(2) << '\n';
  } else {
    terminal.out << absl::StrFormat("%s: %d leaves, %d bytes, signed by %s\n",
                                    command.out,
                                    report.num_leaves,
                                    file.size_bytes(),
                                    signer.verifier().VKey());
  }
  return ExitCode::kOk;
}

StatusOr<ExitCode> VerifyBundle(const CommonOptions& common,
                                const AuditCommand& command,
                                Terminal& terminal) {
  if (command.verifier_key.empty() && command.policy_file.empty()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "--key or --policy says whom to trust: what a bundle says of itself proves "
                  "nothing");
  }
  ASSIGN_OR_RETURN(const std::string text, ReadPolicy(command, command.verifier_key));
  ASSIGN_OR_RETURN(const TrustPolicy policy, TrustPolicy::Parse(text));
  std::optional<NoteVerifier> exporter;
  if (!command.exporter.empty()) {
    ASSIGN_OR_RETURN(exporter, NoteVerifier::Parse(command.exporter));
  }
  const auto report =
      VerifyFile(command.bundle, policy, exporter.has_value() ? &*exporter : nullptr);
  if (report.status().code() == StatusCode::kNotFound ||
      report.status().code() == StatusCode::kPermissionDenied) {
    return report.status();
  }
  if (common.output == OutputFormat::kJson) {
    Json json = {{"sound", report.ok()}};
    report.ok() ? json.update(ToJson(*report))
                : json.update(Json{{"problem", std::string(Message(report.status()))}});
    terminal.out << json.dump(2) << '\n';
  } else if (report.ok()) {
    terminal.out << absl::StrFormat(
        "verified: %d leaves in %d shards, exported %s by %s%s\n",
        report->num_leaves,
        report->shards.size(),
        report->made_at,
        report->exporter,
        exporter.has_value() ? "" : " (by its own word: --exporter KEY checks who it is)");
  } else {
    terminal.out << "DOES NOT VERIFY: " << OneLine(Message(report.status()), 2000) << '\n';
  }
  return report.ok() ? ExitCode::kOk : ExitCode::kVerificationFailed;
}

}  // namespace inferd
