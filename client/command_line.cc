#include "client/command_line.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <memory>
#include <ostream>
#include <sstream>

namespace inferd {
namespace {

constexpr double kYearSeconds = 365.0 * 24 * 3600;

// What CLI11 fills; turned into an Invocation once everything is parsed.
struct Parsed {
  CommonOptions common;
  GenerateCommand generate;
  ChatCommand chat;
  InspectCommand inspect;
  ModelGetCommand model_get;
  TokenizeCommand tokenize;
  TemplateCommand chat_template;
  BenchCommand bench;
  CompletionCommand completion;
  KeysInitCommand keys_init;
  CertDevCommand cert_dev;
  KeysSignerCommand keys_signer;
  AuditCommand audit;
  QueueCommand queue;
  IdentityCommand identity;
  ModelTrustCommand model_trust;
  RegistryCommand registry;
  PolicyCommand policy;
  QuotaCommand quota;
  ReplayCommand replay;
  bool no_headers = false;
  bool no_color = false;
  std::string output = "table";
  // By the name of the command, as the two that generate have flags of the same names.
  std::map<std::string, bool> no_stream;
  std::map<std::string, std::vector<std::string>> logit_bias;
};

// Each command's help begins with its examples.
std::string Describe(const std::string& what, std::initializer_list<const char*> examples) {
  std::string text = what + "\n\nExamples:";
  for (const char* example : examples) {
    text += std::string("\n  ") + example;
  }
  return text + "\n";
}

// Lists commands by the first line of what they say.
class BriefFormatter final : public CLI::Formatter {
 public:
  std::string make_subcommand(const CLI::App* command) const override {
    const std::string description = command->get_description();
    std::stringstream line;
    CLI::detail::format_help(line,
                             command->get_name(),
                             description.substr(0, description.find('\n')),
                             get_column_width());
    return line.str();
  }
};

CLI::Validator DurationValidator() {
  return CLI::Validator(
      [](std::string& text) {
        const StatusOr<Duration> duration = ParseDuration(text);
        return duration.ok() ? std::string() : std::string(Message(duration.status()));
      },
      "DURATION");
}

void AddDuration(CLI::App& app,
                 const std::string& name,
                 std::optional<Duration>& target,
                 const std::string& description) {
  app.add_option_function<std::string>(
         name,
         [&target](const std::string& text) {
           const StatusOr<Duration> duration = ParseDuration(text);
           if (duration.ok()) {
             target = *duration;
           }
         },
         description)
      ->check(DurationValidator());
}

void AddCommon(CLI::App& app, Parsed& parsed) {
  Connection& connection = parsed.common.connection;
  app.add_option("--endpoint", connection.endpoint, "where inferd listens: HOST:PORT or unix:PATH")
      ->envname("INFERCTL_ENDPOINT")
      ->capture_default_str();
  app.add_option("--tls-ca", connection.tls_ca, "the daemon's authority, PEM; turns TLS on")
      ->envname("INFERCTL_TLS_CA");
  app.add_option("--tls-certificate", connection.tls_certificate, "your certificate, PEM")
      ->envname("INFERCTL_TLS_CERTIFICATE");
  app.add_option("--tls-key", connection.tls_key, "its key, PEM, of mode 0600")
      ->envname("INFERCTL_TLS_KEY");
  app.add_option("--api-key-file", connection.api_key_file, "a file with your API key, mode 0600")
      ->envname("INFERCTL_API_KEY_FILE");
  AddDuration(app,
              "--timeout",
              parsed.common.timeout,
              "longest time of one call, as 30s or 500ms (10s for look-ups, none to generate)");
  app.add_option("-o,--output", parsed.output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  app.add_flag("--no-headers", parsed.no_headers, "tables without their first line");
  app.add_flag("--no-color", parsed.no_color, "no colour on messages; NO_COLOR does the same");
}

void AddGenerationFlags(CLI::App& app,
                        GenerationFlags& flags,
                        bool& no_stream,
                        std::vector<std::string>& logit_bias) {
  GenerationOptions& options = flags.options;
  app.add_option("-m,--model", flags.model, "name, name:version or name@sha256:DIGEST");
  app.add_option("--temperature", options.temperature, "0: always the most probable token");
  app.add_option("--top-k", options.top_k, "draw from the K most probable tokens");
  app.add_option(
      "--top-p", options.top_p, "draw from the most probable tokens that reach this mass");
  app.add_option("--min-p", options.min_p, "drop tokens less probable than this part of the best");
  app.add_option("--repetition-penalty", options.repetition_penalty, "over 1: repeat less");
  app.add_option("--presence-penalty", options.presence_penalty, "taken once from repeated tokens");
  app.add_option("--frequency-penalty", options.frequency_penalty, "taken for each occurrence");
  app.add_option("--logit-bias", logit_bias, "ID=BIAS, added to a token's logit; may be repeated");
  app.add_option("--seed", options.seed, "same seed, same answer");
  app.add_option("-n,--choices", options.n, "how many answers");
  app.add_option("--logprobs", options.logprobs, "with -o json: log-probabilities of the N best");
  app.add_option("--max-tokens", options.max_tokens, "most tokens of each answer");
  app.add_option("--min-tokens", options.min_tokens, "no end before this many tokens");
  app.add_option("--stop", options.stop, "end at this text; may be repeated");
  app.add_option("--stop-token-id", options.stop_token_ids, "end at this token; may be repeated");
  app.add_flag("--ignore-eos", options.ignore_eos, "go on after the model's end token");
  app.add_flag("--include-stop", options.include_stop, "the stop text is part of the answer");
  app.add_option(
      "--session", flags.session, "a conversation, which goes on with the version it began with");
  app.add_option(
      "--end-user", flags.end_user, "whose data the prompt is; the log keeps a keyed hash");
  app.add_option("--request-id", flags.request_id, "your name for the request, echoed");
  app.add_option("--expected-digest", flags.expected_digest, "refuse any other model digest");
  app.add_flag("--no-stream", no_stream, "one unary call: the answer comes as a whole");
  app.add_flag("--stats", flags.stats, "tokens/s and time to first token, on stderr");
}

void AddGenerating(CLI::App& app, Parsed& parsed) {
  CLI::App* generate =
      app.add_subcommand("generate",
                         Describe("Continues a text.",
                                  {"inferctl generate 'The sea is' --max-tokens 40",
                                   "inferctl generate --temperature 0 --stats < prompt.txt",
                                   "inferctl generate 'Once' -n 2 --seed 7 -o json"}));
  generate->add_option("prompt", parsed.generate.prompt, "the text; standard input if left out");
  generate->add_flag("--ids", parsed.generate.prompt_is_ids, "the prompt is token ids");
  AddGenerationFlags(*generate,
                     parsed.generate.flags,
                     parsed.no_stream["generate"],
                     parsed.logit_bias["generate"]);
  CLI::App* chat = app.add_subcommand(
      "chat",
      Describe("Answers a message through the model's chat template.",
               {"inferctl chat 'Write one sentence about the sea.'",
                "inferctl chat --system 'Answer in French.' < question.txt",
                "inferctl chat            # a conversation; an empty line or ^D ends it"}));
  chat->add_option("message", parsed.chat.message, "standard input if left out");
  chat->add_option("--system", parsed.chat.system, "a system message before the first");
  AddGenerationFlags(*chat, parsed.chat.flags, parsed.no_stream["chat"], parsed.logit_bias["chat"]);
}

void AddModel(CLI::App& app, Parsed& parsed) {
  CLI::App* model =
      app.add_subcommand("model",
                         Describe("Looks at models, loads and unloads them.",
                                  {"inferctl model list", "inferctl model inspect model.gguf"}));
  model->require_subcommand(0, 1);  // none: CommandOf says so
  CLI::App* inspect = model->add_subcommand(
      "inspect",
      Describe("Reads a model file, without a daemon: what it is and whether it can be served.",
               {"inferctl model inspect model.gguf", "inferctl model inspect model.gguf -o json"}));
  inspect->add_option("file", parsed.inspect.file, "a GGUF file")->required();
  model->add_subcommand("list",
                        Describe("Lists the models that the daemon serves.",
                                 {"inferctl model list", "inferctl model list -o json"}));
  CLI::App* get = model->add_subcommand(
      "get", Describe("Shows one served model.", {"inferctl model get smollm2 -o json"}));
  get->add_option("model", parsed.model_get.model, "name, name:version or digest")->required();
  AddModelAdminCommands(*model, parsed.queue);
  AddModelTrustCommands(*model, parsed.model_trust);
  AddRegistryCommands(*model, parsed.registry);
}

void AddText(CLI::App& app, Parsed& parsed) {
  CLI::App* tokenize = app.add_subcommand(
      "tokenize",
      Describe("Turns standard input into token ids.",
               {"inferctl tokenize --model-file model.gguf < text.txt   # without a daemon",
                "inferctl tokenize --model smollm2 < text.txt"}));
  auto* file = tokenize->add_option(
      "--model-file", parsed.tokenize.model_file, "a GGUF file, vocabulary-only ones too");
  tokenize->add_option("-m,--model", parsed.tokenize.model, "a served model")->excludes(file);
  tokenize->add_flag("--bos", parsed.tokenize.bos, "put the beginning-of-text token first");
  tokenize->add_flag("--parse-special",
                     parsed.tokenize.parse_special,
                     "names of control tokens in the text become those tokens");
  CLI::App* render = app.add_subcommand(
      "template",
      Describe("Renders chat messages, JSON on standard input, to a prompt; without a daemon.",
               {"echo '[{\"role\":\"user\",\"content\":\"Hi\"}]' |",
                "  inferctl template --model-file model.gguf --add-generation-prompt"}));
  auto* source = render->add_option_group("source");
  source->add_option(
      "--model-file", parsed.chat_template.model_file, "a GGUF file with a template");
  source->add_option("--template-file", parsed.chat_template.template_file, "Jinja source");
  source->require_option(1);
  render->add_option("--bos", parsed.chat_template.bos, "text of the bos token");
  render->add_option("--eos", parsed.chat_template.eos, "text of the eos token");
  render->add_flag("--add-generation-prompt",
                   parsed.chat_template.add_generation_prompt,
                   "end with the start of an answer");
}

void AddBench(CLI::App& app, BenchCommand& bench) {
  CLI::App* command = app.add_subcommand(
      "bench",
      Describe("Loads a daemon and measures its answers.",
               {"inferctl bench --concurrency 8 --requests 200           # closed loop",
                "inferctl bench --rate 4 --duration 60s -o json          # open loop, Poisson"}));
  command->add_option("-m,--model", bench.model, "a served model; the only one if left out");
  auto* rate = command->add_option("--rate", bench.rate_per_s, "requests a second, open loop")
                   ->check(CLI::Range(1e-3, 1e5));
  command
      ->add_option("--concurrency",
                   bench.concurrency,
                   "requests in flight in a closed loop; with --rate the most in flight")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--requests", bench.requests, "how many at most")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  AddDuration(*command, "--duration", bench.duration, "start no request after this time");
  command->add_option("--prompt-tokens", bench.prompt_tokens, "length of each prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--output-tokens", bench.output_tokens, "length of each answer, exactly")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--seed", bench.seed, "of prompts and arrivals")->capture_default_str();
  command->callback([rate, &bench, command] {
    if (rate->count() > 0 && command->get_option("--concurrency")->count() == 0) {
      bench.concurrency = 256;
    }
  });
}

void AddKeys(CLI::App& app, KeysInitCommand& init, KeysSignerCommand& signer) {
  CLI::App* keys = app.add_subcommand(
      "keys", Describe("Makes the secrets that inferd needs.", {"inferctl keys init"}));
  keys->require_subcommand(0, 1);
  CLI::App* command = keys->add_subcommand(
      "init",
      Describe(
          "Makes note.key, root.kek, pepper.api and pepper.subject, each of mode 0600; none is "
          "overwritten. Prints the audit log's public key.",
          {"inferctl keys init --directory /var/lib/inferd/keys --organisation example.org "
           "--node db7"}));
  command->add_option("--directory", init.directory, "where; made if it is not there")
      ->capture_default_str();
  command->add_option("--organisation", init.organisation, "whose log it is: a domain name")
      ->capture_default_str();
  command->add_option("--node", init.node, "which node's log it is")->capture_default_str();
  CLI::App* sign = keys->add_subcommand(
      "signer",
      Describe("Makes the key of a person who exports evidence, or of a witness; prints its public "
               "key.",
               {"inferctl keys signer --name alice.example.org --out alice.key",
                "inferctl keys signer --witness --name w1.example.org --out witness.key"}));
  sign->add_option("--name", signer.name, "whose it is, without spaces and '+'")->required();
  sign->add_option("--out", signer.out, "the secret's file; must not be there")->required();
  sign->add_flag("--witness", signer.witness, "for inferd-witness: cosigns checkpoints");
}

void AddCertificates(CLI::App& app, CertDevCommand& dev) {
  CLI::App* cert =
      app.add_subcommand("cert", Describe("Makes TLS certificates.", {"inferctl cert dev"}));
  cert->require_subcommand(0, 1);
  CLI::App* command = cert->add_subcommand(
      "dev",
      Describe(
          "Makes an authority, the daemon's certificate and one for each caller, valid for 90 "
          "days, for a first try. Where ca.pem and ca.key are there, they sign.",
          {"inferctl cert dev --directory /etc/inferd/tls --host db7.example.org",
           "inferctl cert dev --directory /etc/inferd/tls --caller spiffe://example.org/search"}));
  command->add_option("--directory", dev.directory, "where; made if it is not there")
      ->capture_default_str();
  command->add_option("--host", dev.hosts, "a name or address of the daemon; may be repeated");
  command->add_option(
      "--caller", dev.callers, "a caller's SPIFFE id; may be repeated (spiffe://localhost/caller)");
}

std::unique_ptr<CLI::App> BuildApp(Parsed& parsed) {
  auto app =
      std::make_unique<CLI::App>(Describe("Talks to inferd, and looks at model files without it.",
                                          {"inferctl chat 'Write one sentence about the sea.'",
                                           "inferctl model inspect model.gguf",
                                           "inferctl COMMAND --help"}),
                                 "inferctl");
  app->formatter(std::make_shared<BriefFormatter>());  // inherited by the commands
  app->require_subcommand(0, 1);                       // none: CommandOf says so
  app->fallthrough();  // the common options may stand after the command
  AddCommon(*app, parsed);
  AddGenerating(*app, parsed);
  AddModel(*app, parsed);
  AddText(*app, parsed);
  app->add_subcommand("status",
                      Describe("Shows whether the daemon and its models are ready.",
                               {"inferctl status", "inferctl status -o json"}));
  AddBench(*app, parsed.bench);
  AddCertificates(*app, parsed.cert_dev);
  AddKeys(*app, parsed.keys_init, parsed.keys_signer);
  AddAuditCommands(*app, parsed.audit);
  AddQueueCommands(*app, parsed.queue);
  AddIdentityCommands(*app, parsed.identity);
  AddPolicyCommands(*app, parsed.policy);
  AddQuotaCommands(*app, parsed.quota);
  AddReplayCommand(*app, parsed.replay);
  app->add_subcommand("version", Describe("Prints the version.", {"inferctl version"}));
  CLI::App* completion = app->add_subcommand(
      "completion",
      Describe("Prints a shell's completion script.",
               {"source <(inferctl completion bash)",
                "inferctl completion fish > ~/.config/fish/completions/inferctl.fish"}));
  completion->add_option("shell", parsed.completion.shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  app->footer(
      "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 denied, 5 unavailable or out "
      "of time,\n6 verification failed, 78 configuration.");
  return app;
}

// Token ids and biases of "ID=BIAS" options.
Status ParseLogitBias(const std::vector<std::string>& texts,
                      std::vector<std::pair<TokenId, float>>& biases) {
  for (const std::string& text : texts) {
    TokenId id = 0;
    float bias = 0;
    const size_t equals = text.find('=');
    const char* const end = text.data() + text.size();
    const char* const middle = text.data() + std::min(equals, text.size());
    const auto id_end = std::from_chars(text.data(), middle, id);
    bool good = equals != std::string::npos && id_end.ec == std::errc() && id_end.ptr == middle;
    if (good) {
      const auto bias_end = std::from_chars(middle + 1, end, bias);
      good = bias_end.ec == std::errc() && bias_end.ptr == end;
    }
    if (!good) {
      return ErrorF(StatusCode::kInvalidArgument, "--logit-bias: \"%s\" is not ID=BIAS", text);
    }
    biases.emplace_back(id, bias);
  }
  return OkStatus();
}

// The one subcommand that was given, or which there are.
StatusOr<const CLI::App*> ChosenOf(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  if (!chosen.empty()) {
    return chosen.front();
  }
  std::string names;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    names += (names.empty() ? "" : ", ") + command->get_name();
  }
  return ErrorF(StatusCode::kInvalidArgument, "a command is missing: %s", names);
}

StatusOr<Command> CommandOf(const CLI::App& app, Parsed& parsed) {
  ASSIGN_OR_RETURN(const CLI::App* const chosen, ChosenOf(app));
  const std::string& name = chosen->get_name();
  if (name == "generate") {
    RETURN_IF_ERROR(
        ParseLogitBias(parsed.logit_bias[name], parsed.generate.flags.options.logit_bias));
    parsed.generate.flags.stream = !parsed.no_stream[name];
    return parsed.generate;
  }
  if (name == "chat") {
    RETURN_IF_ERROR(ParseLogitBias(parsed.logit_bias[name], parsed.chat.flags.options.logit_bias));
    parsed.chat.flags.stream = !parsed.no_stream[name];
    return parsed.chat;
  }
  if (name == "model") {
    ASSIGN_OR_RETURN(const CLI::App* const inner, ChosenOf(*chosen));
    const std::string& verb = inner->get_name();
    if (verb == "inspect") {
      return parsed.inspect;
    }
    if (verb == "load" || verb == "unload") {
      return parsed.queue;
    }
    if (verb == "digest" || verb == "verify" || verb == "sign") {
      return parsed.model_trust;
    }
    if (verb == "list") {
      return ModelListCommand{};
    }
    return verb == "get" ? Command(parsed.model_get) : Command(parsed.registry);
  }
  if (name == "tokenize") {
    return parsed.tokenize;
  }
  if (name == "template") {
    return parsed.chat_template;
  }
  if (name == "status") {
    return StatusCommand{};
  }
  if (name == "bench") {
    return parsed.bench;
  }
  if (name == "audit" || name == "erase" || name == "hold" || name == "payload") {
    RETURN_IF_ERROR(NameAuditCommand(*chosen, parsed.audit));
    return parsed.audit;
  }
  if (name == "top" || name == "request") {
    if (name == "request") {
      RETURN_IF_ERROR(ChosenOf(*chosen));
    }
    return parsed.queue;
  }
  if (name == "usage" || name == "quota") {
    RETURN_IF_ERROR(NameQuotaCommand(*chosen, parsed.quota));
    return parsed.quota;
  }
  if (name == "replay") {
    RETURN_IF_ERROR(CheckReplayCommand(parsed.replay));
    return parsed.replay;
  }
  if (name == "tenant" || name == "key") {
    RETURN_IF_ERROR(ChosenOf(*chosen));
    return parsed.identity;
  }
  if (name == "policy") {
    RETURN_IF_ERROR(NamePolicyCommand(*chosen, parsed.policy));
    return parsed.policy;
  }
  if (name == "keys") {
    ASSIGN_OR_RETURN(const CLI::App* inner, ChosenOf(*chosen));
    return inner->get_name() == "init" ? Command(parsed.keys_init) : Command(parsed.keys_signer);
  }
  if (name == "cert") {
    RETURN_IF_ERROR(ChosenOf(*chosen));
    return parsed.cert_dev;
  }
  return name == "version" ? Command(VersionCommand{}) : Command(parsed.completion);
}

}  // namespace

std::variant<Invocation, ExitCode> ParseCommandLine(std::vector<std::string> arguments,
                                                    Terminal& terminal) {
  Parsed parsed;
  const auto app = BuildApp(parsed);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    app->parse(arguments);
  } catch (const CLI::CallForHelp& help) {
    app->exit(help, terminal.out, terminal.err);
    return ExitCode::kOk;
  } catch (const CLI::ParseError& error) {
    PrintError(
        terminal, error.what(), "`inferctl --help` and `inferctl COMMAND --help` tell more.");
    return ExitCode::kUsage;
  }
  parsed.common.output = parsed.output == "json" ? OutputFormat::kJson : OutputFormat::kTable;
  parsed.common.headers = !parsed.no_headers;
  parsed.common.color = !parsed.no_color;
  StatusOr<Command> command = CommandOf(*app, parsed);
  if (!command.ok()) {
    PrintError(terminal, Message(command.status()));
    return ExitCode::kUsage;
  }
  return Invocation{parsed.common, *std::move(command)};
}

StatusOr<Duration> ParseDuration(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  const double seconds = unit.empty() || unit == "s" ? number
                         : unit == "ms"              ? number / 1e3
                         : unit == "m"               ? number * 60
                         : unit == "h"               ? number * 3600
                                                     : -1;
  if (error != std::errc() || !(seconds > 0) || seconds > kYearSeconds) {
    return ErrorF(
        StatusCode::kInvalidArgument, "\"%s\" is not a duration; write 30s, 500ms, 2m or 1h", text);
  }
  return Duration(static_cast<int64_t>(std::ceil(seconds * 1e9)));
}

std::map<std::string, std::vector<std::string>> CommandWords() {
  Parsed parsed;
  const auto app = BuildApp(parsed);
  std::map<std::string, std::vector<std::string>> words;
  const auto visit =
      [&words](const auto& self, const CLI::App* command, const std::string& path) -> void {
    std::vector<std::string>& options = words[path];
    for (const CLI::App* child : command->get_subcommands(nullptr)) {
      if (child->get_name().empty()) {  // a group of options
        for (const CLI::Option* option : child->get_options()) {
          options.push_back(option->get_name(false, false));
        }
        continue;
      }
      options.push_back(child->get_name());
      self(self, child, path.empty() ? child->get_name() : path + " " + child->get_name());
    }
    for (const CLI::Option* option : command->get_options()) {
      if (!option->get_lnames().empty()) {
        options.push_back("--" + option->get_lnames().front());
      }
    }
  };
  visit(visit, app.get(), "");
  return words;
}

}  // namespace inferd
