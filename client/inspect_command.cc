#include <nlohmann/json.hpp>
#include <ostream>

#include "base/file.h"
#include "client/commands.h"
#include "client/table.h"
#include "model/gguf.h"
#include "model/inspect.h"
#include "model/vocabulary.h"
#include "text/tokenizer.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kReasonLengthMax = 1000;

// What the model room cannot know: whether text can be made into the model's tokens.
void AddTokenizerReason(const Gguf& gguf, ModelSummary& summary) {
  const StatusOr<VocabularySpec> vocabulary = ReadVocabulary(gguf);
  if (!vocabulary.ok() || vocabulary->kind == TokenizerKind::kNone) {
    return;  // the summary says so itself
  }
  const Status status = Tokenizer::Create(*vocabulary).status();
  if (!status.ok()) {
    summary.unsupported.push_back("tokenizer: " + OneLine(Message(status), kReasonLengthMax));
  }
}

std::string SummaryJson(const std::string& path, const ModelSummary& summary) {
  Json formats = Json::array();
  for (const ModelSummary::FormatUse& use : summary.formats) {
    formats.push_back({{"format", use.name},
                       {"tensors", use.n_tensors},
                       {"values", use.n_values},
                       {"bytes", use.bytes},
                       {"supported", use.readable}});
  }
  Json metadata = Json::object();
  for (const auto& [key, value] : summary.metadata) {
    metadata[key] = value;
  }
  return Json({{"file", path},
               {"file_bytes", summary.file_bytes},
               {"gguf_version", summary.gguf_version},
               {"architecture", summary.architecture},
               {"name", summary.name},
               {"context_tokens_max", summary.context_tokens_max},
               {"layers", summary.n_layers},
               {"d_model", summary.d_model},
               {"tensors", summary.n_tensors},
               {"parameters", summary.n_parameters},
               {"formats", std::move(formats)},
               {"tokenizer", summary.tokenizer},
               {"pre_tokenizer", summary.pre_tokenizer},
               {"vocab_size", summary.n_tokens},
               {"has_chat_template", summary.has_chat_template},
               {"supported", summary.unsupported.empty()},
               {"unsupported", summary.unsupported},
               {"metadata", std::move(metadata)}})
      .dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

ExitCode RunInspect(const CommonOptions& common,
                    const InspectCommand& command,
                    Terminal& terminal) {
  const StatusOr<MappedFile> file = MappedFile::Open(command.file);
  const StatusOr<Gguf> gguf = file.ok() ? Gguf::Parse(file->bytes()) : file.status();
  if (!gguf.ok()) {
    return FailFile(gguf.status(), command.file, terminal);
  }
  ModelSummary summary = Summarize(*gguf, file->bytes().size());
  AddTokenizerReason(*gguf, summary);
  terminal.out << (common.output == OutputFormat::kJson ? SummaryJson(command.file, summary) + "\n"
                                                        : ToText(summary));
  return ExitCode::kOk;
}

}  // namespace inferd
