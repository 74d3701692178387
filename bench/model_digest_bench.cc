// How fast a model's digest is, beside what everybody has: `openssl dgst -sha256`, one core, over
// the same files in the same run, all of them in the page cache. Also the whole reading of a load,
// which keeps the bytes, and the memory that it takes.
//   RESULT model.digest_speedup        openssl's time over HashModelFiles' on two threads
//   RESULT model.read_speedup          the same over ReadModel's
//   RESULT model.read_peak_ratio       resident bytes that ReadModel added, over the files' size
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/random.h"
#include "bench/statistics.h"
#include "daemon/model_reading.h"
#include "governance/registry/model_files.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

double Seconds(const std::function<Status()>& work) {
  const auto start = std::chrono::steady_clock::now();
  const Status status = work();
  if (!status.ok()) {
    std::fprintf(stderr, "model_digest_bench: %s\n", std::string(Message(status)).c_str());
    std::exit(1);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Files of random bytes that look like a sharded folder's.
std::vector<std::string> MakeFolder(const std::string& folder, uint64_t total, int files) {
  fs::create_directories(folder);
  std::vector<char> block(1 << 20);
  SplitMix64 random(1);
  std::vector<std::string> paths;
  for (int i = 0; i < files; ++i) {
    paths.push_back(folder + "/model-" + std::to_string(i) + ".safetensors");
    std::ofstream out(paths.back(), std::ios::binary);
    for (uint64_t done = 0; done < total / static_cast<uint64_t>(files); done += block.size()) {
      for (size_t at = 0; at + 8 <= block.size(); at += 512) {
        const uint64_t word = random.Next();
        std::memcpy(block.data() + at, &word, sizeof word);
      }
      out.write(block.data(), static_cast<std::streamsize>(block.size()));
    }
  }
  return paths;
}

Status RunOpenssl(const std::vector<std::string>& paths) {
  std::vector<const char*> arguments = {"openssl", "dgst", "-sha256"};
  for (const std::string& path : paths) {
    arguments.push_back(path.c_str());
  }
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    if (std::freopen("/dev/null", "w", stdout) != nullptr) {
      execvp(arguments[0], const_cast<char* const*>(arguments.data()));
    }
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? OkStatus()
                     : ErrorF(StatusCode::kUnavailable, "openssl cannot be run, or failed");
}

int64_t PeakBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

int Run(const std::string& folder, uint64_t bytes, int rounds) {
  const std::vector<std::string> paths = MakeFolder(folder, bytes, 4);
  std::vector<double> openssl, digest, reading;
  (void)Seconds([&] { return RunOpenssl(paths); });  // warms the page cache
  const int64_t before = PeakBytes();
  for (int round = 0; round < rounds; ++round) {
    openssl.push_back(Seconds([&] { return RunOpenssl(paths); }));
    digest.push_back(Seconds([&] { return HashModelFiles(folder, {}).status(); }));
    reading.push_back(Seconds([&] { return ReadModel(folder, {}).status(); }));
  }
  fs::remove_all(folder);
  std::printf("openssl %.3f s, digest %.3f s, reading %.3f s (medians of %d)\n",
              Median(openssl),
              Median(digest),
              Median(reading),
              rounds);
  std::printf("RESULT model.digest_speedup %.3f ratio\n", Median(openssl) / Median(digest));
  std::printf("RESULT model.read_speedup %.3f ratio\n", Median(openssl) / Median(reading));
  std::printf("RESULT model.read_peak_ratio %.3f ratio\n",
              static_cast<double>(PeakBytes() - before) / static_cast<double>(bytes));
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  std::string folder = "build/model_digest_bench";
  uint64_t bytes = uint64_t{4} << 30;
  int rounds = 5;
  CLI::App app("Measures how fast a model is hashed and read.");
  app.add_option("--folder", folder, "where the files are made and removed");
  app.add_option("--bytes", bytes, "their size");
  app.add_option("--rounds", rounds, "of each measurement");
  CLI11_PARSE(app, argc, argv);
  return inferd::Run(folder, bytes, rounds);
}
