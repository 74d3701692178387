// inferd_invariance: random mixes of a real model on each instruction set of the host, held to
// single rows on the fastest of them.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "base/clock.h"
#include "cpu/cpu_device.h"
#include "tests/invariance/random_mixes.h"

namespace inferd {
namespace {

struct Settings {
  std::string model;
  std::vector<std::string> isas;
  int32_t mixes = 200;
  int32_t scalar_mixes = 10;
  int threads = 0;
};

int Fail(const Status& status) {
  std::fprintf(stderr, "inferd_invariance: %s\n", std::string(Message(status)).c_str());
  return 1;
}

int Run(const Settings& settings) {
  const auto file = ModelFile::Open(settings.model);
  if (!file.ok()) {
    return Fail(file.status());
  }
  const MixOptions options{.num_sequences = 18, .rows_max = 96, .seed = 21};
  auto best = CpuDevice::Create({.threads = settings.threads, .isa = BestIsa()});
  if (!best.ok()) {
    return Fail(best.status());
  }
  const auto references = MakeReferences(**best, **file, options);
  std::printf("WORKLOAD random mixes of 2 to 32 sequences, rows held to single rows on %s\n",
              (*best)->capabilities().name.c_str());
  int64_t mismatches = 0;
  for (const std::string& name : settings.isas) {
    const std::optional<CpuIsa> isa = CpuIsaFromName(name);
    if (!isa.has_value() || !IsSupported(*isa)) {
      std::printf("%s: this host has it not; skipped\n", name.c_str());
      continue;
    }
    auto device = CpuDevice::Create({.threads = settings.threads, .isa = *isa});
    if (!device.ok()) {
      return Fail(device.status());
    }
    const int32_t mixes = *isa == CpuIsa::kScalar ? settings.scalar_mixes : settings.mixes;
    const TimePoint start = SystemClock().Now();
    const MixCounts counts = RunMixes(**device, **file, references, mixes, options);
    const std::chrono::duration<double> took = SystemClock().Now() - start;
    std::printf(
        "%s: %d mixes, %lld rows, %lld preemptions, %lld takeovers, widest step %lld, %.0f s\n",
        name.c_str(),
        mixes,
        static_cast<long long>(counts.rows),
        static_cast<long long>(counts.preemptions),
        static_cast<long long>(counts.takeovers),
        static_cast<long long>(counts.widest_step),
        took.count());
    std::printf("SAMPLE invariance.mismatches %lld\n", static_cast<long long>(counts.mismatches));
    std::fflush(stdout);
    mismatches += counts.mismatches;
  }
  std::printf("RESULT invariance.mismatches %lld count\n", static_cast<long long>(mismatches));
  return mismatches == 0 ? 0 : 1;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  try {
    CLI::App app("Compares logits in random mixes with those of single rows, bit by bit.");
    inferd::Settings settings;
    settings.isas = {"avx512", "avx2", "scalar"};
    app.add_option("--model", settings.model, "a GGUF file")->required();
    app.add_option("--isa", settings.isas, "instruction sets to run; those of the host if unset");
    app.add_option("--mixes", settings.mixes, "mixes on each instruction set but scalar");
    app.add_option("--scalar-mixes", settings.scalar_mixes, "mixes on the scalar code");
    app.add_option("--threads", settings.threads, "compute threads; 0: the physical cores");
    CLI11_PARSE(app, argc, argv);
    return inferd::Run(settings);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "inferd_invariance: %s\n", error.what());
    return 1;
  }
}
