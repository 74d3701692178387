// What `inferctl model inspect FILE` says about a model file, whether or not it can be served.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "model/gguf.h"

namespace inferd {

// A value; every text in it is printable ASCII.
struct ModelSummary {
  uint32_t gguf_version = 0;
  uint64_t file_bytes = 0;
  std::string architecture;  // empty if the file does not say
  std::string name;
  int64_t context_tokens_max = 0;  // 0: unknown
  int64_t n_layers = 0;
  int64_t d_model = 0;
  uint64_t n_tensors = 0;
  uint64_t n_parameters = 0;  // values in all tensors

  struct FormatUse {
    std::string name;  // "Q4_K", or "type 99"
    uint64_t n_tensors = 0;
    uint64_t n_values = 0;
    uint64_t bytes = 0;  // 0 if the format is not read
    bool readable = false;
  };
  std::vector<FormatUse> formats;  // most values first

  std::string tokenizer;      // "gpt2", "llama", ...; empty if there is none
  std::string pre_tokenizer;  // as the file gives it
  uint64_t n_tokens = 0;
  bool has_chat_template = false;

  // Every key in order with its value as text; long texts and arrays are cut.
  std::vector<std::pair<std::string, std::string>> metadata;
  // Why the model cannot be served, each reason once; empty if it can.
  std::vector<std::string> unsupported;
};

ModelSummary Summarize(const Gguf& gguf, uint64_t file_bytes);

// Maps and parses. Fails only where the header does: kNotFound, kPermissionDenied,
// kInvalidArgument, kUnimplemented (a GGUF version).
StatusOr<ModelSummary> InspectModel(const std::string& path);

// Lines for people, ending with a newline.
std::string ToText(const ModelSummary& summary);

}  // namespace inferd
