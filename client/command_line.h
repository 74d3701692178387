// inferctl's command line as values: what was asked, before anything is done.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "client/audit_command_line.h"
#include "client/exit_code.h"
#include "client/generation_client.h"
#include "client/identity_commands.h"
#include "client/model_trust_commands.h"
#include "client/policy_command_line.h"
#include "client/queue_commands.h"
#include "client/quota_command_line.h"
#include "client/registry_commands.h"
#include "client/replay_commands.h"
#include "client/terminal.h"

namespace inferd {

// The daemon's data plane as the example configuration has it.
inline constexpr char kDefaultEndpoint[] = "127.0.0.1:8750";
inline constexpr Duration kLookupTimeout = std::chrono::seconds(10);

enum class OutputFormat : uint8_t { kTable, kJson };

// Options of every command.
struct CommonOptions {
  Connection connection = {.endpoint = kDefaultEndpoint};
  std::optional<Duration> timeout;  // of one call; unset: kLookupTimeout, none to generate
  OutputFormat output = OutputFormat::kTable;
  bool headers = true;
  bool color = true;
};

// What the commands that generate share.
struct GenerationFlags {
  std::string model;  // "": the only one that is served
  GenerationOptions options;
  std::string request_id;
  std::string end_user;
  std::string session;
  std::string expected_digest;
  bool stream = true;
  bool stats = false;
};

struct GenerateCommand {
  std::optional<std::string> prompt;  // unset: standard input
  bool prompt_is_ids = false;
  GenerationFlags flags;
};

struct ChatCommand {
  std::optional<std::string> message;  // unset: standard input, a conversation on a terminal
  std::string system;
  GenerationFlags flags;
};

struct InspectCommand {
  std::string file;
};
struct ModelListCommand {};
struct ModelGetCommand {
  std::string model;
};

struct TokenizeCommand {
  std::string model_file;  // "": ask the daemon
  std::string model;
  bool bos = false;
  bool parse_special = false;
};

struct TemplateCommand {
  std::string model_file;  // one of these two
  std::string template_file;
  std::optional<std::string> bos, eos;
  bool add_generation_prompt = false;
};

struct StatusCommand {};

struct BenchCommand {
  std::string model;
  double rate_per_s = 0;  // 0: closed loop
  int32_t concurrency = 1;
  int32_t requests = 100;
  std::optional<Duration> duration;
  int32_t prompt_tokens = 128;
  int32_t output_tokens = 64;
  uint64_t seed = 0;
};

// Makes the secrets that inferd needs.
struct KeysInitCommand {
  std::string directory = "/var/lib/inferd/keys";
  std::string organisation = "localhost";
  std::string node = "node";
};

// Makes certificates for a first try.
struct CertDevCommand {
  std::string directory = "certificates";
  std::vector<std::string> hosts;
  std::vector<std::string> callers;
};

// Makes one key pair, of a person who exports evidence or of a witness.
struct KeysSignerCommand {
  std::string name;
  std::string out;
  bool witness = false;
};

struct VersionCommand {};
struct CompletionCommand {
  std::string shell;
};

using Command = std::variant<GenerateCommand,
                             ChatCommand,
                             InspectCommand,
                             ModelListCommand,
                             ModelGetCommand,
                             TokenizeCommand,
                             TemplateCommand,
                             StatusCommand,
                             BenchCommand,
                             KeysInitCommand,
                             CertDevCommand,
                             KeysSignerCommand,
                             AuditCommand,
                             QueueCommand,
                             IdentityCommand,
                             PolicyCommand,
                             QuotaCommand,
                             ReplayCommand,
                             ModelTrustCommand,
                             RegistryCommand,
                             VersionCommand,
                             CompletionCommand>;

struct Invocation {
  CommonOptions common;
  Command command;
};

// Parses the arguments after the program's name. If there is nothing left to do (help was asked
// for, or the arguments are wrong), it has printed why and gives the exit code.
std::variant<Invocation, ExitCode> ParseCommandLine(std::vector<std::string> arguments,
                                                    Terminal& terminal);

// "30s", "500ms", "2m", "1h" or seconds as a plain number; positive, at most a year.
StatusOr<Duration> ParseDuration(std::string_view text);

// Every subcommand path ("model list") with its long options, for shell completion.
std::map<std::string, std::vector<std::string>> CommandWords();

}  // namespace inferd
