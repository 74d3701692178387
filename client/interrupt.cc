#include "client/interrupt.h"

#include <chrono>
#include <csignal>

namespace inferd {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(20);
volatile std::sig_atomic_t g_interrupted = 0;

void OnInterrupt(int) { g_interrupted = 1; }

}  // namespace

Interrupt::Interrupt() {
  g_interrupted = 0;
  previous_ = std::signal(SIGINT, OnInterrupt);
  watcher_ = std::jthread([this](const std::stop_token& ended) {
    while (!ended.stop_requested() && !stop_.stop_requested()) {
      if (g_interrupted != 0) {
        stop_.request_stop();
      }
      std::this_thread::sleep_for(kPollInterval);
    }
  });
}

Interrupt::~Interrupt() {
  watcher_.request_stop();
  watcher_.join();
  if (previous_ != SIG_ERR) {
    std::signal(SIGINT, previous_);
  }
}

}  // namespace inferd
