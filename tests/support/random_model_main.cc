// inferd_random_model: writes a random model, so that scripts can have one.
//
//   inferd_random_model --family phi3 --seed 7 --format F32 OUT.gguf
//   inferd_random_model --bench --format Q4_0 OUT.gguf
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>

#include "tests/support/random_model.h"

namespace {

int Run(int argc, char** argv) {
  using inferd::QuantFormat;
  std::map<std::string, QuantFormat> formats;
  for (int i = 0; i < inferd::kNumQuantFormats; ++i) {
    const auto format = static_cast<QuantFormat>(i);
    formats[std::string(inferd::Info(format).name)] = format;
  }
  std::map<std::string, std::string> families;
  for (const std::string_view family : inferd::RandomModelFamilies()) {
    families[std::string(family)] = family;
  }
  std::string family = "llama";
  uint64_t seed = 1;
  QuantFormat format = QuantFormat::kF32;
  bool bench = false;
  int32_t window = -1;
  int32_t context = 0;
  int32_t layers = 0;
  std::string path;
  CLI::App app("Writes a random model as a GGUF file");
  app.add_option("--family", family, "What kind of model")->check(CLI::IsMember(families));
  app.add_option("--seed", seed, "The same seed gives the same file");
  app.add_option("--format", format, "How all matrices are stored")
      ->transform(CLI::Transformer(formats));
  app.add_flag("--bench", bench, "The shape of a 1.1B Llama instead of a tiny model");
  app.add_option("--window", window, "Another window; 0 leaves the key out");
  app.add_option("--context", context, "Another context length");
  app.add_option("--layers", layers, "Another number of layers: a slower model of the same kind");
  app.add_option("out", path, "The file to write")->required();
  CLI11_PARSE(app, argc, argv);
  inferd::RandomModelSpec spec =
      bench ? inferd::BenchModel(seed, format) : inferd::TinyModel(family, seed, format);
  spec.window = window < 0 ? spec.window : window;
  spec.context = context > 0 ? context : spec.context;
  spec.n_layers = layers > 0 ? layers : spec.n_layers;
  const inferd::Status written = inferd::WriteRandomModel(spec, path);
  if (!written.ok()) {
    std::fprintf(stderr, "%s\n", written.ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {  // the option parser may throw
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
