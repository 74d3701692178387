#include "daemon/prompt.h"

#include "daemon/error_map.h"
#include "inferd/v1/generation.pb.h"

namespace inferd {
namespace {

// A text room's refusal as a violation of `field`; its message names no text of the caller's.
Status AsFieldError(const Status& error, std::string_view field) {
  return error.code() == StatusCode::kInvalidArgument ||
                 error.code() == StatusCode::kResourceExhausted
             ? MakeFieldError(field, Message(error))
             : FromRoom(error);
}

StatusOr<ChatTemplateInput> ToInput(const ResidentModel& model, const v1::ChatPrompt& chat) {
  if (model.chat_template == nullptr) {
    return MakeFieldError("chat",
                          absl::StrFormat("model %s has no chat template; send text", model.name));
  }
  if (chat.messages().empty()) {
    return MakeFieldError("chat.messages", "at least one message is needed");
  }
  ChatTemplateInput input;
  for (const v1::ChatMessage& message : chat.messages()) {
    if (message.role().empty()) {
      return MakeFieldError("chat.messages.role", "must not be empty");
    }
    input.messages.push_back({.role = message.role(), .content = message.content()});
  }
  input.add_generation_prompt =
      chat.has_add_generation_prompt() ? chat.add_generation_prompt() : true;
  input.bos = model.bos_text;
  input.eos = model.eos_text;
  input.extra_variables_json = chat.template_variables_json();
  return input;
}

}  // namespace

StatusOr<std::vector<TokenId>> EncodeText(const ResidentModel& model,
                                          std::string_view text,
                                          SpecialTokens special,
                                          bool add_bos) {
  auto tokens = model.tokenizer->Encode(text, special);
  if (!tokens.ok()) {
    return AsFieldError(tokens.status(), "text");
  }
  if (add_bos) {
    if (!model.bos.has_value()) {
      return MakeFieldError("add_bos", absl::StrFormat("model %s has no bos token", model.name));
    }
    tokens->insert(tokens->begin(), *model.bos);
  }
  return tokens;
}

StatusOr<ChatEncoding> EncodeChat(const ResidentModel& model, const v1::ChatPrompt& chat) {
  ASSIGN_OR_RETURN(const ChatTemplateInput input, ToInput(model, chat));
  const auto pieces = model.chat_template->RenderPieces(input);
  if (!pieces.ok()) {
    return AsFieldError(pieces.status(), "chat");
  }
  auto tokens = EncodePrompt(*model.tokenizer, *pieces);
  if (!tokens.ok()) {
    return AsFieldError(tokens.status(), "chat");
  }
  ChatEncoding encoding{.tokens = *std::move(tokens), .text = {}};
  for (const auto& piece : *pieces) {
    encoding.text += piece.text;
  }
  return encoding;
}

StatusOr<std::string> RenderChat(const ResidentModel& model, const v1::ChatPrompt& chat) {
  ASSIGN_OR_RETURN(const ChatTemplateInput input, ToInput(model, chat));
  auto text = model.chat_template->Render(input);
  return text.ok() ? text : AsFieldError(text.status(), "chat");
}

}  // namespace inferd
