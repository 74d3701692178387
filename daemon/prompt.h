// Prompts: from what a request holds to token ids. Run on ingress workers; bounded by the size of
// the request and by the template's own limits.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "engine/engine.h"

namespace inferd::v1 {
class ChatPrompt;
}  // namespace inferd::v1

namespace inferd {

// The text's tokens, with bos in front if `add_bos`. INVALID_FIELD naming `text`.
StatusOr<std::vector<TokenId>> EncodeText(const ResidentModel& model,
                                          std::string_view text,
                                          SpecialTokens special,
                                          bool add_bos);

// The conversation's tokens: only what the template writes, control tokens in its own text alone.
// INVALID_FIELD naming the part of `chat` at fault.
struct ChatEncoding {
  std::vector<TokenId> tokens;
  std::string text;  // what the template wrote
};
StatusOr<ChatEncoding> EncodeChat(const ResidentModel& model, const v1::ChatPrompt& chat);

// The conversation as the template writes it.
StatusOr<std::string> RenderChat(const ResidentModel& model, const v1::ChatPrompt& chat);

}  // namespace inferd
