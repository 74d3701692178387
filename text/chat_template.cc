#include "text/chat_template.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/utf8.h"
#include "text/rust_call.h"
#include "text/user_text_marks.h"

namespace inferd {
namespace text_internal {
namespace {

// Bounds of one rendering. A template of a current model takes about a hundred steps a message.
constexpr uint64_t kFuel = 2'000'000;
constexpr uint64_t kTimeoutMillis = 20'000;
constexpr uint64_t kMemoryBytes = 64 << 20;
constexpr uint64_t kMemoryPerInputByte = 40;
constexpr uint64_t kOutputBytes = 1 << 20;
constexpr uint64_t kOutputPerInputByte = 16;
// Literals of the template that a user's text may hold and that are tried one by one.
constexpr size_t kSparedMax = 16;

struct TemplateFree {
  void operator()(RustTemplate* chat_template) const { RustTemplateFree(chat_template); }
};

// What the template is given: everything of the user's is marked.
struct Variables {
  std::string json;
  std::string tools;
  std::string extra;
  size_t size() const { return json.size() + tools.size() + extra.size(); }
};

Variables VariablesOf(const ChatTemplateInput& input, const UserTextMarker* marker) {
  Variables variables;
  std::string& json = variables.json;
  json = "{\"messages\":[";
  for (size_t i = 0; i < input.messages.size(); ++i) {
    const ChatMessage& message = input.messages[i];
    json += i == 0 ? "{\"role\":" : ",{\"role\":";
    json += JsonQuote(message.role);
    json += ",\"content\":";
    json += JsonQuote(marker == nullptr ? message.content : marker->Mark(message.content));
    json += "}";
  }
  json += "],\"add_generation_prompt\":";
  json += input.add_generation_prompt ? "true" : "false";
  json += ",\"bos_token\":" + JsonQuote(input.bos) + ",\"eos_token\":" + JsonQuote(input.eos) + "}";
  variables.tools = marker == nullptr ? input.tools_json : marker->MarkJson(input.tools_json);
  variables.extra = input.extra_variables_json;
  if (marker != nullptr) {
    // Switches such as "high" are compared with letters, so those stay.
    const UserTextMarker symbols(MarkedCharacters::kSymbols, marker->spared());
    variables.extra = symbols.MarkJson(input.extra_variables_json);
  }
  return variables;
}

Status CheckUtf8(const ChatTemplateInput& input) {
  const auto check = [](std::string_view text, std::string_view what) {
    return IsValidUtf8(text) ? OkStatus()
                             : ErrorF(StatusCode::kInvalidArgument, "%s: not valid UTF-8", what);
  };
  for (size_t i = 0; i < input.messages.size(); ++i) {
    const std::string name = absl::StrFormat("messages[%d]", i);
    RETURN_IF_ERROR(check(input.messages[i].role, name + ".role"));
    RETURN_IF_ERROR(check(input.messages[i].content, name + ".content"));
  }
  RETURN_IF_ERROR(check(input.bos, "bos"));
  RETURN_IF_ERROR(check(input.eos, "eos"));
  RETURN_IF_ERROR(check(input.tools_json, "tools"));
  return check(input.extra_variables_json, "template variables");
}

// The roles that chat formats know. A role is written into control tokens by many templates and is
// not marked as the user's: of a free word, such as "end", "<|{{ role }}|>" would make a token.
constexpr std::array<std::string_view, 10> kRoles = {"system",
                                                     "developer",
                                                     "user",
                                                     "assistant",
                                                     "model",
                                                     "tool",
                                                     "function",
                                                     "ipython",
                                                     "observation",
                                                     "context"};

Status CheckForMarking(const ChatTemplateInput& input) {
  constexpr std::string_view kPrivatePlane =
      "characters from U+100000 on are not allowed in a chat";
  for (size_t i = 0; i < input.messages.size(); ++i) {
    if (std::find(kRoles.begin(), kRoles.end(), input.messages[i].role) == kRoles.end()) {
      return ErrorF(
          StatusCode::kInvalidArgument,
          "messages[%d].role: unknown; system, user, assistant, developer, tool, function, "
          "model, ipython, observation and context are known",
          i);
    }
    if (HoldsMarks(input.messages[i].content)) {
      return ErrorF(StatusCode::kInvalidArgument, "messages[%d].content: %s", i, kPrivatePlane);
    }
  }
  if (JsonHoldsMarks(input.tools_json)) {
    return ErrorF(StatusCode::kInvalidArgument, "tools: %s", kPrivatePlane);
  }
  if (JsonHoldsMarks(input.extra_variables_json)) {
    return ErrorF(StatusCode::kInvalidArgument, "template variables: %s", kPrivatePlane);
  }
  return OkStatus();
}

// `text` cut at the ends of `user`, which is sorted and disjoint.
std::vector<PromptPiece> Pieces(std::string_view text, const std::vector<TextRange>& user) {
  std::vector<PromptPiece> pieces;
  const auto add = [&](size_t begin, size_t end, bool from_user) {
    if (begin < end) {
      pieces.push_back({std::string(text.substr(begin, end - begin)), from_user});
    }
  };
  size_t at = 0;
  for (const TextRange& range : user) {
    add(at, range.begin, false);
    add(range.begin, range.end, true);
    at = range.end;
  }
  add(at, text.size(), false);
  return pieces;
}

class MinijinjaTemplate final : public ChatTemplate {
 public:
  MinijinjaTemplate(std::string_view source, RustTemplate* chat_template)
      : literals_(SymbolLiterals(source)), template_(chat_template) {}

  StatusOr<std::string> Render(const ChatTemplateInput& input) const override {
    RETURN_IF_ERROR(CheckUtf8(input));
    return RenderVariables(VariablesOf(input, nullptr));
  }

  StatusOr<std::vector<PromptPiece>> RenderPieces(const ChatTemplateInput& input) const override {
    RETURN_IF_ERROR(CheckUtf8(input));
    RETURN_IF_ERROR(CheckForMarking(input));
    ASSIGN_OR_RETURN(const std::string plain, RenderVariables(VariablesOf(input, nullptr)));
    for (const MarkedCharacters characters : {MarkedCharacters::kAll, MarkedCharacters::kSymbols}) {
      if (const auto user = UserRanges(input, plain, UserTextMarker(characters))) {
        return Pieces(plain, *user);
      }
    }
    if (const auto user = UserRangesWithSpared(input, plain)) {
      return Pieces(plain, *user);
    }
    // The template changes the user's symbols themselves. What comes out of them is made of them
    // still, unless the template writes it: every symbol that the user has used counts as theirs.
    std::u32string symbols;
    for (const ChatMessage& message : input.messages) {
      CollectSymbols(message.content, symbols);
    }
    CollectJsonSymbols(input.tools_json, symbols);
    CollectJsonSymbols(input.extra_variables_json, symbols);
    return Pieces(plain, RangesOfSymbols(plain, symbols));
  }

 private:
  StatusOr<std::string> RenderVariables(const Variables& variables) const {
    RustTemplateLimits limits{};
    limits.fuel = kFuel;
    limits.timeout_millis = kTimeoutMillis;
    limits.memory_bytes = kMemoryBytes + kMemoryPerInputByte * variables.size();
    limits.output_bytes = kOutputBytes + kOutputPerInputByte * variables.size();
    RustBuffer text{};
    RustBuffer error{};
    if (const RustCode code = RustTemplateRender(template_.get(),
                                                 AsSlice(variables.json),
                                                 AsSlice(variables.tools),
                                                 AsSlice(variables.extra),
                                                 &limits,
                                                 &text,
                                                 &error);
        code != kRustOk) {
      return TakeError(code, error, "chat template");
    }
    return TakeString(text);
  }

  // What of `plain` is the user's, if the template renders marked text as it does plain text.
  std::optional<std::vector<TextRange>> UserRanges(const ChatTemplateInput& input,
                                                   std::string_view plain,
                                                   const UserTextMarker& marker) const {
    const auto marked = RenderVariables(VariablesOf(input, &marker));
    if (!marked.ok()) {
      return std::nullopt;
    }
    UnmarkedText unmarked = Unmark(*marked, marker.characters());
    if (unmarked.text != plain) {
      return std::nullopt;
    }
    return std::move(unmarked.user);
  }

  // The same where the template looks for strings of its own in the user's text, such as
  // "</think>": those are left as they are there, and count as the user's wherever they come out.
  std::optional<std::vector<TextRange>> UserRangesWithSpared(const ChatTemplateInput& input,
                                                             std::string_view plain) const {
    const auto is_used = [&](const std::string& literal) {
      const auto holds = [&](const std::string& text) { return text.find(literal) != text.npos; };
      return holds(input.tools_json) || holds(input.extra_variables_json) ||
             std::any_of(input.messages.begin(),
                         input.messages.end(),
                         [&](const ChatMessage& message) { return holds(message.content); });
    };
    std::vector<std::string> spared;
    std::copy_if(literals_.begin(), literals_.end(), std::back_inserter(spared), is_used);
    if (spared.empty() || spared.size() > kSparedMax) {
      return std::nullopt;
    }
    const auto try_spared = [&](const std::vector<std::string>& literals) {
      return UserRanges(input, plain, UserTextMarker(MarkedCharacters::kSymbols, literals));
    };
    auto user = try_spared(spared);
    if (!user.has_value()) {
      return std::nullopt;
    }
    // As few as will do: most are only written, not looked for.
    for (size_t i = spared.size(); i-- > 0;) {
      std::vector<std::string> fewer = spared;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
      if (auto with_fewer = try_spared(fewer)) {
        spared = std::move(fewer);
        user = std::move(with_fewer);
      }
    }
    return Union(*user, RangesOfLiterals(plain, spared));
  }

  std::vector<std::string> literals_;
  std::unique_ptr<RustTemplate, TemplateFree> template_;
};

}  // namespace
}  // namespace text_internal

StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Create(std::string_view source) {
  using text_internal::AsSlice;
  RustTemplate* chat_template = nullptr;
  RustBuffer error{};
  if (const RustCode code = RustTemplateNew(AsSlice(source), &chat_template, &error);
      code != kRustOk) {
    return text_internal::TakeError(code, error, "chat template");
  }
  return std::make_unique<text_internal::MinijinjaTemplate>(source, chat_template);
}

StatusOr<std::vector<TokenId>> EncodePrompt(const Tokenizer& tokenizer,
                                            const std::vector<PromptPiece>& pieces) {
  std::string text;
  std::vector<TextRange> user;
  for (const PromptPiece& piece : pieces) {
    if (piece.from_user && !piece.text.empty()) {
      user.push_back({text.size(), text.size() + piece.text.size()});
    }
    text += piece.text;
  }
  return tokenizer.EncodeGuarded(text, user);
}

}  // namespace inferd
