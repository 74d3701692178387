// inferd_golden: a real model against independent implementations of it.
//
//   exact_kl               the Transformer over `exact` to an independent exact forward pass
//   kl_vs_llamacpp         the served arithmetic's KL to the same, over llama.cpp's own
//   perplexity_vs_llamacpp over the first tokens of alice.txt
//   unexplained            greedy answers that leave llama.cpp's for a token that `exact` finds
//                          clearly worse
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "base/file.h"
#include "cpu/cpu_device.h"
#include "cpu/exact_device.h"
#include "tests/golden/golden_figures.h"
#include "text/tokenizer.h"

namespace inferd {
namespace {

constexpr double kExplainedNats = 0.3;
constexpr int64_t kGreedyTokens = 64;

struct Settings {
  std::string model;
  std::string name;
  std::string data = INFERD_SOURCE_DIR "/tests/golden/data";
  std::string text = INFERD_SOURCE_DIR "/../shared/data/text/alice.txt";
  std::string isa;
  int threads = 0;
};

void PrintResult(const Settings& settings, const char* figure, double value, const char* unit) {
  std::printf("RESULT golden.%s.%s %.9g %s\n", settings.name.c_str(), figure, value, unit);
  std::fflush(stdout);
}

StatusOr<std::vector<GoldenSequence>> ReadAllCells(const Settings& settings) {
  std::vector<GoldenSequence> all;
  for (const char* text : {"alice", "licence", "source"}) {
    const std::string path = settings.data + "/" + settings.name + "." + text + ".cells.gz";
    ASSIGN_OR_RETURN(std::vector<GoldenSequence> sequences, ReadCells(path));
    std::move(sequences.begin(), sequences.end(), std::back_inserter(all));
  }
  return all;
}

Status PrintPerplexity(const Settings& settings,
                       const ModelFile& file,
                       const PeerFigures& peer,
                       ModelRun& served) {
  constexpr uint64_t kTextBytesMax = 1 << 24;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(settings.text, kTextBytesMax));
  ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Create(file.vocabulary()));
  ASSIGN_OR_RETURN(std::vector<TokenId> tokens, tokenizer->Encode(text, SpecialTokens::kAsText));
  if (std::ssize(tokens) < peer.perplexity_tokens) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "%s: %d tokens, %d are wanted",
                  settings.text,
                  tokens.size(),
                  peer.perplexity_tokens);
  }
  tokens.resize(static_cast<size_t>(peer.perplexity_tokens));
  const double perplexity = Perplexity(served, tokens, peer.perplexity_window);
  std::printf("perplexity %.4f, llama.cpp %.4f\n", perplexity, peer.perplexity);
  PrintResult(settings, "perplexity_vs_llamacpp", perplexity / peer.perplexity, "ratio");
  return OkStatus();
}

Status Run(const Settings& settings) {
  ASSIGN_OR_RETURN(const auto file, ModelFile::Open(settings.model));
  ASSIGN_OR_RETURN(const std::vector<GoldenSequence> sequences, ReadAllCells(settings));
  ASSIGN_OR_RETURN(const PeerFigures peer,
                   ReadPeerFigures(settings.data + "/" + settings.name + ".peer.json"));
  const ModelRun::Options options{.rows_max = 512, .logit_rows_max = 64, .units = 64};
  const auto exact_device = MakeExactDevice();
  ASSIGN_OR_RETURN(const auto exact, ModelRun::Load(*exact_device, *file, options));
  std::printf("WORKLOAD alice.txt, the licence and a source file, as in tests/golden/data\n");
  PrintResult(settings, "exact_kl", MeanKl(*exact, sequences), "nats");

  const std::optional<CpuIsa> isa = settings.isa.empty() ? BestIsa() : CpuIsaFromName(settings.isa);
  if (!isa.has_value()) {
    return ErrorF(StatusCode::kInvalidArgument, "--isa: %s is not known", settings.isa);
  }
  ASSIGN_OR_RETURN(const auto device,
                   CpuDevice::Create({.threads = settings.threads, .isa = *isa}));
  ASSIGN_OR_RETURN(const auto served, ModelRun::Load(*device, *file, options));
  std::printf("WORKLOAD the same, served by %s\n", device->capabilities().name.c_str());
  const double kl = MeanKl(*served, sequences);
  std::printf("served mean KL %.6g, llama.cpp %.6g\n", kl, peer.mean_kl);
  PrintResult(settings, "kl_vs_llamacpp", kl / peer.mean_kl, "ratio");
  if (peer.perplexity > 0) {
    RETURN_IF_ERROR(PrintPerplexity(settings, *file, peer, *served));
  }
  const auto outputs = GreedyOutputs(*served, peer.greedy, kGreedyTokens);
  const int64_t unexplained = CountUnexplained(*exact, peer.greedy, outputs, kExplainedNats);
  PrintResult(settings, "unexplained", static_cast<double>(unexplained), "count");
  return OkStatus();
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  try {
    CLI::App app("Compares a model with the committed goldens.");
    inferd::Settings settings;
    app.add_option("--model", settings.model, "a GGUF file")->required();
    app.add_option("--name", settings.name, "the goldens' name: smollm2 or gemma3")->required();
    app.add_option("--data", settings.data, "the goldens' folder");
    app.add_option("--text", settings.text, "alice.txt");
    app.add_option("--isa", settings.isa, "scalar, avx2 or avx512; the fastest if unset");
    app.add_option("--threads", settings.threads, "compute threads; 0: the physical cores");
    CLI11_PARSE(app, argc, argv);
    const inferd::Status status = inferd::Run(settings);
    if (!status.ok()) {
      std::fprintf(stderr, "inferd_golden: %s\n", std::string(inferd::Message(status)).c_str());
    }
    return status.ok() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "inferd_golden: %s\n", error.what());
    return 1;
  }
}
