#include "tests/support/tokenizer_json_writer.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/check.h"

namespace inferd {
namespace {

using nlohmann::json;

constexpr const char* kVisibleSpace = "\xe2\x96\x81";

// Every split of a normal piece into two pieces, in the order of the scores.
std::vector<std::string> MergesOfScores(const VocabularySpec& spec) {
  std::map<std::string, size_t> pieces;
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    if (spec.types[i] == TokenType::kNormal || spec.types[i] == TokenType::kByte) {
      pieces.emplace(spec.tokens[i], i);
    }
  }
  std::vector<std::pair<size_t, std::string>> merges;  // piece, its parts
  for (const auto& [text, piece] : pieces) {
    if (spec.types[piece] != TokenType::kNormal) {
      continue;
    }
    for (size_t at = 1; at < text.size(); ++at) {
      if (pieces.contains(text.substr(0, at)) && pieces.contains(text.substr(at))) {
        merges.emplace_back(piece, text.substr(0, at) + " " + text.substr(at));
      }
    }
  }
  std::stable_sort(merges.begin(), merges.end(), [&](const auto& a, const auto& b) {
    const float left = spec.scores[a.first];
    const float right = spec.scores[b.first];
    return left != right ? left > right : a.first < b.first;
  });
  std::vector<std::string> texts;
  for (auto& [piece, text] : merges) {
    texts.push_back(std::move(text));
  }
  return texts;
}

json PreTokenizer(const std::vector<std::string>& patterns) {
  if (patterns.empty()) {
    return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  }
  json parts = json::array();
  for (const std::string& pattern : patterns) {
    parts.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  parts.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", parts}};
}

json Normalizer(bool prefix) {
  json parts = json::array();
  if (prefix) {
    parts.push_back({{"type", "Prepend"}, {"prepend", kVisibleSpace}});
  }
  parts.push_back(
      {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kVisibleSpace}});
  return {{"type", "Sequence"}, {"normalizers", parts}};
}

}  // namespace

std::string TokenizerJson(const VocabularySpec& spec, const std::vector<std::string>& patterns) {
  const bool bytes = spec.kind == TokenizerKind::kByteLevelBpe;
  CHECK(bytes || spec.kind == TokenizerKind::kSentencePiece);
  json vocabulary = json::object();
  json added = json::array();
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const TokenType type = spec.types.empty() ? TokenType::kNormal : spec.types[i];
    if (type == TokenType::kNormal || type == TokenType::kByte || type == TokenType::kUnknown) {
      vocabulary[spec.tokens[i]] = i;
    } else if (type != TokenType::kUnused) {
      added.push_back(
          {{"id", i}, {"content", spec.tokens[i]}, {"special", type == TokenType::kControl}});
    }
  }
  json model = {{"type", "BPE"},
                {"vocab", vocabulary},
                {"merges", bytes ? spec.merges : MergesOfScores(spec)},
                {"ignore_merges", spec.ignore_merges},
                {"byte_fallback", !bytes}};
  if (spec.unk && !bytes) {
    model["unk_token"] = spec.tokens[static_cast<size_t>(*spec.unk)];
  }
  const json root = {{"version", "1.0"},
                     {"added_tokens", added},
                     {"normalizer", bytes ? json() : Normalizer(spec.add_space_prefix)},
                     {"pre_tokenizer", bytes ? PreTokenizer(patterns) : json()},
                     {"post_processor", json()},
                     {"decoder", json()},
                     {"model", model}};
  return root.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string TokenizerConfigJson(const VocabularySpec& spec) {
  json root = {{"add_bos_token", spec.add_bos}, {"add_eos_token", spec.add_eos}};
  if (spec.bos) {
    root["bos_token"] = spec.tokens[static_cast<size_t>(*spec.bos)];
  }
  if (spec.eos) {
    root["eos_token"] = {{"content", spec.tokens[static_cast<size_t>(*spec.eos)]}};
  }
  if (!spec.chat_template.empty()) {
    root["chat_template"] = spec.chat_template;
  }
  return root.dump();
}

}  // namespace inferd
