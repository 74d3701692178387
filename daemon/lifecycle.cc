#include "daemon/lifecycle.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/check.h"
#include "base/log.h"
#include "daemon/audit_state.h"
#include "daemon/backends.h"
#include "daemon/daemon.h"
#include "daemon/identity_state.h"
#include "governance/keys/tls_files.h"

namespace inferd {
namespace {

constexpr int kTickMs = 1000;

// The signals that end the process and the one that asks for a reload, as something to poll. Blocks
// them: make it before any thread.
class EndSignals {
 public:
  EndSignals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
    fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    CHECK(fd_ >= 0);
  }
  ~EndSignals() { close(fd_); }
  EndSignals(const EndSignals&) = delete;
  EndSignals& operator=(const EndSignals&) = delete;

  // Takes one that has come: its number, or 0.
  int Take() {
    signalfd_siginfo info = {};
    return read(fd_, &info, sizeof(info)) == sizeof(info) ? static_cast<int>(info.ssi_signo) : 0;
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Something that another thread does while this one watches the signals.
class Background {
 public:
  template <typename Work>
  explicit Background(Work work) : fd_(eventfd(0, EFD_CLOEXEC)) {
    CHECK(fd_ >= 0);
    thread_ = std::thread([this, work = std::move(work)] {
      work();
      const uint64_t one = 1;
      CHECK(write(fd_, &one, sizeof(one)) == sizeof(one));
    });
  }
  ~Background() {
    thread_.join();
    close(fd_);
  }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
  std::thread thread_;
};

enum class Event { kTick, kSignal, kReload, kDone };

Event Wait(EndSignals& signals, const Background* background, int timeout_ms) {
  pollfd fds[2] = {
      {.fd = signals.fd(), .events = POLLIN, .revents = 0},
      {.fd = background != nullptr ? background->fd() : -1, .events = POLLIN, .revents = 0}};
  poll(fds, 2, timeout_ms);
  if ((fds[0].revents & POLLIN) != 0) {
    if (const int signal = signals.Take(); signal != 0) {
      return signal == SIGHUP ? Event::kReload : Event::kSignal;
    }
  }
  return (fds[1].revents & POLLIN) != 0 ? Event::kDone : Event::kTick;
}

// A line for whoever started us.
void Announce(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

int Fail(const Status& status) {
  Log(LogLevel::kError, "cannot serve", {{"error", std::string(Message(status))}});
  return kExitFailure;
}

// Loads on a thread of its own; OK false if a signal came first, and then the load is awaited.
struct LoadOutcome {
  Status status;
  bool interrupted = false;
};

LoadOutcome Load(Daemon& daemon, EndSignals& signals) {
  LoadOutcome outcome;
  {
    const Background load([&] {
      outcome.status = daemon.LoadModels([](const std::string& line) {
        // Loading large models takes longer than a start-up may; each line buys more time.
        sd_notifyf(0, "STATUS=%s\nEXTEND_TIMEOUT_USEC=60000000", line.c_str());
      });
    });
    while (true) {
      const Event event = Wait(signals, &load, kTickMs);
      if (event == Event::kDone) {
        break;
      }
      if (event == Event::kSignal && outcome.interrupted) {
        std::_Exit(kExitFailure);
      }
      outcome.interrupted = outcome.interrupted || event == Event::kSignal;
    }
  }
  return outcome;
}

void Drain(Daemon& daemon, const Config& config, EndSignals& signals) {
  Log(LogLevel::kInfo, "draining", {{"in_flight", std::to_string(daemon.generations_in_flight())}});
  sd_notify(0, "STOPPING=1\nSTATUS=draining");
  daemon.BeginDrain();
  const TimePoint close = SystemClock().Now() + config.drain.delay;
  bool forced = false;
  while (!forced && SystemClock().Now() < close) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(close - SystemClock().Now()).count();
    forced = Wait(signals, nullptr, static_cast<int>(left) + 1) == Event::kSignal;
  }
  if (forced) {
    daemon.Abort();
  }
  const Background finish([&] { daemon.FinishDrain(); });
  while (true) {
    const Event event = Wait(signals, &finish, kTickMs);
    if (event == Event::kDone) {
      return;
    }
    if (event == Event::kSignal) {
      if (forced) {
        std::_Exit(kExitFailure);
      }
      forced = true;
      daemon.Abort();
    }
  }
}

void Reload(Daemon& daemon) {
  const int64_t now_us =
      std::chrono::duration_cast<std::chrono::microseconds>(SystemClock().Now().time_since_epoch())
          .count();
  sd_notify(0, absl::StrFormat("RELOADING=1\nMONOTONIC_USEC=%d", now_us).c_str());
  const Status status = daemon.Reload();
  sd_notifyf(0,
             "READY=1\nSTATUS=serving on %s%s",
             daemon.address().c_str(),
             status.ok() ? "" : "; the last reload was refused, see the log");
}

}  // namespace

int RunDaemon(const Config& config) {
  EndSignals signals;
  auto device = MakeDevice(config.device);
  if (!device.ok()) {
    return Fail(device.status());
  }
  auto started = Daemon::Start(config, *std::move(device));
  if (!started.ok()) {
    return Fail(started.status());
  }
  const std::unique_ptr<Daemon> daemon = *std::move(started);
  Log(LogLevel::kInfo, "listening", {{"address", daemon->address()}});
  const LoadOutcome loaded = Load(*daemon, signals);
  if (!loaded.status.ok()) {
    return Fail(loaded.status);
  }
  Status failed;
  if (!loaded.interrupted) {
    daemon->Tick();
    Log(LogLevel::kInfo, "ready");
    Announce("listening " + daemon->address());
    sd_notifyf(0, "READY=1\nSTATUS=serving on %s", daemon->address().c_str());
    Event event = Event::kTick;
    while (failed.ok() && event != Event::kSignal) {
      event = Wait(signals, nullptr, kTickMs);
      if (event == Event::kReload) {
        Reload(*daemon);
      }
      daemon->Tick();
      failed = daemon->audit_status();
    }
  }
  if (!failed.ok()) {
    Log(LogLevel::kError,
        "the audit log failed: stopping, so that the next start recovers it",
        {{"error", std::string(Message(failed))}});
  }
  Drain(*daemon, config, signals);
  Log(LogLevel::kInfo, "stopped");
  return failed.ok() ? kExitOk : kExitFailure;
}

int RunCheckConfig(const Config& config) {
  Status status = IdentityState::Open(config).status();
  if (const auto& tls = config.data.tls; status.ok() && !tls.certificate.empty()) {
    status = ReadTlsMaterial({tls.certificate, tls.key, tls.client_ca}, SystemClock().WallNow())
                 .status();
  }
  if (!status.ok()) {
    std::fputs((std::string(Message(status)) + "\n").c_str(), stderr);
  }
  return status.ok() ? kExitOk : kExitConfig;
}

int RunRebuildIndex(const Config& config) {
  TimePoint shown{};
  uint64_t leaves = 0;
  const Status status = RebuildAuditIndex(config, [&](uint64_t done, uint64_t total) {
    leaves = done;
    if (SystemClock().Now() - shown > std::chrono::seconds(1)) {
      shown = SystemClock().Now();
      Announce(absl::StrFormat("indexed %d of %d leaves of this shard", done, total));
    }
  });
  if (!status.ok()) {
    return Fail(status);
  }
  Announce(absl::StrFormat("index rebuilt; %d leaves in the last shard", leaves));
  return kExitOk;
}

}  // namespace inferd
