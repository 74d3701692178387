#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/file.h"
#include "client/commands.h"
#include "client/table.h"
#include "model/gguf.h"
#include "model/vocabulary.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace inferd {
namespace {

constexpr uint64_t kTemplateBytesMax = 1 << 20;

// The tokenizer part of a model file. Needs no weights.
StatusOr<VocabularySpec> VocabularyOfFile(const std::string& path) {
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  ASSIGN_OR_RETURN(const Gguf gguf, Gguf::Parse(file.bytes()));
  return ReadVocabulary(gguf);
}

std::string TokenText(const VocabularySpec& vocabulary, const std::optional<TokenId>& id) {
  return id ? vocabulary.tokens[static_cast<size_t>(*id)] : "";
}

StatusOr<std::vector<TokenId>> TokenizeByFile(const TokenizeCommand& command,
                                              const std::string& text) {
  ASSIGN_OR_RETURN(const VocabularySpec vocabulary, VocabularyOfFile(command.model_file));
  ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Create(vocabulary));
  ASSIGN_OR_RETURN(
      std::vector<TokenId> ids,
      tokenizer->Encode(text,
                        command.parse_special ? SpecialTokens::kParse : SpecialTokens::kAsText));
  if (command.bos) {
    if (!vocabulary.bos) {
      return ErrorF(StatusCode::kFailedPrecondition,
                    "--bos: the model has no beginning-of-text token");
    }
    ids.insert(ids.begin(), *vocabulary.bos);
  }
  return ids;
}

StatusOr<std::vector<TokenId>> TokenizeByDaemon(const CommonOptions& common,
                                                const TokenizeCommand& command,
                                                const std::string& text) {
  ASSIGN_OR_RETURN(const auto client, GenerationClient::Create(common.connection));
  ASSIGN_OR_RETURN(const std::string model, ChooseModel(*client, command.model, common));
  return client->Tokenize(
      model, text, command.bos, command.parse_special, common.timeout.value_or(kLookupTimeout));
}

// {"role": ..., "content": ...} and nothing else: what would be left out silently is refused.
StatusOr<ChatMessage> MessageFromJson(const nlohmann::ordered_json& json, size_t index) {
  const auto bad = [index](std::string_view what) {
    return ErrorF(StatusCode::kInvalidArgument, "messages[%d] %s", index, what);
  };
  if (!json.is_object()) {
    return bad("is not an object");
  }
  ChatMessage message;
  for (const auto& [key, value] : json.items()) {
    if (key != "role" && key != "content") {
      return bad("has a key other than \"role\" and \"content\"");
    }
    if (!value.is_string()) {
      return bad("has a \"" + key + "\" that is not a string");
    }
    (key == "role" ? message.role : message.content) = value.get<std::string>();
  }
  if (!json.contains("role") || !json.contains("content")) {
    return bad("lacks \"role\" or \"content\"");
  }
  return message;
}

// An array of messages, or an object with "messages", perhaps "tools", and further variables.
StatusOr<ChatTemplateInput> InputFromJson(const std::string& text) {
  auto json = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return ErrorF(StatusCode::kInvalidArgument, "standard input is not JSON");
  }
  ChatTemplateInput input;
  auto messages = json;
  if (json.is_object()) {
    messages = json.value("messages", nlohmann::ordered_json());
    if (json.contains("tools")) {
      input.tools_json = json["tools"].dump();
    }
    json.erase("messages");
    json.erase("tools");
    input.extra_variables_json = json.empty() ? "" : json.dump();
  }
  if (!messages.is_array()) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "standard input is no array of messages, nor an object with \"messages\"");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    ASSIGN_OR_RETURN(ChatMessage message, MessageFromJson(messages[i], i));
    input.messages.push_back(std::move(message));
  }
  return input;
}

struct TemplateSource {
  std::string source, bos, eos;
};

StatusOr<TemplateSource> SourceOf(const TemplateCommand& command) {
  TemplateSource result;
  if (!command.model_file.empty()) {
    ASSIGN_OR_RETURN(const VocabularySpec vocabulary, VocabularyOfFile(command.model_file));
    if (vocabulary.chat_template.empty()) {
      return ErrorF(StatusCode::kFailedPrecondition,
                    "the file has no chat template; give one with --template-file");
    }
    result = {.source = vocabulary.chat_template,
              .bos = TokenText(vocabulary, vocabulary.bos),
              .eos = TokenText(vocabulary, vocabulary.eos)};
  } else {
    ASSIGN_OR_RETURN(result.source, ReadFile(command.template_file, kTemplateBytesMax));
  }
  result.bos = command.bos.value_or(result.bos);
  result.eos = command.eos.value_or(result.eos);
  return result;
}

}  // namespace

ExitCode FailFile(const Status& status, const std::string& path, Terminal& terminal) {
  std::string message = OneLine(Message(status), 2000);
  if (message.find(path) == std::string::npos) {
    message = path + ": " + message;
  }
  PrintError(terminal, message);
  return ExitCodeForFile(status);
}

ExitCode RunTokenize(const CommonOptions& common,
                     const TokenizeCommand& command,
                     Terminal& terminal) {
  const StatusOr<std::string> text = ReadInput(terminal.in);
  if (!text.ok()) {
    return FailCall(text.status(), common, terminal);
  }
  const bool by_file = !command.model_file.empty();
  const StatusOr<std::vector<TokenId>> ids =
      by_file ? TokenizeByFile(command, *text) : TokenizeByDaemon(common, command, *text);
  if (!ids.ok()) {
    return by_file ? FailFile(ids.status(), command.model_file, terminal)
                   : FailCall(ids.status(), common, terminal);
  }
  const bool json = common.output == OutputFormat::kJson;
  std::string line;
  for (const TokenId id : *ids) {
    line += (line.empty() ? "" : json ? ", " : " ") + std::to_string(id);
  }
  terminal.out << (json ? "{\"token_ids\": [" + line + "]}" : line) << '\n';
  return ExitCode::kOk;
}

ExitCode RunTemplate(const TemplateCommand& command, Terminal& terminal) {
  const std::string& path = command.model_file.empty() ? command.template_file : command.model_file;
  const StatusOr<TemplateSource> source = SourceOf(command);
  if (!source.ok()) {
    return FailFile(source.status(), path, terminal);
  }
  const auto chat_template = ChatTemplate::Create(source->source);
  if (!chat_template.ok()) {
    return FailFile(chat_template.status(), path, terminal);
  }
  const StatusOr<std::string> text = ReadInput(terminal.in);
  StatusOr<ChatTemplateInput> input = text.ok() ? InputFromJson(*text) : text.status();
  if (!input.ok()) {
    PrintError(terminal,
               Message(input.status()),
               "Write [{\"role\": \"user\", \"content\": \"...\"}], in UTF-8.");
    return ExitCode::kUsage;
  }
  input->bos = source->bos;
  input->eos = source->eos;
  input->add_generation_prompt = command.add_generation_prompt;
  const StatusOr<std::string> prompt = (*chat_template)->Render(*input);
  if (!prompt.ok()) {
    return FailFile(prompt.status(), path, terminal);
  }
  terminal.out << *prompt;
  return ExitCode::kOk;
}

}  // namespace inferd
