// audit-verify: checks an audit log's folder or an evidence bundle, offline, without the daemon.
//
// Exit status: 0 sound, 1 cannot be done, 2 usage, 3 not found, 6 what was checked does not hold.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "base/file_system.h"
#include "governance/verify/evidence.h"
#include "governance/verify/proof_file.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"
#include "governance/verify/verifier.h"

namespace inferd {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitNotFound = 3;
constexpr int kExitUnsound = 6;

// What all commands share.
struct Trust {
  std::string vkey;
  std::string policy_file;
};

StatusOr<TrustPolicy> ReadTrust(const Trust& trust) {
  if (trust.policy_file.empty()) {
    ASSIGN_OR_RETURN(NoteVerifier log, NoteVerifier::Parse(trust.vkey));
    return TrustPolicy::OfLog(std::move(log));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(trust.policy_file, kPolicyBytesMax));
  return TrustPolicy::Parse(text);
}

int Fail(const Status& status) {
  std::fprintf(stderr, "audit-verify: %s\n", std::string(Message(status)).c_str());
  switch (status.code()) {
    case StatusCode::kNotFound:
      return kExitNotFound;
    case StatusCode::kDataLoss:
    case StatusCode::kFailedPrecondition:
      return kExitUnsound;
    default:
      return kExitFailure;
  }
}

// A line that moves on a terminal; elsewhere one line in ten seconds.
class Progress {
 public:
  void operator()(uint64_t done, uint64_t total) {
    const TimePoint now = SystemClock().Now();
    const bool terminal = isatty(STDERR_FILENO) != 0;
    const Duration interval =
        terminal ? Duration(std::chrono::milliseconds(200)) : Duration(std::chrono::seconds(10));
    if (now - last_ < interval && (done != total || !terminal)) {
      return;
    }
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    std::fprintf(stderr,
                 "%s%llu of %llu leaves, %.0f a second%s",
                 terminal ? "\r" : "",
                 static_cast<unsigned long long>(done),
                 static_cast<unsigned long long>(total),
                 static_cast<double>(done) / std::max(seconds, 1e-9),
                 terminal && done != total ? "" : "\n");
  }

 private:
  TimePoint start_ = SystemClock().Now();
  TimePoint last_ = start_;
};

nlohmann::json ToJson(const VerifyReport& report) {
  nlohmann::json json;
  json["sound"] = report.num_problems == 0;
  json["leaves"] = report.num_leaves;
  json["open_requests"] = report.open_intents;
  json["leaves_by_type"] = report.leaves_by_type;
  json["leaves_by_tenant"] = report.leaves_by_tenant;
  json["num_problems"] = report.num_problems;
  for (const VerifyReport::Shard& shard : report.shards) {
    json["shards"].push_back({{"origin", shard.checkpoint.origin},
                              {"size", shard.checkpoint.size},
                              {"root", "sha256:" + shard.checkpoint.root.Hex()},
                              {"witnesses", shard.num_witnesses},
                              {"frozen", shard.frozen}});
  }
  for (const Finding& finding : report.problems) {
    json["problems"].push_back(ToText(finding));
  }
  for (const Finding& finding : report.warnings) {
    json["warnings"].push_back(ToText(finding));
  }
  return json;
}

void Print(const VerifyReport& report) {
  for (const Finding& finding : report.warnings) {
    std::printf("warning: %s\n", ToText(finding).c_str());
  }
  for (const Finding& finding : report.problems) {
    std::printf("problem: %s\n", ToText(finding).c_str());
  }
  if (report.num_problems > report.problems.size()) {
    std::printf("problem: and %llu more\n",
                static_cast<unsigned long long>(report.num_problems - report.problems.size()));
  }
  for (const VerifyReport::Shard& shard : report.shards) {
    std::printf("%s: %llu leaves, root sha256:%s, %zu witnesses%s\n",
                shard.checkpoint.origin.c_str(),
                static_cast<unsigned long long>(shard.checkpoint.size),
                shard.checkpoint.root.Hex().c_str(),
                shard.num_witnesses,
                shard.frozen ? ", frozen" : "");
  }
  if (report.open_intents > 0) {
    std::printf("%llu requests have no end yet\n",
                static_cast<unsigned long long>(report.open_intents));
  }
  if (report.num_problems == 0) {
    std::printf("sound: %llu leaves verified\n",
                static_cast<unsigned long long>(report.num_leaves));
  } else {
    std::printf("NOT SOUND: %llu problems\n", static_cast<unsigned long long>(report.num_problems));
  }
}

// A node's folder holds log/; its log folder may be named itself.
std::string LogFolder(const std::string& folder) {
  const std::string inner = folder + '/' + std::string(kLogFolder);
  return SystemFiles().List(inner).ok() ? inner : folder;
}

struct VerifyArguments {
  std::string folder;
  std::string bundle;
  std::string exporter;
  std::vector<std::string> earlier;
  bool json = false;
};

nlohmann::json ToJson(const EvidenceReport& report) {
  nlohmann::json json = {{"sound", true},
                         {"leaves", report.num_leaves},
                         {"tenant", report.selection.tenant},
                         {"from", report.selection.from},
                         {"to", report.selection.to},
                         {"rids", report.selection.rids},
                         {"made_at", report.made_at},
                         {"exporter", report.exporter}};
  for (const EvidenceReport::Shard& shard : report.shards) {
    json["shards"].push_back({{"origin", shard.origin},
                              {"size", shard.size},
                              {"root", "sha256:" + shard.root.Hex()},
                              {"witnesses", shard.num_witnesses},
                              {"chained", shard.num_chained},
                              {"first_tseq", shard.first_tseq},
                              {"last_tseq", shard.last_tseq},
                              {"single", shard.num_single}});
  }
  for (const Digest& document : report.documents) {
    json["documents"].push_back("sha256:" + document.Hex());
  }
  return json;
}

void Print(const EvidenceReport& report, bool exporter_is_given) {
  for (const EvidenceReport::Shard& shard : report.shards) {
    std::printf("%s: %s, under its checkpoint of %llu leaves, %zu witnesses\n",
                shard.origin.c_str(),
                shard.num_chained > 0
                    ? absl::StrFormat("%d leaves of tenant %s without a gap, tseq %d to %d",
                                      shard.num_chained,
                                      report.selection.tenant,
                                      shard.first_tseq,
                                      shard.last_tseq)
                          .c_str()
                    : absl::StrFormat("%d single leaves", shard.num_single).c_str(),
                static_cast<unsigned long long>(shard.size),
                shard.num_witnesses);
  }
  std::printf("asked for: tenant %s, from %s, to %s\n",
              report.selection.tenant.empty() ? "any" : report.selection.tenant.c_str(),
              report.selection.from.empty() ? "the beginning" : report.selection.from.c_str(),
              report.selection.to.empty() ? "the end" : report.selection.to.c_str());
  for (const Digest& document : report.documents) {
    std::printf("document sha256:%s, named by a leaf\n", document.Hex().c_str());
  }
  std::printf("exported %s by %s%s\n",
              report.made_at.c_str(),
              report.exporter.c_str(),
              exporter_is_given ? "" : " (by its own word: --exporter KEY checks who it is)");
  std::printf("sound: %llu leaves verified\n", static_cast<unsigned long long>(report.num_leaves));
}

int VerifyBundle(const TrustPolicy& policy, const VerifyArguments& arguments) {
  std::optional<NoteVerifier> exporter;
  if (!arguments.exporter.empty()) {
    auto key = NoteVerifier::Parse(arguments.exporter);
    if (!key.ok()) {
      return Fail(Annotate(key.status(), "--exporter"));
    }
    exporter = *std::move(key);
  }
  const auto file = MappedFile::Open(arguments.bundle);
  if (!file.ok()) {
    return Fail(file.status());
  }
  const std::string_view bytes(reinterpret_cast<const char*>(file->bytes().data()),
                               file->bytes().size());
  const auto report = VerifyEvidence(bytes, policy, exporter.has_value() ? &*exporter : nullptr);
  if (!report.ok()) {
    std::fprintf(stderr,
                 "audit-verify: NOT SOUND: %s: %s\n",
                 arguments.bundle.c_str(),
                 std::string(Message(report.status())).c_str());
    return kExitUnsound;
  }
  if (arguments.json) {
    std::printf("%s\n", ToJson(*report).dump(2).c_str());
  } else {
    Print(*report, exporter.has_value());
  }
  return 0;
}

int Verify(const Trust& trust, const VerifyArguments& arguments, bool chains) {
  const auto policy = ReadTrust(trust);
  if (!policy.ok()) {
    return Fail(policy.status());
  }
  if (!arguments.bundle.empty()) {
    return VerifyBundle(*policy, arguments);
  }
  VerifyOptions options;
  options.chains = chains;
  options.progress = Progress();
  for (const std::string& path : arguments.earlier) {
    auto note = ReadFile(path, kNoteBytesMax);
    if (!note.ok()) {
      return Fail(note.status());
    }
    options.earlier_notes.push_back(*std::move(note));
  }
  const auto report = VerifyLog(SystemFiles(), LogFolder(arguments.folder), *policy, options);
  if (!report.ok()) {
    return Fail(report.status());
  }
  if (arguments.json) {
    std::printf("%s\n", ToJson(*report).dump(2).c_str());
  } else {
    Print(*report);
  }
  return report->num_problems == 0 ? 0 : kExitUnsound;
}

struct ProveArguments {
  std::string folder;
  std::string shard;
  uint64_t index = 0;
  std::string leaf_file;
};

int Prove(const Trust& trust, const ProveArguments& arguments) {
  const auto policy = ReadTrust(trust);
  if (!policy.ok()) {
    return Fail(policy.status());
  }
  const auto shard = ShardReader::Open(
      SystemFiles(), LogFolder(arguments.folder) + '/' + arguments.shard, *policy);
  if (!shard.ok()) {
    return Fail(shard.status());
  }
  const auto proof = ProveLeaf(**shard, arguments.index);
  if (!proof.ok()) {
    return Fail(proof.status());
  }
  const auto leaf = (*shard)->Read(arguments.index);
  if (!leaf.ok()) {
    return Fail(leaf.status());
  }
  // What the folder holds may have been changed: a proof that does not hold is not handed out.
  if (const auto checked = CheckProof(*proof, *leaf, *policy); !checked.ok()) {
    return Fail(checked.status());
  }
  if (!arguments.leaf_file.empty()) {
    std::ofstream file(arguments.leaf_file, std::ios::binary);
    file << *leaf;
    if (!file.flush()) {
      return Fail(ErrorF(StatusCode::kUnavailable, "%s: cannot write", arguments.leaf_file));
    }
  }
  std::fputs(EncodeProof(*proof).c_str(), stdout);
  return 0;
}

struct CheckArguments {
  std::string proof_file;
  std::string leaf_file;
};

int Check(const Trust& trust, const CheckArguments& arguments) {
  const auto policy = ReadTrust(trust);
  const auto text = ReadFile(arguments.proof_file, kProofBytesMax);
  const auto leaf = ReadFile(arguments.leaf_file, 65'535);
  for (const Status& status : {policy.status(), text.status(), leaf.status()}) {
    if (!status.ok()) {
      return Fail(status);
    }
  }
  const auto proof = ParseProof(*text);
  if (!proof.ok()) {
    return Fail(proof.status());
  }
  const auto opened = CheckProof(*proof, *leaf, *policy);
  if (!opened.ok()) {
    return Fail(opened.status());
  }
  std::printf("sound: leaf %llu of %s, under its checkpoint of %llu leaves, %zu witnesses\n",
              static_cast<unsigned long long>(proof->index),
              opened->checkpoint.origin.c_str(),
              static_cast<unsigned long long>(opened->checkpoint.size),
              policy->CountWitnesses(opened->note));
  return 0;
}

int Main(int argc, char** argv) {
  CLI::App app{"Checks an audit log of inferd, offline."};
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  audit-verify verify /var/lib/inferd --vkey example.com/inferd-audit/n1+1a2b3c4d+AV...\n"
      "  audit-verify verify --bundle october.tar --policy trust.policy --exporter alice+1a2b...\n"
      "  audit-verify prove /var/lib/inferd 2026q4.0 7 --policy trust.policy >7.tlog-proof\n"
      "  audit-verify check 7.tlog-proof 7.json --policy trust.policy\n"
      "Exit status: 0 sound, 1 failure, 2 usage, 3 not found, 6 not sound.");
  Trust trust;
  VerifyArguments verify;
  ProveArguments prove;
  CheckArguments check;
  const auto add_trust = [&trust](CLI::App* command) {
    auto* group = command->add_option_group("whom to trust", "one of");
    group->add_option("--vkey", trust.vkey, "the log's public key, <name>+<id>+<base64>");
    group->add_option("--policy", trust.policy_file, "a policy file (C2SP tlog-policy)");
    group->require_option(1);
  };
  const auto add_folder = [&verify](CLI::App* command) {
    auto* what = command->add_option_group("what to check", "one of");
    what->add_option("folder", verify.folder, "the node's folder, or its log/");
    if (command->get_name() == "verify") {
      auto* bundle = what->add_option("--bundle", verify.bundle, "an evidence bundle, a .tar");
      command->add_option("--exporter", verify.exporter, "key of whoever exported the bundle")
          ->needs(bundle);
    }
    what->require_option(1);
    command->add_option("--earlier", verify.earlier, "notes of earlier checkpoints to hold it to");
    command->add_flag("--json", verify.json, "the report as JSON");
  };
  CLI::App* verify_command =
      app.add_subcommand("verify", "everything: hashes, signatures, chains, requests, heartbeats");
  CLI::App* fsck_command = app.add_subcommand("fsck", "hashes, tiles and signatures alone");
  CLI::App* prove_command = app.add_subcommand("prove", "writes a leaf's .tlog-proof to stdout");
  CLI::App* check_command = app.add_subcommand("check", "checks a .tlog-proof and its leaf");
  for (CLI::App* command : {verify_command, fsck_command, prove_command, check_command}) {
    add_trust(command);
  }
  add_folder(verify_command);
  add_folder(fsck_command);
  prove_command->add_option("folder", prove.folder, "the node's folder, or its log/")->required();
  prove_command->add_option("shard", prove.shard, "such as 2026q4.0")->required();
  prove_command->add_option("index", prove.index, "of the leaf")->required();
  prove_command->add_option("--leaf", prove.leaf_file, "file to write the leaf to");
  check_command->add_option("proof", check.proof_file, "a .tlog-proof")->required();
  check_command->add_option("leaf", check.leaf_file, "the leaf's bytes")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : kExitUsage;
  }
  if (verify_command->parsed() || fsck_command->parsed()) {
    return Verify(trust, verify, verify_command->parsed());
  }
  return prove_command->parsed() ? Prove(trust, prove) : Check(trust, check);
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) { return inferd::Main(argc, argv); }
