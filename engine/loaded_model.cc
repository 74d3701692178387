#include "engine/loaded_model.h"

#include <algorithm>
#include <map>
#include <span>
#include <utility>

#include "base/log.h"
#include "base/sha256.h"
#include "model/gguf.h"
#include "model/model_file.h"
#include "model/quant_format.h"
#include "scheduler/state_store.h"
#include "text/tokenizer_digest.h"

namespace inferd::engine_internal {
namespace {

// The type that most bytes of the file's tensors have.
std::string MainQuantization(const Gguf& gguf) {
  std::map<uint32_t, size_t> bytes;
  for (const GgufTensor& tensor : gguf.tensors()) {
    bytes[tensor.ggml_type] += tensor.data.size();
  }
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? "" : std::string(GgmlTypeName(most->first));
}

Status AddText(const VocabularySpec& vocabulary, const std::string& name, ResidentModel& model) {
  for (const std::optional<TokenId>& end : {vocabulary.eos, vocabulary.eot, vocabulary.eom}) {
    if (end.has_value() && std::find(model.end_tokens.begin(), model.end_tokens.end(), *end) ==
                               model.end_tokens.end()) {
      model.end_tokens.push_back(*end);
    }
  }
  model.bos = vocabulary.bos;
  model.add_bos = vocabulary.add_bos;
  const auto text_of = [&vocabulary](const std::optional<TokenId>& token) {
    return token.has_value() ? vocabulary.tokens[static_cast<size_t>(*token)] : std::string();
  };
  model.bos_text = text_of(vocabulary.bos);
  model.eos_text = text_of(vocabulary.eos);
  if (vocabulary.kind == TokenizerKind::kNone) {
    return OkStatus();
  }
  ASSIGN_OR_RETURN(model.tokenizer, Tokenizer::Create(vocabulary));
  model.tokenizer_digest = TokenizerDigest(vocabulary);
  if (vocabulary.chat_template.empty()) {
    return OkStatus();
  }
  model.template_digest = Sha256Of(vocabulary.chat_template);
  StatusOr<std::unique_ptr<ChatTemplate>> chat_template =
      ChatTemplate::Create(vocabulary.chat_template);
  if (!chat_template.ok()) {  // the model still serves text prompts
    Log(LogLevel::kWarning,
        "the model's chat template cannot be used",
        {{"model", name}, {"error", std::string(Message(chat_template.status()))}});
    return OkStatus();
  }
  model.chat_template = *std::move(chat_template);
  return OkStatus();
}

std::string FingerprintOf(const ResidentModel& model) {
  constexpr size_t kHexDigits = 16;
  Sha256 hash;
  hash.Update("inferd-fingerprint-v1");
  for (const Digest* part :
       {&model.digest, &model.template_digest, &model.tokenizer_digest, &model.numerics_id}) {
    hash.Update(std::as_bytes(std::span(part->bytes)));
  }
  return "fp_" + hash.Finish().Hex().substr(0, kHexDigits);
}

// A row that decodes has logits for its draft, too.
int32_t LogitRowsMax(const EngineOptions& options) {
  const int64_t rows = int64_t{options.running_max} * (1 + options.speculation.draft_tokens_max);
  return static_cast<int32_t>(std::min<int64_t>(rows, options.step_tokens_max));
}

StatusOr<std::vector<int64_t>> UnitsLeft(const std::vector<int64_t>& units, int64_t reserved) {
  std::vector<int64_t> left;
  for (const int64_t pool : units) {
    if (pool <= reserved) {
      return ErrorF(StatusCode::kResourceExhausted,
                    "guarantees and public prefixes take %d KV blocks of a pool of %d; raise "
                    "kv_cache.bytes_max or lower them",
                    reserved,
                    pool);
    }
    left.push_back(pool - reserved);
  }
  return left;
}

}  // namespace

std::vector<int64_t> UnitBytes(const Device& device, const ModelConfig& config) {
  std::vector<int64_t> bytes;
  for (size_t g = 0; g < config.geometry.groups.size(); ++g) {
    bytes.push_back(device.StateUnitBytes(config, static_cast<int32_t>(g)));
  }
  return bytes;
}

StatusOr<std::vector<int64_t>> StateUnits(const Device& device,
                                          const ModelConfig& config,
                                          const EngineOptions& options) {
  const std::vector<StateGroup>& groups = config.geometry.groups;
  // More positions than all running sequences can ever have are of no use; of a window even less.
  const int64_t positions_max =
      options.running_max * StateGroup::BlocksFor(config.context_tokens_max);
  std::vector<int64_t> caps;
  const std::vector<int64_t> unit_bytes = UnitBytes(device, config);
  for (size_t g = 0; g < groups.size(); ++g) {
    const int64_t live = StateGroup::BlocksFor(groups[g].window) + 2 +
                         StateGroup::BlocksFor(options.step_tokens_max);
    caps.push_back(groups[g].window == 0 ? positions_max
                                         : std::min(positions_max, options.running_max * live));
  }
  const auto bytes_of = [&](int64_t blocks) {
    int64_t bytes = 0;
    for (size_t g = 0; g < groups.size(); ++g) {
      bytes += std::min(blocks, caps[g]) * unit_bytes[g];
    }
    return bytes;
  };
  int64_t low = 0;  // the most blocks that fit: bytes_of grows with them
  int64_t high = positions_max;
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (bytes_of(middle) <= options.kv_bytes) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  if (low == 0) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "kv_bytes: %d are not enough for one block of %d bytes",
                  options.kv_bytes,
                  bytes_of(1));
  }
  std::vector<int64_t> units;
  for (const int64_t cap : caps) {
    units.push_back(std::min(low, cap));
  }
  return units;
}

StatusOr<LoadedModel> Describe(const Device& device,
                               const EngineOptions& options,
                               const LoadRequest& request,
                               const ModelFile& file) {
  LoadedModel loaded;
  auto model = std::make_shared<ResidentModel>();
  model->name = request.name;
  model->version = request.version;
  model->digest = request.digest;
  model->path = file.path();
  model->config = file.config();
  model->file_bytes = static_cast<int64_t>(file.size_bytes());
  model->quantization = MainQuantization(file.gguf());
  model->slot = request.slot;
  RETURN_IF_ERROR(AddText(file.vocabulary(), request.name, *model));
  ASSIGN_OR_RETURN(loaded.units, StateUnits(device, file.config(), options));
  ASSIGN_OR_RETURN(const std::vector<int64_t> for_requests,
                   UnitsLeft(loaded.units, request.reserved_blocks));
  model->kv_tokens_max = TokensMaxFor(file.config().geometry, for_requests);
  if (model->kv_tokens_max < 2) {
    return ErrorF(
        StatusCode::kResourceExhausted,
        "guarantees and public prefixes take %d KV blocks and leave no room for a request; "
        "raise kv_cache.bytes_max or lower them",
        request.reserved_blocks);
  }
  loaded.resident = std::move(model);
  return loaded;
}

SlabBudget::Need MemoryNeed(const Device& device, const LoadedModel& model, const ModelFile& file) {
  SlabBudget::Need need;
  for (const GgufTensor& tensor : file.gguf().tensors()) {
    need.weight_bytes += static_cast<int64_t>(tensor.data.size());
  }
  for (size_t g = 0; g < model.units.size(); ++g) {
    need.kv_bytes +=
        model.units[g] * device.StateUnitBytes(model.resident->config, static_cast<int32_t>(g));
  }
  return need;
}

Status Pack(Device& device,
            const EngineOptions& options,
            const ModelFile& file,
            const std::function<void()>& between,
            LoadedModel& model) {
  const auto release = [&](const TensorView& tensor) {
    file.Release(tensor);
    between();
  };
  ASSIGN_OR_RETURN(model.transformer,
                   Transformer::Load(device,
                                     file.config(),
                                     file.weights(),
                                     {.rows_max = options.step_tokens_max,
                                      .logit_rows_max = LogitRowsMax(options)},
                                     release));
  ASSIGN_OR_RETURN(model.state, device.AllocateState(file.config(), model.units));
  if (options.swap_bytes > 0 && model.state->copies_units()) {
    model.host = HostState(options.swap_bytes, UnitBytes(device, file.config()));
  }
  auto resident = std::make_shared<ResidentModel>(*model.resident);
  resident->weight_bytes = model.transformer->weight_bytes();
  resident->numerics_id = model.transformer->numerics_id();
  resident->fingerprint = FingerprintOf(*resident);
  model.resident = std::move(resident);
  return OkStatus();
}

}  // namespace inferd::engine_internal
