#include "daemon/replay_runner.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <utility>

#include "base/thread_annotations.h"
#include "daemon/error_map.h"
#include "inferd/v1/generation.pb.h"

namespace inferd {
namespace {

constexpr auto kCancelPoll = std::chrono::milliseconds(100);

// Puts a call's answer together for the thread that waits for it.
class Collector final : public CallWriter {
 public:
  Collector(EgressThread& egress, int32_t num_choices)
      : egress_(egress), choices_(static_cast<size_t>(num_choices)) {}

  // Before the call is handed over. The call has this writer: it is let go at its end.
  void set_call(CallPtr call) { call_ = std::move(call); }

  void Write(const v1::GenerateStreamResponse& message) override {
    Add(message);
    egress_.WriteDone(call_, true);
  }
  void Finish(const v1::GenerateStreamResponse* last,
              const Status& status,
              const AuditReceipt* /*record*/) override {
    if (last != nullptr) {
      Add(*last);
    }
    call_ = nullptr;
    MutexLock lock(mutex_);
    ended_ = status;
    changed_.notify_one();
  }
  void Kill() override {}  // no write is ever outstanding

  // The status that ended the call, if it has within the time.
  std::optional<Status> WaitFor(std::chrono::milliseconds time) {
    MutexLock lock(mutex_);
    changed_.wait_for(
        lock.std_lock(), time, [this]() NO_THREAD_SAFETY_ANALYSIS { return ended_.has_value(); });
    return ended_;
  }
  // Once it has ended.
  std::vector<AnsweredChoice> TakeChoices() { return std::move(choices_); }

 private:
  void Add(const v1::GenerateStreamResponse& message) {
    if (!message.has_finished()) {
      return;
    }
    const v1::Finished& finished = message.finished();
    AnsweredChoice& choice = choices_.at(static_cast<size_t>(finished.index()));
    choice.tokens.assign(finished.output().token_ids().begin(),
                         finished.output().token_ids().end());
    choice.finish = finished.finish_reason() == v1::FINISH_REASON_LENGTH ? FinishReason::kLength
                                                                         : FinishReason::kStop;
  }

  EgressThread& egress_;
  CallPtr call_;
  std::vector<AnsweredChoice> choices_;  // egress thread; after the end whoever waited
  Mutex mutex_;
  std::condition_variable changed_;
  std::optional<Status> ended_ GUARDED_BY(mutex_);
};

// Counts one while it lives.
class Place {
 public:
  explicit Place(std::atomic<int32_t>& count) : count_(count), number_(++count) {}
  ~Place() { --count_; }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  int32_t number() const { return number_; }

 private:
  std::atomic<int32_t>& count_;
  const int32_t number_;
};

}  // namespace

int32_t LastClass(const Config& config) {
  const std::vector<ClassEntry>& classes = config.scheduler.classes;
  const auto last =
      std::max_element(classes.begin(), classes.end(), [](const auto& a, const auto& b) {
        return a.order < b.order;
      });
  return static_cast<int32_t>(last - classes.begin());
}

StatusOr<std::vector<AnsweredChoice>> ReplayRunner::Run(PreparedGeneration prepared,
                                                        const Caller& caller,
                                                        const std::function<bool()>& cancelled) {
  const Place place(running_);
  if (place.number() > kReplaysMax) {
    return MakeError(Reason::kQueueFull, "replays are computed already; try again later");
  }
  auto collector = std::make_shared<Collector>(parts_.egress, prepared.request.n);
  auto call = std::make_shared<GenerationCall>(
      CallScope(parts_.clock, "ReplayService/Replay", "", caller), collector);
  call->replay = true;
  call->facts = std::move(prepared.facts);
  GenerationRequest& request = prepared.request;
  request.request_id = RequestId(call->scope.request_id());
  request.tenant = TenantId(kReplayTenant);
  request.service_class = parts_.service_class;
  request.arrival = parts_.clock.Now();
  request.deadline = request.arrival + parts_.duration_max;
  collector->set_call(call);
  Status status = parts_.registry.Enter(call);
  if (status.ok()) {
    status = FromRoom(parts_.registry.Submit(call, parts_.backend, std::move(request)));
  }
  parts_.egress.HandOver(call, status);
  bool asked = false;
  for (;;) {
    if (const auto ended = collector->WaitFor(kCancelPoll); ended.has_value()) {
      RETURN_IF_ERROR(*ended);
      return collector->TakeChoices();
    }
    if (!asked && cancelled()) {
      asked = true;
      parts_.egress.Cancel(call);
    }
  }
}

}  // namespace inferd
