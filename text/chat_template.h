// ChatTemplate: messages to one prompt, by the Jinja template of the model file.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "text/tokenizer.h"

namespace inferd {

struct ChatMessage {
  std::string role;
  std::string content;
};

struct ChatTemplateInput {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true;
  std::string bos;  // text of the bos token, "" if none
  std::string eos;
  std::string tools_json;            // a JSON array, or "" for none
  std::string extra_variables_json;  // a JSON object of further variables, or ""
};

// A rendered prompt in pieces: template text may hold control tokens, user text may not. Letters
// and spaces of a user's string may lie in a template piece where they can do no harm.
struct PromptPiece {
  std::string text;
  bool from_user = false;
};

// Immutable; thread-safe. Rendering is bounded in steps (fuel), output size and recursion.
class ChatTemplate {
 public:
  // kInvalidArgument with the template's own line for a syntax error.
  static StatusOr<std::unique_ptr<ChatTemplate>> Create(std::string_view source);
  virtual ~ChatTemplate() = default;

  // The prompt as one string, as Jinja2 would give it.
  virtual StatusOr<std::string> Render(const ChatTemplateInput& input) const = 0;

  // The prompt in pieces by origin; joined they are what Render gives. User strings enter the
  // template as characters of a private plane, which are put back afterwards (user_text_marks.h).
  // kInvalidArgument if the input holds such characters (from U+100000 on), or a role that is none
  // of those that chat formats know ("system", "user", ...; the error lists them): roles are
  // template text.
  virtual StatusOr<std::vector<PromptPiece>> RenderPieces(const ChatTemplateInput& input) const = 0;
};

// Token ids of a rendered prompt: control tokens are parsed in template text alone. The result
// equals encoding the whole prompt at once wherever user text holds no control token's text.
StatusOr<std::vector<TokenId>> EncodePrompt(const Tokenizer& tokenizer,
                                            const std::vector<PromptPiece>& pieces);

}  // namespace inferd
