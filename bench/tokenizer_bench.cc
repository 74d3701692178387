// Processor time to build a tokenizer from a model file, and tokens a second of one thread.
//   inferd_tokenizer_bench --model FILE --text FILE [--name NAME]
// Prints RESULT tokenizer.NAME.{load,encode,decode}.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "base/file.h"
#include "bench/statistics.h"
#include "model/vocabulary.h"
#include "text/tokenizer.h"

namespace {

// Processor time of this thread, which does all the work: what else runs does not count.
double Seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

int Fail(const inferd::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string model;
  std::string text_file;
  std::string name = "model";
  int passes = 7;
  CLI::App app("Measures the tokenizer of a model file");
  app.add_option("--model", model, "GGUF file")->required();
  app.add_option("--text", text_file, "UTF-8 text to encode")->required();
  app.add_option("--name", name, "what the figures are called");
  app.add_option("--passes", passes, "each figure is the median of this many")
      ->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);

  const auto file = inferd::MappedFile::Open(model);
  const auto text_bytes = inferd::MappedFile::Open(text_file);
  if (!file.ok() || !text_bytes.ok()) {
    return Fail(file.ok() ? text_bytes.status() : file.status());
  }
  std::string text;
  for (const std::byte byte : text_bytes->bytes()) {
    text += static_cast<char>(byte);
  }
  const auto gguf = inferd::Gguf::Parse(file->bytes());
  if (!gguf.ok()) {
    return Fail(gguf.status());
  }
  const auto vocabulary = inferd::ReadVocabulary(*gguf);
  if (!vocabulary.ok()) {
    return Fail(vocabulary.status());
  }

  std::vector<double> load;
  std::vector<double> encode;
  std::vector<double> decode;
  size_t token_count = 0;
  for (int pass = 0; pass < passes; ++pass) {
    double start = Seconds();
    const auto tokenizer = inferd::Tokenizer::Create(*vocabulary);
    load.push_back((Seconds() - start) * 1e3);
    if (!tokenizer.ok()) {
      return Fail(tokenizer.status());
    }
    start = Seconds();
    const auto tokens = (*tokenizer)->Encode(text, inferd::SpecialTokens::kAsText);
    const double encode_seconds = (Seconds() - start);
    if (!tokens.ok()) {
      return Fail(tokens.status());
    }
    token_count = tokens->size();
    encode.push_back(static_cast<double>(token_count) / encode_seconds);
    start = Seconds();
    const auto decoded = (*tokenizer)->Decode(*tokens, true);
    decode.push_back(static_cast<double>(token_count) / (Seconds() - start));
    if (!decoded.ok() || *decoded != text) {
      return Fail(inferd::Status(inferd::StatusCode::kInternal, "the text did not come back"));
    }
  }
  std::printf("WORKLOAD %zu bytes, %zu tokens, one thread, median of %d passes, cold word cache\n",
              text.size(),
              token_count,
              passes);
  std::printf("RESULT tokenizer.%s.load %.1f ms\n", name.c_str(), inferd::Median(load));
  std::printf("RESULT tokenizer.%s.encode %.0f tokens/s\n", name.c_str(), inferd::Median(encode));
  std::printf("RESULT tokenizer.%s.decode %.0f tokens/s\n", name.c_str(), inferd::Median(decode));
  return 0;
}
