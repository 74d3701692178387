// Interrupt: ^C ends one answer instead of the program.
#pragma once

#include <stop_token>
#include <thread>

namespace inferd {

// While it lives, SIGINT requests a stop of token() instead of ending the process. One at a time;
// made and destroyed on one thread.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return stop_.get_token(); }

 private:
  void (*previous_)(int) = nullptr;
  std::stop_source stop_;
  std::jthread watcher_;  // a handler may not request a stop itself
};

}  // namespace inferd
