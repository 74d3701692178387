// EventQueue: what happens next, on a virtual clock.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"

namespace inferd::sim {

// A heap of events in order of time, those of one instant in the order they were pushed: the same
// pushes give the same pops everywhere. The clock stands at the event popped last. One thread.
template <typename Event>
class EventQueue {
 public:
  // `at` is not before now().
  void Push(TimePoint at, Event event) {
    CHECK(at >= now_);
    heap_.push_back({at, next_number_++, std::move(event)});
    std::push_heap(heap_.begin(), heap_.end(), Later);
  }

  // The next event; the clock moves to it. There is one.
  Event Pop() {
    CHECK(!heap_.empty());
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    Entry entry = std::move(heap_.back());
    heap_.pop_back();
    now_ = entry.at;
    return std::move(entry.event);
  }

  TimePoint next_at() const { return heap_.front().at; }
  TimePoint now() const { return now_; }
  bool empty() const { return heap_.empty(); }
  size_t size() const { return heap_.size(); }

 private:
  struct Entry {
    TimePoint at;
    uint64_t number = 0;
    Event event;
  };
  static bool Later(const Entry& a, const Entry& b) {
    return a.at != b.at ? a.at > b.at : a.number > b.number;
  }

  std::vector<Entry> heap_;
  TimePoint now_{};
  uint64_t next_number_ = 0;
};

}  // namespace inferd::sim
