// WitnessClient: asks the witnesses of a policy to cosign what the log publishes (C2SP
// tlog-witness).
//
// It never holds the log up. It keeps one file beside each shard's checkpoint, `witnessed`: the
// last note that the policy's quorum cosigned. What a witness has seen it learns from the witness.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/file_system.h"
#include "base/status.h"
#include "base/thread_annotations.h"
#include "daemon/witness/http_post.h"
#include "governance/verify/note.h"
#include "governance/verify/shard_reader.h"
#include "governance/verify/trust_policy.h"

namespace inferd {

inline constexpr Duration kWitnessInterval = std::chrono::seconds(2);  // between rounds
inline constexpr Duration kWitnessTimeout = std::chrono::seconds(3);   // of one request
inline constexpr Duration kWitnessRetryMax = std::chrono::seconds(30);
inline constexpr int kAnnounceRoundsMax = 5;

// Thread-safe.
class WitnessClient {
 public:
  using Post = std::function<StatusOr<HttpAnswer>(const std::string& url, const std::string& body)>;
  struct Options {
    FileSystem* files = &SystemFiles();
    const Clock* clock = &SystemClock();
    std::string log_folder;
    TrustPolicy policy;  // its witnesses that have a url are asked; one of its logs is this one
    Post post;
    // Gets each note that has new cosignatures.
    std::function<void(const std::string& note)> publish;
    // A witness has seen more than the log has, or another history. Once for each of the two; it is
    // not asked about the shard again.
    std::function<void(const Status& why)> on_rollback;
    // A witness took the checkpoint that Announce got.
    std::function<void(const std::string& origin)> on_origin_known{};
  };
  explicit WitnessClient(Options options) : options_(std::move(options)) {}
  ~WitnessClient();  // ends the thread: takes as long as a request at most

  // Starts the thread: a round now and then one every kWitnessInterval.
  void Start();
  // Shows the witnesses a shard that is to come, by its signed checkpoint without leaves: at once,
  // and a few times more if none takes it. Returns at once.
  void Announce(const std::string& note) EXCLUDES(mutex_);
  // One round, on the caller's thread. A witness that failed is left alone for a while, longer each
  // time.
  void AskAll() EXCLUDES(round_mutex_, mutex_);

  struct State {
    std::string name, vkey, url;
    std::string origin;
    uint64_t cosigned_size = 0;
    uint64_t log_size = 0;
    WallTime cosigned_at{};
    std::string error;
  };
  // By name and shard.
  std::vector<State> States() const EXCLUDES(mutex_);

 private:
  using Key = std::pair<std::string, std::string>;  // witness, origin
  struct Progress {
    uint64_t size = 0;       // that it has cosigned, as far as is known
    std::string line;        // its cosignature of `size`
    uint64_t line_size = 0;  // leaves of the note that `line` is for
    uint64_t log_size = 0;
    WallTime cosigned_at{};
    std::string error;
    Duration retry{};  // 0: it answered
    TimePoint not_before{};
    bool rollback = false;
  };
  void Run();
  void AskAboutNew();
  Status AskAbout(const std::string& folder) REQUIRES(round_mutex_);
  void Ask(ShardReader& shard, const std::string& name, const TrustPolicy::Party& witness)
      REQUIRES(round_mutex_);
  Status Exchange(ShardReader& shard, const TrustPolicy::Party& witness, Progress& progress);
  Status Keep(ShardReader& shard) REQUIRES(round_mutex_);

  const Options options_;
  Mutex round_mutex_;
  mutable Mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool wake_ GUARDED_BY(mutex_) = false;
  std::string announced_ GUARDED_BY(mutex_);  // "": nothing is
  int announce_rounds_ GUARDED_BY(mutex_) = 0;
  std::map<Key, Progress> progress_ GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace inferd
