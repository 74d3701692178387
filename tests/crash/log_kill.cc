#include "tests/crash/log_kill.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "governance/audit/log_core.h"
#include "governance/verify/merkle.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"
#include "governance/verify/verifier.h"

extern char** environ;  // NOLINT(readability-redundant-declaration)

namespace inferd {
namespace {

constexpr char kName[] = "example.com/inferd-audit/n1";
// So that no log grows long: each crash point verifies all of it.
constexpr uint64_t kPointsOfALog = 10;
constexpr uint64_t kAcksMax = 120;

// One child and the end of the pipe that it tells of durable leaves.
struct Child {
  pid_t pid = -1;
  int output = -1;
};

Child Start(const std::vector<std::string>& command) {
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  posix_spawn_file_actions_t actions;
  CHECK(posix_spawn_file_actions_init(&actions) == 0);
  CHECK(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) == 0);
  std::vector<char*> argv;
  for (const std::string& word : command) {
    argv.push_back(const_cast<char*>(word.c_str()));
  }
  argv.push_back(nullptr);
  Child child;
  CHECK(posix_spawn(&child.pid, argv[0], &actions, nullptr, argv.data(), environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  child.output = ends[0];
  return child;
}

class Killer {
 public:
  explicit Killer(const KillOptions& options)
      : options_(options), random_(options.seed), signer_(*NoteSigner::Generate(kName)) {
    std::filesystem::create_directories(options_.folder);
    std::ofstream(options_.folder + "/key") << signer_.SKey();
  }

  FaultCounts Run() {
    for (uint64_t point = 0; point < options_.points; ++point) {
      if (point % kPointsOfALog == 0) {
        std::filesystem::remove_all(Folder());
        acked_.clear();
      }
      KillOnce();
      Check(point);
    }
    std::filesystem::remove_all(Folder());
    return std::move(counts_);
  }

 private:
  std::string Folder() const { return options_.folder + "/node"; }

  // Runs the appender until it has told of some leaves, then a little longer, and kills it. Every
  // fourth is killed by time alone: while it starts, or recovers.
  void KillOnce() {
    const Child child = Start(
        {options_.appender, Folder(), options_.folder + "/key", std::to_string(random_.Next())});
    std::string told;
    const uint64_t acks = random_.Below(4) == 0 ? 0 : 1 + random_.Below(kAcksMax);
    std::array<char, 4096> buffer;
    while (static_cast<uint64_t>(std::count(told.begin(), told.end(), '\n')) < acks) {
      const ssize_t n = read(child.output, buffer.data(), buffer.size());
      if (n <= 0) {
        break;
      }
      told.append(buffer.data(), static_cast<size_t>(n));
    }
    std::this_thread::sleep_for(
        std::chrono::microseconds(random_.Below(acks == 0 ? 30'000 : 3000)));
    kill(child.pid, SIGKILL);
    for (ssize_t n = 0; (n = read(child.output, buffer.data(), buffer.size())) > 0;) {
      told.append(buffer.data(), static_cast<size_t>(n));
    }
    close(child.output);
    int status = 0;
    CHECK(waitpid(child.pid, &status, 0) == child.pid);
    // A fault of its own is no crash point: it would look like a run without work.
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
      ++counts_.inconsistent;
      Note(absl::StrFormat("the appender ended by itself, wait status %d", status));
    }
    ++counts_.crashes;
    Take(told);
  }

  void Take(std::string_view told) {
    while (true) {
      const size_t end = told.find('\n');
      if (end == std::string_view::npos) {
        return;
      }
      const std::string_view line = told.substr(0, end);
      told.remove_prefix(end + 1);
      const size_t hash = line.find(' ') + 1;
      uint64_t index = 0;
      std::from_chars(line.data(), line.data() + hash - 1, index);
      const auto digest = Digest::FromHex(line.substr(hash, 64));
      CHECK(digest.ok());
      ++counts_.acked;
      if (!acked_.emplace(std::pair(std::string(line.substr(hash + 65)), index), *digest).second) {
        ++counts_.index_reuse;
        Note("an index was given twice");
      }
    }
  }

  void Check(uint64_t point) {
    AuditLogOptions options;
    options.folder = Folder();
    options.name = kName;
    options.node = "n1";
    options.signer = &signer_;
    options.segment_bytes = 128 << 10;
    options.reserve_bytes = 0;
    const auto core = LogCore::Open(std::move(options));
    if (!core.ok()) {
      ++counts_.inconsistent;
      Note(absl::StrFormat("point %d: %s", point, Message(core.status())));
      return;
    }
    const TrustPolicy policy = TrustPolicy::OfLog(signer_.verifier());
    const auto report = VerifyLog(SystemFiles(), Folder() + "/log", policy, {});
    if (!report.ok() || report->num_problems > 0) {
      ++counts_.inconsistent;
      Note(absl::StrFormat(
          "point %d: %s",
          point,
          report.ok() ? ToText(report->problems[0]) : std::string(Message(report.status()))));
      return;
    }
    counts_.open_intents += report->open_intents;
    CheckAcked(policy, point);
  }

  void CheckAcked(const TrustPolicy& policy, uint64_t point) {
    std::map<std::string, std::vector<Digest>> shards;
    for (const auto& [place, hash] : acked_) {
      auto [shard, fresh] = shards.try_emplace(place.first);
      if (fresh) {
        shard->second = ReadHashes(policy, place.first);
      }
      if (place.second >= shard->second.size() || shard->second[place.second] != hash) {
        ++counts_.lost;
        Note(absl::StrFormat("point %d: leaf %d of %s is lost", point, place.second, place.first));
      }
    }
  }

  std::vector<Digest> ReadHashes(const TrustPolicy& policy, const std::string& origin) const {
    std::vector<Digest> hashes;
    const auto shard = ShardReader::Open(
        SystemFiles(), Folder() + "/log" + origin.substr(std::string(kName).size()), policy);
    if (shard.ok()) {
      (void)(*shard)->Visit(
          0, (*shard)->checkpoint().checkpoint.size, [&hashes](uint64_t, std::string_view leaf) {
            hashes.push_back(LeafHash(leaf));
            return OkStatus();
          });
    }
    return hashes;
  }

  void Note(const std::string& what) {
    if (counts_.first.empty()) {
      counts_.first = absl::StrFormat("seed %d: %s", options_.seed, what);
    }
  }

  KillOptions options_;
  SplitMix64 random_;
  NoteSigner signer_;
  FaultCounts counts_;
  std::map<std::pair<std::string, uint64_t>, Digest> acked_;
};

}  // namespace

FaultCounts KillAppenders(const KillOptions& options) { return Killer(options).Run(); }

}  // namespace inferd
