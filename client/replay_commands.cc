#include "client/replay_commands.h"

#include <absl/strings/ascii.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <thread>
#include <vector>

#include "client/admin_call.h"
#include "client/commands.h"
#include "client/table.h"
#include "inferd/v1/audit.grpc.pb.h"
#include "inferd/v1/replay.grpc.pb.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;

// A replay waits behind all other work.
constexpr Duration kTimeout = std::chrono::minutes(30);
constexpr int32_t kPageSize = 1000;
// The view does not cover the request, which began just before its time.
constexpr char kNotCovered[] = "not_covered";
// What was kept is not what the leaf commits to.
constexpr char kDamaged[] = "damaged";
// The daemon's longest time for a request was over.
constexpr char kTimedOut[] = "timed_out";

// REPLAY_RESULT_PREFIX_MATCH: "prefix_match".
std::string ResultText(v1::ReplayResult result) {
  constexpr size_t kPrefix = sizeof("REPLAY_RESULT_") - 1;
  const std::string name = v1::ReplayResult_Name(result);
  return name.size() > kPrefix ? absl::AsciiStrToLower(name.substr(kPrefix)) : "unspecified";
}

// What is said of one request.
struct Line {
  std::string rid;
  std::string result;
  v1::ReplayResponse response;  // if the call failed, the reason alone
};

std::string FirstDiff(const v1::ReplayResponse& response) {
  return response.has_first_diff_choice()
             ? absl::StrFormat("%d:%d", response.first_diff_choice(), response.first_diff_token())
             : "";
}

Json ToJson(const Line& line) {
  Json json = {{"rid", line.rid}, {"result", line.result}};
  const v1::ReplayResponse& response = line.response;
  const auto add = [&json](const char* name, const std::string& value) {
    if (!value.empty()) {
      json[name] = value;
    }
  };
  add("reason", response.reason());
  add("model", response.model().name());
  add("model_digest", response.model().digest());
  add("numerics_id", response.numerics_id());
  if (response.choices() > 0) {
    json["choices"] = response.choices();
    json["tokens"] = response.tokens();
  }
  add("first_diff", FirstDiff(response));
  if (response.has_audit()) {
    json["leaf"] = {{"origin", response.audit().origin()}, {"index", response.audit().index()}};
  }
  return json;
}

class ReplayRun {
 public:
  ReplayRun(const CommonOptions& common, const ReplayCommand& command, Terminal& terminal)
      : common_(common), command_(command), terminal_(terminal) {
    const auto channel = AdminChannel(command.admin);
    replays_ = v1::ReplayService::NewStub(channel);
    audit_ = v1::AuditService::NewStub(channel);
  }

  Status Run() {
    if (!command_.all) {
      return ReplayOne(command_.rid);
    }
    const auto interval = std::chrono::duration_cast<std::chrono::steady_clock::duration>(
        std::chrono::duration<double>(command_.per_second_max > 0 ? 1 / command_.per_second_max
                                                                  : 0));
    auto next = std::chrono::steady_clock::now();
    v1::SearchLeavesRequest search;
    v1::LeafFilter& filter = *search.mutable_filter();
    filter.set_tenant(command_.tenant);
    filter.set_type("inference.completed");
    filter.set_from(command_.from);
    filter.set_to(command_.to);
    search.set_oldest_first(true);
    search.set_page_size(kPageSize);
    for (;;) {
      v1::SearchLeavesResponse page;
      RETURN_IF_ERROR(
          CallAdmin(*audit_, &v1::AuditService::Stub::SearchLeaves, timeout(), search, page));
      for (const v1::LeafRow& row : page.rows()) {
        std::this_thread::sleep_until(next);
        next = std::max(next + interval, std::chrono::steady_clock::now());
        RETURN_IF_ERROR(ReplayOne(row.rid()));
      }
      if (page.rows_size() < kPageSize) {
        return OkStatus();
      }
      *search.mutable_after() = page.rows(page.rows_size() - 1).place();
    }
  }

  // Of what there was so far.
  ExitCode Report() const {
    json() ? PrintJson() : PrintText();
    const auto count = [this](const char* result) {
      const auto found = counts_.find(result);
      return found == counts_.end() ? 0 : found->second;
    };
    if (count("differs") + count(kDamaged) > 0) {
      return ExitCode::kVerificationFailed;
    }
    return count("match") + count("prefix_match") > 0 || (command_.all && lines_.empty())
               ? ExitCode::kOk
               : ExitCode::kFailure;
  }

 private:
  Status ReplayOne(const std::string& rid) {
    v1::ReplayRequest request;
    request.set_view_id(command_.view);
    request.set_rid(rid);
    Line line{.rid = rid, .result = {}, .response = {}};
    const Status status =
        CallAdmin(*replays_, &v1::ReplayService::Stub::Replay, timeout(), request, line.response);
    if (const char* const result = command_.all ? OfOneRequest(status) : nullptr;
        result != nullptr) {
      line.result = result;
      line.response.set_reason(std::string(Message(status)));
    } else {
      RETURN_IF_ERROR(status);
      line.result = ResultText(line.response.result());
    }
    ++counts_[line.result];
    lines_.push_back(std::move(line));
    return OkStatus();
  }

  // What an error says of that request alone, so that the others go on; nullptr: it is of the run.
  const char* OfOneRequest(const Status& status) const {
    switch (status.code()) {
      case StatusCode::kDataLoss:
        return kDamaged;
      case StatusCode::kDeadlineExceeded:
        return kTimedOut;
      case StatusCode::kPermissionDenied:
        return lines_.empty() ? nullptr : kNotCovered;
      default:
        return nullptr;
    }
  }

  Duration timeout() const { return common_.timeout.value_or(kTimeout); }
  bool json() const { return command_.json || common_.output == OutputFormat::kJson; }

  void PrintJson() const {
    Json list = Json::array();
    for (const Line& line : lines_) {
      list.push_back(ToJson(line));
    }
    Json counts = Json::object();
    for (const auto& [result, count] : counts_) {
      counts[result] = count;
    }
    terminal_.out << Json{{"view", command_.view},
                          {"replays", lines_.size()},
                          {"counts", std::move(counts)},
                          {"requests", std::move(list)}}
                         .dump(2)
                  << '\n';
  }

  void PrintText() const {
    Table table(
        {{"RID"}, {"RESULT"}, {"TOKENS", Table::Align::kRight}, {"FIRST DIFFERENCE"}, {"REASON"}});
    for (const Line& line : lines_) {
      table.AddRow({line.rid,
                    line.result,
                    std::to_string(line.response.tokens()),
                    FirstDiff(line.response),
                    line.response.reason()});
    }
    table.Print(terminal_.out, common_.headers);
    if (command_.all) {
      terminal_.out << lines_.size() << " requests";
      for (const auto& [result, count] : counts_) {
        terminal_.out << ", " << count << ' ' << result;
      }
      terminal_.out << '\n';
    }
  }

  const CommonOptions& common_;
  const ReplayCommand& command_;
  Terminal& terminal_;
  std::unique_ptr<v1::ReplayService::Stub> replays_;
  std::unique_ptr<v1::AuditService::Stub> audit_;
  std::vector<Line> lines_;
  std::map<std::string, int> counts_;
};

}  // namespace

void AddReplayCommand(CLI::App& app, ReplayCommand& command) {
  CLI::App* replay = app.add_subcommand(
      "replay",
      "Computes a recorded answer again and compares it token by token.\n\nExamples:\n"
      "  inferctl payload request --tenant acme --rid 01M7ZAPMPCC3JAFF6JTE7B03BG --basis case-7\n"
      "  inferctl replay 01M7ZAPMPCC3JAFF6JTE7B03BG --view 01M7ZB0QJ7V3T9YJ2D4R8K6N5C\n"
      "  inferctl replay --all --view 01M7ZB0QJ7V3T9YJ2D4R8K6N5C --tenant acme "
      "--from 2026-11-01 --to 2026-11-02 -o json > report.json\n");
  replay->add_option("rid", command.rid, "the request, as its leaves name it");
  replay->add_option("--view", command.view, "the approved view that covers it")->required();
  replay->add_flag("--all", command.all, "all of a tenant and a time");
  replay->add_option("--tenant", command.tenant, "whose requests");
  replay->add_option("--from", command.from, "completed from then on: 2026-11-01");
  replay->add_option("--to", command.to, "and before then");
  replay
      ->add_option(
          "--per-second-max", command.per_second_max, "replays begun a second; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  replay->add_option("--admin", command.admin, "the admin plane: unix:PATH")
      ->envname("INFERCTL_ADMIN");
  replay->add_flag("--json", command.json, "the report as JSON");
}

Status CheckReplayCommand(const ReplayCommand& command) {
  const bool named = !command.tenant.empty() && !command.from.empty() && !command.to.empty();
  if (command.all ? !named || !command.rid.empty() : command.rid.empty()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "replay: name one request, or --all with --tenant, --from and --to");
  }
  return OkStatus();
}

ExitCode RunReplay(const CommonOptions& common, const ReplayCommand& command, Terminal& terminal) {
  ReplayRun run(common, command, terminal);
  const Status status = run.Run();
  const ExitCode found = run.Report();
  CommonOptions at_admin = common;
  at_admin.connection.endpoint = command.admin;
  return status.ok() ? found : FailCall(status, at_admin, terminal);
}

}  // namespace inferd
