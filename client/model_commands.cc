#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "absl/strings/str_join.h"
#include "client/commands.h"
#include "client/table.h"

namespace inferd {
namespace {

Duration LookupTimeout(const CommonOptions& common) {
  return common.timeout.value_or(kLookupTimeout);
}

std::string ShortDigest(const std::string& digest) { return digest.substr(0, 19); }

// The client and one answer of it.
template <typename Ask>
auto AskDaemon(const CommonOptions& common, const Ask& ask)
    -> decltype(ask(std::declval<GenerationClient&>())) {
  ASSIGN_OR_RETURN(const auto client, GenerationClient::Create(common.connection));
  return ask(*client);
}

struct ServiceHealth {
  std::string service;
  std::string state;
};

StatusOr<std::vector<ServiceHealth>> AskHealth(GenerationClient& client, Duration timeout) {
  std::vector<ServiceHealth> services;
  ASSIGN_OR_RETURN(const std::string process, client.Health("", timeout));
  services.push_back({"inferd", process});
  ASSIGN_OR_RETURN(const auto models, client.ListModels(timeout));
  std::set<std::string> names;
  for (const ServedModel& model : models) {
    if (!names.insert(model.name).second) {
      continue;  // another version
    }
    const StatusOr<std::string> state = client.Health("model:" + model.name, timeout);
    if (!state.ok() && state.status().code() != StatusCode::kNotFound) {
      return state.status();
    }
    services.push_back({"model:" + model.name, state.ok() ? *state : model.state});
  }
  return services;
}

}  // namespace

ExitCode FailCall(const Status& status, const CommonOptions& common, Terminal& terminal) {
  PrintError(
      terminal, OneLine(Message(status), 2000), AdviceFor(status, common.connection.endpoint));
  return ExitCodeFor(status);
}

StatusOr<std::string> ChooseModel(GenerationClient& client,
                                  const std::string& asked,
                                  const CommonOptions& common) {
  if (!asked.empty()) {
    return asked;
  }
  ASSIGN_OR_RETURN(const auto models, client.ListModels(LookupTimeout(common)));
  if (models.empty()) {
    return ErrorF(StatusCode::kNotFound, "the daemon serves no model");
  }
  std::set<std::string> names;  // a name alone stands for one of its versions
  for (const ServedModel& model : models) {
    names.insert(model.name);
  }
  if (names.size() > 1) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "say which model with --model: %s",
                  absl::StrJoin(names, ", "));
  }
  return *names.begin();
}

ExitCode RunModelList(const CommonOptions& common, Terminal& terminal) {
  const auto models = AskDaemon(
      common, [&](GenerationClient& client) { return client.ListModels(LookupTimeout(common)); });
  if (!models.ok()) {
    return FailCall(models.status(), common, terminal);
  }
  if (common.output == OutputFormat::kJson) {
    terminal.out << ToJson(*models) << '\n';
    return ExitCode::kOk;
  }
  Table table({{"NAME"},
               {"VERSION"},
               {"STATE"},
               {"FAMILY"},
               {"FORMAT"},
               {"CONTEXT", Table::Align::kRight},
               {"SIZE", Table::Align::kRight},
               {"DIGEST"}});
  for (const ServedModel& model : *models) {
    table.AddRow({model.name,
                  model.version,
                  model.state,
                  model.architecture,
                  model.quantization,
                  std::to_string(model.context_tokens_max),
                  FormatBytes(static_cast<uint64_t>(std::max<int64_t>(model.file_bytes, 0))),
                  ShortDigest(model.digest)});
  }
  table.Print(terminal.out, common.headers);
  return ExitCode::kOk;
}

ExitCode RunModelGet(const CommonOptions& common,
                     const ModelGetCommand& command,
                     Terminal& terminal) {
  const auto found = AskDaemon(common, [&](GenerationClient& client) {
    return client.GetModel(command.model, LookupTimeout(common));
  });
  if (!found.ok()) {
    return FailCall(found.status(), common, terminal);
  }
  if (common.output == OutputFormat::kJson) {
    terminal.out << ToJson(*found) << '\n';
    return ExitCode::kOk;
  }
  const ServedModel& model = *found;
  Table table({{"FIELD"}, {"VALUE"}});
  const auto bytes = [](int64_t count) {
    return FormatBytes(static_cast<uint64_t>(std::max<int64_t>(count, 0)));
  };
  table.AddRow({"name", model.name});
  table.AddRow({"version", model.version});
  table.AddRow({"digest", model.digest});
  table.AddRow({"state", model.state});
  table.AddRow({"display name", OneLine(model.display_name, 100)});
  table.AddRow({"family", model.architecture});
  table.AddRow({"format", model.quantization});
  table.AddRow({"device", model.device});
  table.AddRow({"context", absl::StrFormat("%d tokens", model.context_tokens_max)});
  table.AddRow({"vocabulary", absl::StrFormat("%d tokens", model.vocab_size)});
  table.AddRow({"KV memory", absl::StrFormat("%d tokens", model.kv_tokens_max)});
  table.AddRow({"file", bytes(model.file_bytes)});
  table.AddRow({"weights", bytes(model.weight_bytes)});
  table.AddRow({"adds bos", model.adds_bos ? "yes" : "no"});
  table.AddRow({"chat template", model.template_digest.empty() ? "none" : model.template_digest});
  table.AddRow({"numerics", model.numerics_id});
  table.Print(terminal.out, common.headers);
  return ExitCode::kOk;
}

ExitCode RunStatus(const CommonOptions& common, Terminal& terminal) {
  const auto services = AskDaemon(
      common, [&](GenerationClient& client) { return AskHealth(client, LookupTimeout(common)); });
  if (!services.ok()) {
    return FailCall(services.status(), common, terminal);
  }
  if (common.output == OutputFormat::kJson) {
    auto list = nlohmann::ordered_json::array();
    for (const ServiceHealth& service : *services) {
      list.push_back({{"service", service.service}, {"state", service.state}});
    }
    terminal.out << nlohmann::ordered_json({{"services", std::move(list)}}).dump(2) << '\n';
  } else {
    Table table({{"SERVICE"}, {"STATE"}});
    for (const ServiceHealth& service : *services) {
      table.AddRow({service.service, service.state});
    }
    table.Print(terminal.out, common.headers);
  }
  const bool serving = std::all_of(services->begin(), services->end(), [](const auto& service) {
    return service.state == "serving";
  });
  return serving ? ExitCode::kOk : ExitCode::kUnavailable;
}

}  // namespace inferd
