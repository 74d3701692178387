#include <algorithm>
#include <atomic>
#include <mutex>
#include <ostream>

#include "base/random.h"
#include "client/commands.h"
#include "client/table.h"

namespace inferd {
namespace {

constexpr int32_t kWorkersPerConnection = 128;  // well below the daemon's streams per connection
constexpr auto kProgressInterval = std::chrono::seconds(1);
// Bounds the memory that the samples take.
constexpr int64_t kMeasuredTokensMax = 20'000'000;

std::vector<TokenId> RandomPrompt(const BenchCommand& command, int64_t vocab_size, int32_t index) {
  SplitMix64 random(command.seed * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(index) + 1);
  std::vector<TokenId> prompt(static_cast<size_t>(command.prompt_tokens));
  for (TokenId& token : prompt) {
    token = static_cast<TokenId>(random.Below(static_cast<uint64_t>(vocab_size)));
  }
  return prompt;
}

// Counts on one line of a terminal, once a second at most.
class Progress {
 public:
  Progress(Terminal& terminal, int32_t total) : terminal_(terminal), total_(total) {}

  void Done(int32_t done) {
    const std::lock_guard lock(mutex_);
    const TimePoint now = SystemClock().Now();
    if (terminal_.err_is_tty && (now - last_ > kProgressInterval || done == total_)) {
      last_ = now;
      terminal_.err << absl::StrFormat("\r%d of %d requests", done, total_) << std::flush;
      shown_ = true;
    }
  }

  void End() {
    if (shown_) {
      terminal_.err << '\n';
    }
  }

 private:
  Terminal& terminal_;
  const int32_t total_;
  std::mutex mutex_;
  TimePoint last_{};
  bool shown_ = false;
};

void SendOne(GenerationClient& client, const GenerationCall& call, RequestSample& sample) {
  GenerationObserver observer;
  observer.on_output = [&sample](const ChoiceOutput&) {
    sample.outputs.push_back(SystemClock().Now());
  };
  const StatusOr<GenerationResult> result = client.Generate(call, observer);
  sample.status = result.status();
  if (result.ok()) {
    sample.prompt_tokens = result->started.prompt_tokens;
    sample.output_tokens = result->choices.front().output_tokens;
  }
}

void PrintReport(const LoadReport& report, bool headers, Terminal& terminal) {
  terminal.out << absl::StrFormat(
      "%d requests in %.2f s: %.2f requests/s, %.1f output tokens/s, %d prompt and %d output "
      "tokens\n",
      report.completed,
      report.duration_s,
      report.requests_per_s,
      report.output_tokens_per_s,
      report.prompt_tokens,
      report.output_tokens);
  Table table({{"MS"},
               {"MEAN", Table::Align::kRight},
               {"P50", Table::Align::kRight},
               {"P90", Table::Align::kRight},
               {"P99", Table::Align::kRight},
               {"MAX", Table::Align::kRight}});
  const auto add = [&table](const char* name, const LatencySummary& summary) {
    std::vector<std::string> row = {name};
    for (const double value : {summary.mean, summary.p50, summary.p90, summary.p99, summary.max}) {
      row.push_back(absl::StrFormat("%.2f", value));
    }
    table.AddRow(std::move(row));
  };
  add("first token", report.ttft_ms);
  add("between messages", report.itl_ms);
  add("per output token", report.tpot_ms);
  add("end to end", report.e2e_ms);
  add("client lag", report.lag_ms);
  table.Print(terminal.out, headers);
}

Status CheckSize(const BenchCommand& command) {
  if (int64_t{command.requests} * command.output_tokens > kMeasuredTokensMax) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "--requests times --output-tokens is above %d; measure less at once",
                  kMeasuredTokensMax);
  }
  return OkStatus();
}

}  // namespace

ExitCode RunBench(const CommonOptions& common, const BenchCommand& command, Terminal& terminal) {
  const Status size = CheckSize(command);
  if (!size.ok()) {
    return FailCall(size, common, terminal);
  }
  std::vector<std::unique_ptr<GenerationClient>> clients;
  for (int32_t workers = 0; workers < command.concurrency; workers += kWorkersPerConnection) {
    Connection connection = common.connection;
    connection.own = true;
    auto client = GenerationClient::Create(connection);
    if (!client.ok()) {
      return FailCall(client.status(), common, terminal);
    }
    clients.push_back(*std::move(client));
  }
  const auto name = ChooseModel(*clients.front(), command.model, common);
  if (!name.ok()) {
    return FailCall(name.status(), common, terminal);
  }
  const auto model = clients.front()->GetModel(*name, common.timeout.value_or(kLookupTimeout));
  if (!model.ok() || model->vocab_size < 1) {
    return FailCall(
        model.ok() ? ErrorF(StatusCode::kUnavailable, "%s is not ready", *name) : model.status(),
        common,
        terminal);
  }
  GenerationCall call{.model = *name,
                      .prompt = {},
                      .options = {},
                      .request_id = {},
                      .end_user = {},
                      .session = {},
                      .expected_digest = {},
                      .stream = true,
                      .token_ids = false,
                      .max_tokens_per_message = 1,
                      .timeout = common.timeout};
  call.options.max_tokens = command.output_tokens;
  call.options.ignore_eos = true;  // every answer has the length that was asked for
  Progress progress(terminal, command.requests);
  const auto samples = RunLoad(
      {.rate_per_s = command.rate_per_s,
       .concurrency = command.concurrency,
       .requests = command.requests,
       .duration = command.duration,
       .seed = command.seed},
      [&](int32_t index, int32_t worker, RequestSample& sample) {
        GenerationCall mine = call;
        mine.prompt = RandomPrompt(command, model->vocab_size, index);
        mine.options.seed = command.seed + static_cast<uint64_t>(index);
        SendOne(*clients[static_cast<size_t>(worker / kWorkersPerConnection)], mine, sample);
      },
      [&](int32_t done) { progress.Done(done); });
  progress.End();
  const LoadReport report = Report(samples);
  if (common.output == OutputFormat::kJson) {
    terminal.out << ToJson(command, *name, report) << '\n';
  } else {
    PrintReport(report, common.headers, terminal);
  }
  for (const auto& [code, count] : report.failed) {
    PrintError(terminal, absl::StrFormat("%d requests failed: %s", count, code), "");
  }
  if (!report.first_error.empty()) {
    PrintError(terminal, "the first: " + OneLine(report.first_error, 2000));
  }
  return report.failed.empty() ? ExitCode::kOk : ExitCode::kFailure;
}

}  // namespace inferd
