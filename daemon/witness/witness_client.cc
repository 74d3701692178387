#include "daemon/witness/witness_client.h"

#include <algorithm>
#include <utility>

#include "base/file_batch.h"
#include "base/log.h"
#include "governance/verify/base64.h"
#include "governance/verify/log_layout.h"
#include "governance/verify/witness.h"

namespace inferd {
namespace {

constexpr Duration kRetryMin = std::chrono::seconds(2);

// What it says of why is not passed on: it may be anything.
Status Refused(const HttpAnswer& answer) {
  return ErrorF(answer.status == 422 ? StatusCode::kDataLoss : StatusCode::kUnavailable,
                "it answers %d",
                answer.status);
}

std::string UrlOf(const TrustPolicy::Party& witness) {
  return witness.url + (witness.url.ends_with('/') ? "add-checkpoint" : "/add-checkpoint");
}

// The size in a conflict's body.
StatusOr<uint64_t> ConflictSize(const HttpAnswer& answer) {
  const bool line = answer.body.ends_with('\n');
  return ParseDecimal(std::string_view(answer.body).substr(0, answer.body.size() - (line ? 1 : 0)));
}

}  // namespace

WitnessClient::~WitnessClient() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void WitnessClient::Start() {
  thread_ = std::thread([this] { Run(); });
}

void WitnessClient::Run() {
  for (;;) {
    AskAll();
    MutexLock lock(mutex_);
    stop_.wait_for(lock.std_lock(), kWitnessInterval, [this]() NO_THREAD_SAFETY_ANALYSIS {
      return stopping_ || wake_;
    });
    wake_ = false;
    if (stopping_) {
      return;
    }
  }
}

void WitnessClient::Announce(const std::string& note) {
  {
    MutexLock lock(mutex_);
    announced_ = note;
    announce_rounds_ = 0;
    wake_ = true;
  }
  stop_.notify_one();
}

// There is nothing to prove of a tree without leaves, and nothing to keep of its cosignature.
void WitnessClient::AskAboutNew() {
  std::string note;
  {
    MutexLock lock(mutex_);
    if (announced_.empty() || ++announce_rounds_ > kAnnounceRoundsMax) {
      announced_.clear();
      return;
    }
    note = announced_;
  }
  bool taken = false;
  for (const auto& [name, witness] : options_.policy.witnesses()) {
    const auto answer =
        witness.url.empty()
            ? StatusOr<HttpAnswer>(HttpAnswer())
            : options_.post(UrlOf(witness),
                            EncodeAddCheckpoint({.old_size = 0, .proof = {}, .note = note}));
    // A conflict says that it knows the origin already.
    taken = taken || (answer.ok() && (answer->status == 200 || answer->status == 409));
  }
  const auto opened = options_.policy.OpenLog(note);
  if (taken && opened.ok() && options_.on_origin_known) {
    options_.on_origin_known(opened->checkpoint.origin);
    MutexLock lock(mutex_);
    announced_ = announced_ == note ? "" : announced_;
  }
}

void WitnessClient::AskAll() {
  MutexLock round(round_mutex_);
  AskAboutNew();
  const auto names = options_.files->List(options_.log_folder);
  std::vector<ShardName> shards;
  for (const std::string& text : names.ok() ? *names : std::vector<std::string>()) {
    if (const auto name = ShardName::Parse(text); name.ok()) {
      shards.push_back(*name);
    }
  }
  std::sort(shards.begin(), shards.end());
  for (const ShardName& shard : shards) {
    const Status asked = AskAbout(options_.log_folder + '/' + shard.Text());
    if (!asked.ok() && asked.code() != StatusCode::kNotFound) {
      Log(LogLevel::kError,
          "witnesses cannot be asked",
          {{"shard", shard.Text()}, {"error", std::string(Message(asked))}});
    }
  }
}

Status WitnessClient::AskAbout(const std::string& folder) {
  ASSIGN_OR_RETURN(const auto shard, ShardReader::Open(*options_.files, folder, options_.policy));
  for (const auto& [name, witness] : options_.policy.witnesses()) {
    if (!witness.url.empty()) {
      Ask(*shard, name, witness);
    }
  }
  return Keep(*shard);
}

void WitnessClient::Ask(ShardReader& shard,
                        const std::string& name,
                        const TrustPolicy::Party& witness) {
  const uint64_t size = shard.checkpoint().checkpoint.size;
  Progress progress;
  {
    MutexLock lock(mutex_);
    Progress& kept = progress_[{name, shard.origin()}];
    kept.log_size = size;
    const bool done = kept.size == size && kept.line_size == size;
    if (stopping_ || done || kept.rollback || options_.clock->Now() < kept.not_before) {
      return;
    }
    progress = kept;
  }
  const Status status = Exchange(shard, witness, progress);
  progress.error = status.ok() ? "" : std::string(Message(status));
  progress.retry = status.ok()
                       ? Duration(0)
                       : std::min(std::max(2 * progress.retry, kRetryMin), kWitnessRetryMax);
  progress.not_before = options_.clock->Now() + progress.retry;
  progress.rollback = status.code() == StatusCode::kDataLoss;
  bool told = false;
  {
    MutexLock lock(mutex_);
    Progress& kept = progress_[{name, shard.origin()}];
    told = kept.error == progress.error;
    kept = progress;
  }
  if (!status.ok() && !told) {
    Log(LogLevel::kWarning,
        "a witness did not cosign",
        {{"witness", name}, {"origin", shard.origin()}, {"error", progress.error}});
  }
  if (progress.rollback && options_.on_rollback) {
    options_.on_rollback(ErrorF(StatusCode::kDataLoss,
                                "ROLLBACK_DETECTED: witness %s on %s: %s",
                                name,
                                shard.origin(),
                                progress.error));
  }
}

// One request, and a second one if the witness knows another size than was thought.
Status WitnessClient::Exchange(ShardReader& shard,
                               const TrustPolicy::Party& witness,
                               Progress& progress) {
  const uint64_t size = shard.checkpoint().checkpoint.size;
  const std::string url = UrlOf(witness);
  for (int attempt = 0; attempt < 2; ++attempt) {
    ASSIGN_OR_RETURN(const AddCheckpointRequest request, MakeAddCheckpoint(shard, progress.size));
    ASSIGN_OR_RETURN(const HttpAnswer answer, options_.post(url, EncodeAddCheckpoint(request)));
    if (answer.status == 200) {
      const std::string& note = shard.note();
      ASSIGN_OR_RETURN(const std::string cosigned, AddCosignatures(note, answer.body, witness.key));
      progress.line = cosigned.substr(note.size());
      progress.size = progress.line_size = size;
      progress.cosigned_at = options_.clock->WallNow();
      return OkStatus();
    }
    if (answer.status != 409) {
      return Refused(answer);
    }
    ASSIGN_OR_RETURN(progress.size, ConflictSize(answer));
    if (progress.size > size) {
      return ErrorF(StatusCode::kDataLoss, "it saw %d leaves, the log has %d", progress.size, size);
    }
  }
  return ErrorF(StatusCode::kUnavailable, "it changes its mind about what it saw");
}

// Hands the note on with the cosignatures that are for it, and keeps it if they are enough.
Status WitnessClient::Keep(ShardReader& shard) {
  const uint64_t size = shard.checkpoint().checkpoint.size;
  std::string note = shard.note();
  bool more = false;
  {
    MutexLock lock(mutex_);
    for (const auto& [key, progress] : progress_) {
      const bool for_it = key.second == shard.origin() && progress.line_size == size;
      if (for_it && note.find(progress.line) == std::string::npos) {
        note += progress.line;
        more = true;
      }
    }
  }
  if (!more) {
    return OkStatus();
  }
  options_.publish(note);
  ASSIGN_OR_RETURN(const SignedCheckpoint cosigned, options_.policy.OpenLog(note));
  if (!options_.policy.CheckQuorum(cosigned).ok()) {
    return OkStatus();  // what enough witnesses cosigned before stays
  }
  RETURN_IF_ERROR(
      WriteFileDurably(*options_.files, shard.folder(), std::string(kWitnessedFile), note));
  return OkStatus();
}

std::vector<WitnessClient::State> WitnessClient::States() const {
  std::vector<State> states;
  MutexLock lock(mutex_);
  for (const auto& [key, progress] : progress_) {
    const TrustPolicy::Party& witness = options_.policy.witnesses().at(key.first);
    states.push_back({.name = key.first,
                      .vkey = witness.key.VKey(),
                      .url = witness.url,
                      .origin = key.second,
                      .cosigned_size = progress.line_size,
                      .log_size = progress.log_size,
                      .cosigned_at = progress.cosigned_at,
                      .error = progress.error});
  }
  return states;
}

}  // namespace inferd
