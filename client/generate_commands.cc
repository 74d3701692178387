#include <algorithm>
#include <charconv>
#include <istream>
#include <ostream>

#include "client/commands.h"
#include "client/interrupt.h"

namespace inferd {
namespace {

// What --stats tells, as the client saw it.
struct Stopwatch {
  TimePoint sent = SystemClock().Now();
  TimePoint first{};
  TimePoint ended{};

  void Output() {
    if (first == TimePoint()) {
      first = SystemClock().Now();
    }
  }
};

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

void PrintStats(const GenerationResult& result, const Stopwatch& watch, Terminal& terminal) {
  int64_t output_tokens = 0;
  for (const Choice& choice : result.choices) {
    output_tokens += choice.output_tokens;
  }
  terminal.err << absl::StrFormat(
      "prompt %d tokens, output %d tokens", result.started.prompt_tokens, output_tokens);
  if (watch.first != TimePoint()) {
    terminal.err << absl::StrFormat(", time to first token %.1f ms",
                                    1e3 * Seconds(watch.first - watch.sent));
    const double decode_s = Seconds(watch.ended - watch.first);
    // The first token of each choice belongs to the prefill.
    const int64_t decoded = output_tokens - static_cast<int64_t>(result.choices.size());
    if (decoded > 0 && decode_s > 0) {
      terminal.err << absl::StrFormat(", %.1f tokens/s", static_cast<double>(decoded) / decode_s);
    }
  }
  terminal.err << '\n';
}

GenerationCall MakeCall(const CommonOptions& common, const GenerationFlags& flags, Prompt prompt) {
  const bool json = common.output == OutputFormat::kJson;
  return {.model = flags.model,
          .prompt = std::move(prompt),
          .options = flags.options,
          .request_id = flags.request_id,
          .end_user = flags.end_user,
          .session = flags.session,
          .expected_digest = flags.expected_digest,
          .stream = flags.stream && !json,
          .token_ids = json,
          .max_tokens_per_message = std::nullopt,
          .timeout = common.timeout};
}

void PrintChoices(const GenerationResult& result, Terminal& terminal) {
  for (const Choice& choice : result.choices) {
    if (result.choices.size() > 1) {
      terminal.out << "[" << choice.output.index << "] ";
    }
    terminal.out << Printable(choice.output.text, terminal) << '\n';
  }
  terminal.out.flush();
}

// One answer, printed as it comes if there is only one to print.
StatusOr<GenerationResult> Answer(GenerationClient& client,
                                  const CommonOptions& common,
                                  const GenerationFlags& flags,
                                  Prompt prompt,
                                  Terminal& terminal,
                                  const std::stop_token& stop = {}) {
  const GenerationCall call = MakeCall(common, flags, std::move(prompt));
  const bool live = call.stream && flags.options.n.value_or(1) <= 1;
  Stopwatch watch;
  GenerationObserver observer;
  observer.on_output = [&](const ChoiceOutput& output) {
    watch.Output();
    if (live) {
      terminal.out << Printable(output.text, terminal) << std::flush;
    }
  };
  StatusOr<GenerationResult> result = client.Generate(call, observer, stop);
  watch.ended = SystemClock().Now();
  if (live && watch.first != TimePoint()) {
    terminal.out << std::endl;
  }
  if (!result.ok()) {
    return result;
  }
  if (common.output == OutputFormat::kJson) {
    terminal.out << ToJson(*result) << std::endl;
  } else if (!live) {
    PrintChoices(*result, terminal);
  }
  if (!call.stream) {  // a unary reply comes at once: the daemon's own times tell more
    const Choice& choice = result->choices.front();
    watch.first = watch.sent + choice.queue + choice.prefill;
    watch.ended = watch.first + choice.decode;
  }
  if (flags.stats) {
    PrintStats(*result, watch, terminal);
  }
  return result;
}

StatusOr<std::string> ArgumentOrInput(const std::optional<std::string>& argument,
                                      Terminal& terminal) {
  if (argument) {
    return *argument;
  }
  if (terminal.in_is_tty) {
    terminal.err << "Reading standard input; end it with ^D.\n" << std::flush;
  }
  return ReadInput(terminal.in);
}

StatusOr<std::vector<TokenId>> ParseIds(std::string_view text) {
  std::vector<TokenId> ids;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  while (true) {
    at = std::find_if(at, end, [](char c) { return c != ' ' && c != '\n' && c != '\t'; });
    if (at == end) {
      return ids;
    }
    TokenId id = 0;
    const auto parsed = std::from_chars(at, end, id);
    if (parsed.ec != std::errc() || id < 0) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "--ids: token ids are whole numbers separated by spaces (see number %d)",
                    ids.size() + 1);
    }
    ids.push_back(id);
    at = parsed.ptr;
  }
}

// The client and the flags with their model filled in.
StatusOr<std::unique_ptr<GenerationClient>> Open(const CommonOptions& common,
                                                 GenerationFlags& flags) {
  ASSIGN_OR_RETURN(auto client, GenerationClient::Create(common.connection));
  ASSIGN_OR_RETURN(flags.model, ChooseModel(*client, flags.model, common));
  return client;
}

ExitCode Converse(const CommonOptions& common,
                  const GenerationFlags& flags,
                  std::vector<ChatMessage> messages,
                  GenerationClient& client,
                  Terminal& terminal) {
  terminal.err << "Talking to " << flags.model
               << ". ^C ends an answer; an empty line or ^D ends the conversation.\n";
  std::string line;
  while (terminal.err << "> " << std::flush && std::getline(terminal.in, line) && !line.empty()) {
    messages.push_back({.role = "user", .content = line});
    const Interrupt interrupt;
    const StatusOr<GenerationResult> result =
        Answer(client, common, flags, messages, terminal, interrupt.token());
    if (result.ok()) {
      messages.push_back({.role = "assistant", .content = result->choices.front().output.text});
      continue;
    }
    messages.pop_back();
    if (result.status().code() == StatusCode::kUnavailable) {
      return FailCall(result.status(), common, terminal);
    }
    if (!interrupt.token().stop_requested()) {
      PrintError(terminal, Message(result.status()));
    }
  }
  return ExitCode::kOk;
}

}  // namespace

ExitCode RunGenerate(const CommonOptions& common,
                     const GenerateCommand& command,
                     Terminal& terminal) {
  const StatusOr<std::string> text = ArgumentOrInput(command.prompt, terminal);
  if (!text.ok()) {
    return FailCall(text.status(), common, terminal);
  }
  Prompt prompt = *text;
  if (command.prompt_is_ids) {
    StatusOr<std::vector<TokenId>> ids = ParseIds(*text);
    if (!ids.ok()) {
      return FailCall(ids.status(), common, terminal);
    }
    prompt = *std::move(ids);
  }
  GenerationFlags flags = command.flags;
  const auto client = Open(common, flags);
  if (!client.ok()) {
    return FailCall(client.status(), common, terminal);
  }
  const auto result = Answer(**client, common, flags, std::move(prompt), terminal);
  return result.ok() ? ExitCode::kOk : FailCall(result.status(), common, terminal);
}

ExitCode RunChat(const CommonOptions& common, const ChatCommand& command, Terminal& terminal) {
  std::vector<ChatMessage> messages;
  if (!command.system.empty()) {
    messages.push_back({.role = "system", .content = command.system});
  }
  GenerationFlags flags = command.flags;
  const bool conversation = !command.message && terminal.in_is_tty;
  if (!conversation) {
    const StatusOr<std::string> text = ArgumentOrInput(command.message, terminal);
    if (!text.ok()) {
      return FailCall(text.status(), common, terminal);
    }
    messages.push_back({.role = "user", .content = *text});
  }
  const auto client = Open(common, flags);
  if (!client.ok()) {
    return FailCall(client.status(), common, terminal);
  }
  if (conversation) {
    return Converse(common, flags, std::move(messages), **client, terminal);
  }
  const auto result = Answer(**client, common, flags, std::move(messages), terminal);
  return result.ok() ? ExitCode::kOk : FailCall(result.status(), common, terminal);
}

}  // namespace inferd
