#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <thread>

#include "base/file.h"
#include "base/file_system.h"
#include "client/audit_client.h"
#include "client/audit_evidence.h"
#include "client/audit_payload.h"
#include "client/audit_report.h"
#include "client/audit_retention.h"
#include "client/audit_text.h"
#include "client/commands.h"
#include "client/interrupt.h"
#include "client/table.h"
#include "governance/verify/verifier.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Stub = v1::AuditService::Stub;

constexpr int32_t kPageRows = 1000;
constexpr auto kFollowPeriod = std::chrono::milliseconds(500);
constexpr Duration kAdminTimeout = std::chrono::minutes(2);

Json RowJson(const v1::LeafRow& row) {
  return {{"origin", row.place().origin()},
          {"index", row.place().index()},
          {"time", row.time()},
          {"type", row.type()},
          {"tenant", row.tenant()},
          {"rid", row.rid()},
          {"actor", row.actor()},
          {"model", row.model()},
          {"digest", row.digest()},
          {"status", row.status()},
          {"reason", row.reason()},
          {"finish", row.finish()},
          {"input_tokens", row.input_tokens()},
          {"output_tokens", row.output_tokens()}};
}

Table RowsTable() {
  return Table({{"INDEX", Table::Align::kRight},
                {"TIME"},
                {"TYPE"},
                {"TENANT"},
                {"RID"},
                {"ACTOR"},
                {"MODEL"},
                {"STATUS"},
                {"TOKENS", Table::Align::kRight}});
}

void AddRow(Table& table, const v1::LeafRow& row) {
  const uint64_t tokens = row.input_tokens() + row.output_tokens();
  table.AddRow({std::to_string(row.place().index()),
                row.time(),
                row.type(),
                row.tenant(),
                row.rid(),
                row.actor(),
                row.model(),
                row.reason().empty() ? row.status() : row.reason(),
                tokens == 0 ? "" : std::to_string(tokens)});
}

v1::LeafFilter FilterOf(const AuditCommand& command) {
  v1::LeafFilter filter;
  filter.set_tenant(command.tenant);
  filter.set_type(command.type);
  filter.set_rid(command.rid);
  filter.set_actor(command.actor);
  filter.set_model(command.model);
  filter.set_reason(command.reason);
  filter.set_end_user(command.end_user);
  filter.set_from(command.from);
  filter.set_to(command.to);
  return filter;
}

class Commands {
 public:
  Commands(const CommonOptions& common, const AuditCommand& command, Terminal& terminal)
      : common_(common),
        command_(command),
        terminal_(terminal),
        client_(command.admin, common.timeout.value_or(kAdminTimeout)) {}

  StatusOr<ExitCode> Run() {
    if (command_.noun == "payload") {
      return RunPayload(common_, command_, client_, terminal_);
    }
    if (command_.noun != "audit") {
      return RunRetention(common_, command_, client_, terminal_);
    }
    const std::string& verb = command_.verb;
    return verb == "log"       ? ShowLog()
           : verb == "search"  ? Search()
           : verb == "tail"    ? Tail()
           : verb == "show"    ? ShowLeaf()
           : verb == "prove"   ? Prove()
           : verb == "verify"  ? Verify()
           : verb == "export"  ? Export()
           : verb == "witness" ? Witness()
                               : Report();
  }

 private:
  bool json() const { return common_.output == OutputFormat::kJson; }

  StatusOr<ExitCode> Print(const Json& json) {
    terminal_.out << json.dump(2) << '\n';
    return ExitCode::kOk;
  }

  static Status WriteFile(const std::string& path, const std::string& content) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << content;
    file.close();
    return file ? OkStatus() : ErrorF(StatusCode::kUnavailable, "%s: cannot be written", path);
  }

  StatusOr<ExitCode> Write(const std::string& content) {
    if (command_.out.empty()) {
      terminal_.out << content;
      return ExitCode::kOk;
    }
    RETURN_IF_ERROR(WriteFile(command_.out, content));
    return ExitCode::kOk;
  }

  StatusOr<ExitCode> ShowLog() {
    ASSIGN_OR_RETURN(const auto log, client_.Call(&Stub::GetLog, v1::GetLogRequest()));
    if (json()) {
      return Print({{"folder", log.folder()},
                    {"key", log.verifier_key()},
                    {"origin", log.origin()},
                    {"checkpoint", log.checkpoint()},
                    {"fault", log.fault()}});
    }
    Table table({{"FIELD"}, {"VALUE"}});
    table.AddRow({"folder", log.folder()});
    table.AddRow({"key", log.verifier_key()});
    table.AddRow({"origin", log.origin()});
    table.AddRow({"fault", log.fault().empty() ? "none" : log.fault()});
    table.Print(terminal_.out, common_.headers);
    terminal_.out << '\n' << log.checkpoint();
    return ExitCode::kOk;
  }

  // Pages from `request` on until `limit` rows (0: all) went to `take`.
  Status Pages(v1::SearchLeavesRequest& request,
               int32_t limit,
               const std::function<void(const v1::LeafRow&)>& take) {
    int32_t left = limit;
    for (;;) {
      request.set_page_size(limit == 0 ? kPageRows : std::min(left, kPageRows));
      ASSIGN_OR_RETURN(const auto page, client_.Call(&Stub::SearchLeaves, request));
      for (const v1::LeafRow& row : page.rows()) {
        take(row);
      }
      left -= page.rows_size();
      if (page.rows_size() < request.page_size() || (limit != 0 && left <= 0)) {
        return OkStatus();
      }
      *request.mutable_after() = page.rows(page.rows_size() - 1).place();
    }
  }

  StatusOr<ExitCode> Search() {
    v1::SearchLeavesRequest request;
    *request.mutable_filter() = FilterOf(command_);
    request.set_oldest_first(command_.oldest_first);
    Table table = RowsTable();
    Json list = Json::array();
    RETURN_IF_ERROR(Pages(request, command_.limit, [&](const v1::LeafRow& row) {
      json() ? list.push_back(RowJson(row)) : AddRow(table, row);
    }));
    if (json()) {
      return Print({{"leaves", std::move(list)}});
    }
    table.Print(terminal_.out, common_.headers);
    return ExitCode::kOk;
  }

  // One line each: a table whose columns fit what comes later cannot be made.
  void PrintLine(const v1::LeafRow& row) {
    if (json()) {
      terminal_.out << RowJson(row).dump() << '\n';
    } else {
      terminal_.out << row.place().index() << "  " << row.time() << "  " << row.type() << "  "
                    << row.tenant() << "  " << row.rid() << "  " << row.actor() << "  "
                    << row.model() << "  " << (row.reason().empty() ? row.status() : row.reason())
                    << '\n';
    }
    terminal_.out.flush();
  }

  StatusOr<ExitCode> Tail() {
    std::vector<v1::LeafRow> newest;
    v1::SearchLeavesRequest request;
    *request.mutable_filter() = FilterOf(command_);
    RETURN_IF_ERROR(Pages(request, std::max(command_.limit, 1), [&](const v1::LeafRow& row) {
      newest.push_back(row);
    }));
    v1::SearchLeavesRequest next;
    *next.mutable_filter() = request.filter();
    next.set_oldest_first(true);
    for (auto row = newest.rbegin(); row != newest.rend(); ++row) {
      PrintLine(*row);
      *next.mutable_after() = row->place();
    }
    const Interrupt interrupt;
    while (command_.follow && !interrupt.token().stop_requested()) {
      std::this_thread::sleep_for(kFollowPeriod);
      const auto show = [&](const v1::LeafRow& row) {
        PrintLine(row);
        *next.mutable_after() = row.place();
      };
      RETURN_IF_ERROR(Pages(next, 0, show));
    }
    return ExitCode::kOk;
  }

  StatusOr<v1::GetLeafResponse> GetLeaf() {
    v1::GetLeafRequest request;
    request.mutable_place()->set_origin(command_.origin);
    request.mutable_place()->set_index(command_.index);
    return client_.Call(&Stub::GetLeaf, request);
  }

  StatusOr<ExitCode> ShowLeaf() {
    ASSIGN_OR_RETURN(const auto found, GetLeaf());
    if (json()) {
      return Print(
          {{"leaf", Json::parse(found.leaf(), nullptr, false)}, {"leaf_hash", found.leaf_hash()}});
    }
    terminal_.out << found.leaf() << '\n';
    return ExitCode::kOk;
  }

  StatusOr<ExitCode> Prove() {
    ASSIGN_OR_RETURN(const auto found, GetLeaf());
    return json() ? Print({{"leaf", found.leaf()},
                           {"leaf_hash", found.leaf_hash()},
                           {"proof", found.proof()}})
                  : Write(found.proof());
  }

  StatusOr<TrustPolicy> Policy(const std::string& key) {
    ASSIGN_OR_RETURN(const std::string text, ReadPolicy(command_, key));
    return TrustPolicy::Parse(text);
  }

  StatusOr<VerifyReport> VerifyFolder(const std::string& folder, const std::string& key) {
    ASSIGN_OR_RETURN(const TrustPolicy policy, Policy(key));
    VerifyOptions options;
    Progress progress(terminal_);
    options.progress = [&](uint64_t done, uint64_t total) { progress.Show(done, total); };
    return VerifyLog(SystemFiles(), folder, policy, options);
  }

  static Json ShardsJson(const VerifyReport& report) {
    Json shards = Json::array();
    for (const VerifyReport::Shard& shard : report.shards) {
      shards.push_back({{"origin", shard.checkpoint.origin},
                        {"size", shard.checkpoint.size},
                        {"witnessed_size", shard.witnessed_size},
                        {"witnesses", shard.num_witnesses},
                        {"frozen", shard.frozen}});
    }
    return shards;
  }

  StatusOr<ExitCode> Verify() {
    if (!command_.bundle.empty()) {
      return VerifyBundle(common_, command_, terminal_);
    }
    std::string folder = command_.log_folder;
    std::string key = command_.verifier_key;
    if (folder.empty() || (key.empty() && command_.policy_file.empty())) {
      ASSIGN_OR_RETURN(const auto log, client_.Call(&Stub::GetLog, v1::GetLogRequest()));
      folder = folder.empty() ? log.folder() : folder;
      key = key.empty() ? log.verifier_key() : key;
    }
    ASSIGN_OR_RETURN(const VerifyReport report, VerifyFolder(folder, key));
    const bool sound = report.num_problems == 0;
    if (json()) {
      Json problems = Json::array();
      for (const Finding& finding : report.problems) {
        problems.push_back(ToText(finding));
      }
      RETURN_IF_ERROR(Print({{"sound", sound},
                             {"leaves", report.num_leaves},
                             {"shards", ShardsJson(report)},
                             {"open_requests", report.open_intents},
                             {"num_problems", report.num_problems},
                             {"problems", std::move(problems)}}));
    } else {
      for (const Finding& finding : report.problems) {
        terminal_.out << ToText(finding) << '\n';
      }
      terminal_.out << (sound ? "verified: " : "DOES NOT VERIFY: ") << report.num_leaves
                    << " leaves in " << report.shards.size() << " shards, " << report.num_problems
                    << " problems, " << report.open_intents << " open requests\n";
    }
    return sound ? ExitCode::kOk : ExitCode::kVerificationFailed;
  }

  // The checkpoint is read before the tiles and written after them: whatever the log does
  // meanwhile, the copy has all that its checkpoint needs, and an interrupted one has none.
  StatusOr<ExitCode> Export() {
    ASSIGN_OR_RETURN(const auto begun, client_.Call(&Stub::BeginExport, v1::BeginExportRequest()));
    if (!command_.tenant.empty() || !command_.rids.empty()) {
      Progress progress(terminal_);
      const auto show = [&progress](uint64_t done, uint64_t total) { progress.Show(done, total); };
      return ExportEvidence(
          common_, command_, begun.log().folder(), begun.log().verifier_key(), show, terminal_);
    }
    std::error_code error;
    const fs::path target = fs::path(command_.out);
    if (fs::exists(target, error) && !fs::is_empty(target, error)) {
      return ErrorF(StatusCode::kInvalidArgument, "%s: is not empty", command_.out);
    }
    Progress progress(terminal_);
    uint64_t files = 0;
    for (const auto& shard : fs::directory_iterator(begun.log().folder(), error)) {
      const fs::path copy = target / "log" / shard.path().filename();
      ASSIGN_OR_RETURN(const std::string note,
                       ReadFile((shard.path() / "checkpoint").string(), kNoteBytesMax));
      for (const auto& entry : fs::recursive_directory_iterator(shard.path() / "tile", error)) {
        const fs::path to = copy / entry.path().lexically_relative(shard.path());
        if (entry.is_directory()) {
          fs::create_directories(to, error);
        } else {
          fs::create_directories(to.parent_path(), error);
          fs::copy_file(entry.path(), to, error);
          progress.Show(++files, 0);
        }
        if (error == std::errc::no_such_file_or_directory) {
          error.clear();  // a partial tile that a wider one has replaced meanwhile
        }
        if (error) {
          return ErrorF(StatusCode::kUnavailable, "%s: %s", to.string(), error.message());
        }
      }
      RETURN_IF_ERROR(WriteFile((copy / "checkpoint").string(), note));
    }
    RETURN_IF_ERROR(WriteFile((target / "key").string(), begun.log().verifier_key() + "\n"));
    RETURN_IF_ERROR(WriteFile((target / "README").string(),
                              "A copy of an audit log. Check it with\n"
                              "  audit-verify, or: inferctl audit verify --log log --key \"$(cat "
                              "key)\"\nand compare the key with the one you were given.\n"));
    if (json()) {
      return Print({{"folder", command_.out}, {"files", files}});
    }
    terminal_.out << command_.out << ": " << files << " files\n";
    return ExitCode::kOk;
  }

  StatusOr<ExitCode> Witness() {
    ASSIGN_OR_RETURN(const auto answer,
                     client_.Call(&Stub::ListWitnesses, v1::ListWitnessesRequest()));
    bool lags = false;
    Json list = Json::array();
    Table table({{"WITNESS"},
                 {"SHARD"},
                 {"COSIGNED", Table::Align::kRight},
                 {"OF", Table::Align::kRight},
                 {"AT"},
                 {"STATE"}});
    for (const v1::WitnessState& witness : answer.witnesses()) {
      lags = lags || !witness.error().empty();
      const std::string shard = witness.origin().substr(witness.origin().rfind('/') + 1);
      table.AddRow({witness.name(),
                    shard,
                    std::to_string(witness.cosigned_size()),
                    std::to_string(witness.log_size()),
                    witness.cosigned_at(),
                    witness.error().empty() ? "ok" : witness.error()});
      list.push_back({{"name", witness.name()},
                      {"key", witness.verifier_key()},
                      {"url", witness.url()},
                      {"origin", witness.origin()},
                      {"cosigned_size", witness.cosigned_size()},
                      {"log_size", witness.log_size()},
                      {"cosigned_at", witness.cosigned_at()},
                      {"error", witness.error()}});
    }
    if (json()) {
      RETURN_IF_ERROR(Print({{"witnesses", std::move(list)}}));
    } else {
      table.Print(terminal_.out, common_.headers);
    }
    return lags ? ExitCode::kUnavailable : ExitCode::kOk;
  }

  StatusOr<ExitCode> Report() {
    v1::GetReportRequest request;
    request.set_tenant(command_.tenant);
    request.set_from(command_.from);
    request.set_to(command_.to);
    ASSIGN_OR_RETURN(const auto sums, client_.Call(&Stub::GetReport, request));
    ASSIGN_OR_RETURN(const auto log, client_.Call(&Stub::GetLog, v1::GetLogRequest()));
    ASSIGN_OR_RETURN(const VerifyReport verified, VerifyFolder(log.folder(), log.verifier_key()));
    AuditReport report;
    report.tenant = command_.tenant;
    report.from = command_.from;
    report.to = command_.to;
    report.made_at = UtcNow();
    for (const v1::ModelUse& use : sums.uses()) {
      report.uses.push_back({.model = use.model(),
                             .digest = use.digest(),
                             .requests = use.requests(),
                             .completed = use.completed(),
                             .failed = use.failed(),
                             .input_tokens = use.input_tokens(),
                             .output_tokens = use.output_tokens()});
    }
    for (const v1::RefusalCount& refusal : sums.refusals()) {
      report.refusals.push_back(
          {.reason = refusal.reason(), .status = refusal.status(), .count = refusal.count()});
    }
    for (const v1::LeafRow& act : sums.acts()) {
      report.acts.push_back({.time = act.time(),
                             .type = act.type(),
                             .tenant = act.tenant(),
                             .actor = act.actor(),
                             .subject = act.model().empty() ? act.rid() : act.model()});
    }
    report.sound = verified.num_problems == 0;
    report.num_leaves = verified.num_leaves;
    report.open_requests = verified.open_intents;
    report.checkpoint = log.checkpoint();
    report.verifier_key = log.verifier_key();
    for (const Finding& finding : verified.problems) {
      report.problems.push_back(ToText(finding));
    }
    for (const Finding& finding : verified.warnings) {
      report.warnings.push_back(ToText(finding));
    }
    RETURN_IF_ERROR(Write(RenderAuditReport(report)));
    return report.sound ? ExitCode::kOk : ExitCode::kVerificationFailed;
  }

  const CommonOptions& common_;
  const AuditCommand& command_;
  Terminal& terminal_;
  AuditClient client_;
};

}  // namespace

ExitCode RunAudit(const CommonOptions& common, const AuditCommand& command, Terminal& terminal) {
  const auto code = Commands(common, command, terminal).Run();
  if (code.ok()) {
    return *code;
  }
  const Status& status = code.status();
  std::string advice;
  if (status.code() == StatusCode::kUnavailable) {
    advice = absl::StrFormat(
        "Is inferd running, and may this user connect to %s? Name another with --admin; `audit "
        "verify --log FOLDER --key KEY` works without it.",
        command.admin);
  }
  PrintError(terminal, OneLine(Message(status), 2000), advice);
  return ExitCodeFor(status);
}

}  // namespace inferd
