#include "client/queue_commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "client/commands.h"
#include "client/interrupt.h"
#include "client/table.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;

constexpr Duration kAdminTimeout = std::chrono::seconds(30);
// Loading reads, verifies and packs a whole file.
constexpr Duration kLoadTimeout = std::chrono::hours(1);
constexpr Duration kUnloadGrace = std::chrono::seconds(30);  // beyond the drain
constexpr int64_t kSlabBytes = int64_t{2} << 20;
constexpr Duration kPoll = std::chrono::milliseconds(50);
// Clears the terminal and goes to its top left corner (ECMA-48).
constexpr char kClear[] = "\x1b[2J\x1b[H";

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string Rate(double per_s) { return absl::StrFormat(per_s < 10 ? "%.1f" : "%.0f", per_s); }

std::string SlabText(int64_t slabs) {
  return FormatBytes(static_cast<uint64_t>(std::max<int64_t>(slabs, 0) * kSlabBytes));
}

std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

// For errors: the endpoint that was asked.
CommonOptions AtAdmin(const CommonOptions& common, const QueueCommand& command) {
  CommonOptions options = common;
  options.connection.endpoint = command.admin;
  return options;
}

// False if it was interrupted.
bool Sleep(double seconds, const std::stop_token& stop) {
  const TimePoint end = SystemClock().Now() + Duration(static_cast<int64_t>(seconds * 1e9));
  while (SystemClock().Now() < end && !stop.stop_requested()) {
    std::this_thread::sleep_for(std::min(kPoll, end - SystemClock().Now()));
  }
  return !stop.stop_requested();
}

// "llama:2"; of a daemon that tells no versions, "llama".
std::string ModelText(const std::string& model, const std::string& version) {
  return version.empty() ? model : model + ':' + version;
}

const TenantModelUse* FindUse(const DaemonLoad& load,
                              const std::string& tenant,
                              const TenantModelUse& wanted) {
  for (const TenantUse& use : load.tenants) {
    for (const TenantModelUse& of_model : use.models) {
      if (use.tenant == tenant && of_model.model == wanted.model &&
          of_model.version == wanted.version) {
        return &of_model;
      }
    }
  }
  return nullptr;
}

ExitCode RunTop(const CommonOptions& common, const QueueCommand& command, Terminal& terminal) {
  QueueClient client(command.admin, common.timeout.value_or(kAdminTimeout));
  const Interrupt interrupt;
  StatusOr<DaemonLoad> before = client.GetLoad();
  while (before.ok() && Sleep(command.interval_s, interrupt.token())) {
    const StatusOr<DaemonLoad> after = client.GetLoad();
    if (!after.ok()) {
      return FailCall(after.status(), AtAdmin(common, command), terminal);
    }
    const std::vector<TopRow> rows = TopRows(*before, *after);
    if (command.json || common.output == OutputFormat::kJson) {
      terminal.out << TopJson(rows, *after) << '\n';
    } else {
      terminal.out << (terminal.out_is_tty && !command.once ? kClear : "");
      PrintTop(rows, *after, common.headers, terminal.out);
    }
    terminal.out.flush();
    if (command.once || !terminal.out) {
      return ExitCode::kOk;
    }
    before = *after;
  }
  return before.ok() ? ExitCode::kOk
                     : FailCall(before.status(), AtAdmin(common, command), terminal);
}

ExitCode RunExplain(const CommonOptions& common, const QueueCommand& command, Terminal& terminal) {
  QueueClient client(command.admin, common.timeout.value_or(kAdminTimeout));
  const auto choices = client.Explain(command.id, command.limit);
  if (!choices.ok()) {
    return FailCall(choices.status(), AtAdmin(common, command), terminal);
  }
  if (command.json || common.output == OutputFormat::kJson) {
    terminal.out << ExplainJson(*choices) << '\n';
    return ExitCode::kOk;
  }
  for (const WaitingChoice& choice : *choices) {
    terminal.out << ExplainText(choice);
  }
  return ExitCode::kOk;
}

ExitCode RunModelAdmin(const CommonOptions& common,
                       const QueueCommand& command,
                       Terminal& terminal) {
  const auto drain = Duration(static_cast<int64_t>(command.drain_s * 1e9));
  if (command.verb == "load") {
    QueueClient client(command.admin, common.timeout.value_or(kLoadTimeout));
    const auto digest = client.LoadModel(command.model, command.path, command.context_tokens_max);
    if (!digest.ok()) {
      return FailCall(digest.status(), AtAdmin(common, command), terminal);
    }
    terminal.out << command.model << ' ' << *digest << '\n';
    return ExitCode::kOk;
  }
  QueueClient client(command.admin, common.timeout.value_or(drain + kUnloadGrace));
  const Status unloaded = client.UnloadModel(command.model, drain);
  return unloaded.ok() ? ExitCode::kOk : FailCall(unloaded, AtAdmin(common, command), terminal);
}

void AddAdmin(CLI::App* verb, QueueCommand& command, const char* name) {
  verb->add_option("--admin", command.admin, "inferd's admin plane: unix:PATH")
      ->envname("INFERCTL_ADMIN")
      ->capture_default_str();
  verb->callback([&command, name] { command.verb = name; });
}

// What the choice waits for, in words.
std::string ReasonSentence(const WaitingChoice& choice) {
  if (choice.reason == "running") {
    return "It does not wait.";
  }
  if (choice.reason == "paused") {
    return "Its reader is slow: it goes on when the reader does.";
  }
  if (choice.reason == "model_loading") {
    return "Its model is being loaded.";
  }
  if (choice.reason == "tenant_limit") {
    return "Its tenant runs as many requests as it may (scheduler.tenants: running_max).";
  }
  if (choice.reason == "own_queue") {
    return absl::StrFormat("%d earlier requests of its tenant come first.", choice.position);
  }
  if (choice.reason == "others_turn") {
    return absl::StrFormat("%d tenants that got less service by weight come first.",
                           choice.num_tenants_ahead);
  }
  return "It is next, as soon as there is room in the KV memory.";
}

}  // namespace

void AddQueueCommands(CLI::App& app, QueueCommand& command) {
  const auto shared = [&command](CLI::App* verb, const char* name) {
    AddAdmin(verb, command, name);
    verb->add_flag("--json", command.json, "the same as -o json");
  };
  CLI::App* top = app.add_subcommand("top",
                                     "Shows who uses the device, tenant by tenant.\n\nExamples:\n"
                                     "  inferctl top\n  inferctl top --once --json\n");
  shared(top, "top");
  top->add_flag("--once", command.once, "one look, over one interval");
  top->add_option("--interval", command.interval_s, "seconds between looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  CLI::App* request = app.add_subcommand("request",
                                         "Looks at requests in flight.\n\nExamples:\n"
                                         "  inferctl request explain\n");
  request->require_subcommand(0, 1);
  CLI::App* explain = request->add_subcommand(
      "explain",
      "Says why requests wait, who is ahead, and when they start.\n\nExamples:\n"
      "  inferctl request explain\n  inferctl request explain my-request-7\n");
  shared(explain, "explain");
  explain->add_option("id", command.id, "a request id, or its id in the audit log; none: all");
  explain->add_option("--limit", command.limit, "most requests")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
}

void AddModelAdminCommands(CLI::App& model, QueueCommand& command) {
  CLI::App* load = model.add_subcommand("load",
                                        "Loads an approved version into the running daemon, beside "
                                        "the others.\n\nExamples:\n"
                                        "  inferctl model load llama:2 /models/llama-2\n");
  load->add_option("name", command.model, "MODEL:VERSION")->required();
  load->add_option("path", command.path, "the GGUF file or the folder, on the daemon's host")
      ->required();
  load->add_option("--context", command.context_tokens_max, "positions to serve; 0: as declared")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  AddAdmin(load, command, "load");
  CLI::App* unload =
      model.add_subcommand("unload",
                           "Takes a version away once its requests are done.\n\nExamples:\n"
                           "  inferctl model unload llama:1 --drain 30\n");
  unload->add_option("name", command.model, "MODEL:VERSION; MODEL if no other version is in memory")
      ->required();
  unload->add_option("--drain", command.drain_s, "seconds that its requests get")
      ->check(CLI::Range(0.0, 86'400.0))
      ->capture_default_str();
  AddAdmin(unload, command, "unload");
}

std::vector<TopRow> TopRows(const DaemonLoad& before, const DaemonLoad& after) {
  const double seconds = std::max(1e-9, Seconds(after.sampled_at - before.sampled_at));
  std::map<std::string, uint64_t> units_before;
  for (const TenantUse& use : before.tenants) {
    units_before[use.tenant] = use.service_units;
  }
  uint64_t all_units = 0;
  for (const TenantUse& use : after.tenants) {
    all_units += use.service_units - units_before[use.tenant];
  }
  std::vector<TopRow> rows;
  for (const TenantUse& use : after.tenants) {
    const uint64_t units = use.service_units - units_before[use.tenant];
    for (const TenantModelUse& model : use.models) {
      const TenantModelUse* was = FindUse(before, use.tenant, model);
      const uint64_t prompt = model.prompt_tokens - (was == nullptr ? 0 : was->prompt_tokens);
      const uint64_t output = model.output_tokens - (was == nullptr ? 0 : was->output_tokens);
      if (prompt + output == 0 && model.running + model.waiting == 0) {
        continue;
      }
      rows.push_back({.tenant = use.tenant,
                      .model = model.model,
                      .version = model.version,
                      .weight = use.weight,
                      .share = all_units == 0
                                   ? 0.0
                                   : static_cast<double>(units) / static_cast<double>(all_units),
                      .running = model.running,
                      .waiting = model.waiting,
                      .paused = model.paused,
                      .kv_blocks = model.kv_blocks,
                      .prompt_tokens_per_s = static_cast<double>(prompt) / seconds,
                      .output_tokens_per_s = static_cast<double>(output) / seconds,
                      .standing = use.over_served  ? "over-served"
                                  : use.backlogged ? "waits"
                                                   : ""});
    }
  }
  return rows;
}

void PrintTop(const std::vector<TopRow>& rows,
              const DaemonLoad& load,
              bool headers,
              std::ostream& out) {
  out << absl::StrFormat("kv blocks: %d of %d used, %d cached   steps: %d   preempted: %d\n",
                         load.kv_blocks_used,
                         load.kv_blocks_total,
                         load.kv_blocks_cached,
                         load.steps,
                         load.preemptions);
  for (const ModelMemory& use : load.memory) {
    out << absl::StrFormat("model %s: weights %s, kv %s\n",
                           ModelText(use.model, use.version),
                           SlabText(use.weight_slabs),
                           SlabText(use.kv_slabs));
  }
  if (load.memory_slabs_max > 0) {
    out << absl::StrFormat("memory for models: %s\n", SlabText(load.memory_slabs_max));
  }
  Table table({{"TENANT"},
               {"MODEL"},
               {"WEIGHT", Table::Align::kRight},
               {"SHARE", Table::Align::kRight},
               {"RUNNING", Table::Align::kRight},
               {"WAITING", Table::Align::kRight},
               {"KV BLOCKS", Table::Align::kRight},
               {"PROMPT/S", Table::Align::kRight},
               {"OUTPUT/S", Table::Align::kRight},
               {"STANDING"}});
  for (const TopRow& row : rows) {
    table.AddRow({OneLine(row.tenant, 40),
                  ModelText(row.model, row.version),
                  std::to_string(row.weight),
                  absl::StrFormat("%.0f%%", 100 * row.share),
                  std::to_string(row.running),
                  std::to_string(row.waiting),
                  std::to_string(row.kv_blocks),
                  Rate(row.prompt_tokens_per_s),
                  Rate(row.output_tokens_per_s),
                  row.standing});
  }
  table.Print(out, headers);
}

std::string TopJson(const std::vector<TopRow>& rows, const DaemonLoad& load) {
  Json tenants = Json::array();
  for (const TopRow& row : rows) {
    tenants.push_back({{"tenant", row.tenant},
                       {"model", row.model},
                       {"version", row.version},
                       {"weight", row.weight},
                       {"share", row.share},
                       {"running", row.running},
                       {"waiting", row.waiting},
                       {"paused", row.paused},
                       {"kv_blocks", row.kv_blocks},
                       {"prompt_tokens_per_s", row.prompt_tokens_per_s},
                       {"output_tokens_per_s", row.output_tokens_per_s},
                       {"standing", row.standing}});
  }
  Json models = Json::array();
  for (const ModelMemory& use : load.memory) {
    models.push_back({{"model", use.model},
                      {"version", use.version},
                      {"weight_bytes", use.weight_slabs * kSlabBytes},
                      {"kv_bytes", use.kv_slabs * kSlabBytes}});
  }
  return Dump({{"tenants", std::move(tenants)},
               {"models", std::move(models)},
               {"memory_bytes_max", load.memory_slabs_max * kSlabBytes},
               {"kv_blocks_used", load.kv_blocks_used},
               {"kv_blocks_cached", load.kv_blocks_cached},
               {"kv_blocks_total", load.kv_blocks_total},
               {"fairness_window_units", load.fairness_window_units},
               {"steps", load.steps},
               {"preemptions", load.preemptions}});
}

std::string ExplainText(const WaitingChoice& choice) {
  std::string text = absl::StrFormat("%s (choice %d) of %s, model %s, for %.1f s\n  %s\n",
                                     OneLine(choice.request_id, 100),
                                     choice.choice,
                                     OneLine(choice.tenant, 40),
                                     ModelText(choice.model, choice.version),
                                     Seconds(choice.age),
                                     ReasonSentence(choice));
  if (choice.reason == "running") {
    return text;
  }
  for (const WaitingChoice::Ahead& ahead : choice.ahead) {
    text += absl::StrFormat("  ahead: %s, weight %d, %d units behind, %d waiting\n",
                            OneLine(ahead.tenant, 40),
                            ahead.weight,
                            ahead.behind_units,
                            ahead.waiting);
  }
  text +=
      absl::StrFormat("  service ahead: %d units; %s\n",
                      choice.units_ahead,
                      choice.starts_in.has_value()
                          ? absl::StrFormat("starts in about %.1f s", Seconds(*choice.starts_in))
                          : std::string("no prediction: nothing was measured yet"));
  text += absl::StrFormat(
      "  needs %d KV blocks; %d are not held\n", choice.blocks_needed, choice.blocks_available);
  return text;
}

std::string ExplainJson(const std::vector<WaitingChoice>& choices) {
  Json list = Json::array();
  for (const WaitingChoice& choice : choices) {
    Json ahead = Json::array();
    for (const WaitingChoice::Ahead& tenant : choice.ahead) {
      ahead.push_back({{"tenant", tenant.tenant},
                       {"weight", tenant.weight},
                       {"behind_units", tenant.behind_units},
                       {"waiting", tenant.waiting}});
    }
    list.push_back(
        {{"request_id", choice.request_id},
         {"rid", choice.rid},
         {"tenant", choice.tenant},
         {"model", choice.model},
         {"version", choice.version},
         {"choice", choice.choice},
         {"reason", choice.reason},
         {"age_s", Seconds(choice.age)},
         {"output_tokens", choice.output_tokens},
         {"preemptions", choice.preemptions},
         {"position", choice.position},
         {"units_ahead", choice.units_ahead},
         {"ahead", std::move(ahead)},
         {"num_tenants_ahead", choice.num_tenants_ahead},
         {"starts_in_s", choice.starts_in.has_value() ? Json(Seconds(*choice.starts_in)) : Json()},
         {"blocks_needed", choice.blocks_needed},
         {"blocks_available", choice.blocks_available}});
  }
  return Dump({{"requests", std::move(list)}});
}

ExitCode RunQueue(const CommonOptions& common, const QueueCommand& command, Terminal& terminal) {
  if (command.verb == "top") {
    return RunTop(common, command, terminal);
  }
  return command.verb == "explain" ? RunExplain(common, command, terminal)
                                   : RunModelAdmin(common, command, terminal);
}

}  // namespace inferd
