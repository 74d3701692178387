#include "client/load_generator.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "base/check.h"
#include "base/random.h"

namespace inferd {
namespace {

double Ms(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

}  // namespace

std::vector<Duration> PoissonArrivals(double rate_per_s, int32_t count, uint64_t seed) {
  CHECK(rate_per_s > 0 && count >= 0);
  SplitMix64 random(seed);
  std::vector<Duration> arrivals;
  arrivals.reserve(static_cast<size_t>(count));
  double at_s = 0;
  for (int32_t i = 0; i < count; ++i) {
    arrivals.push_back(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(at_s)));
    at_s -= std::log1p(-random.Unit()) / rate_per_s;
  }
  return arrivals;
}

std::vector<RequestSample> RunLoad(const LoadOptions& options,
                                   const SendRequest& send,
                                   const std::function<void(int32_t done)>& on_done) {
  const bool open_loop = options.rate_per_s > 0;
  const std::vector<Duration> arrivals =
      open_loop ? PoissonArrivals(options.rate_per_s, options.requests, options.seed)
                : std::vector<Duration>();
  std::vector<RequestSample> samples(static_cast<size_t>(options.requests));
  std::atomic<int32_t> next = 0;
  std::atomic<int32_t> done = 0;
  const TimePoint start = SystemClock().Now();
  const auto work = [&](int32_t worker) {
    for (int32_t i = next++; i < options.requests; i = next++) {
      RequestSample& sample = samples[static_cast<size_t>(i)];
      const TimePoint intended =
          open_loop ? start + arrivals[static_cast<size_t>(i)] : SystemClock().Now();
      if (options.duration && intended - start > *options.duration) {
        next = options.requests;
        return;
      }
      std::this_thread::sleep_until(intended);
      sample.intended = intended;
      sample.sent = SystemClock().Now();
      send(i, worker, sample);
      sample.ended = SystemClock().Now();
      const int32_t count = ++done;
      if (on_done) {
        on_done(count);
      }
    }
  };
  const int32_t num_workers = std::min(options.concurrency, options.requests);
  std::vector<std::thread> workers;
  workers.reserve(static_cast<size_t>(num_workers));
  for (int32_t worker = 0; worker < num_workers; ++worker) {
    workers.emplace_back(work, worker);
  }
  for (std::thread& worker : workers) {
    worker.join();
  }
  std::erase_if(samples, [](const RequestSample& sample) { return sample.ended == TimePoint(); });
  return samples;
}

LoadReport Report(const std::vector<RequestSample>& samples) {
  LoadReport report;
  if (samples.empty()) {
    return report;
  }
  std::vector<double> ttft, itl, tpot, e2e, lag;
  TimePoint first = TimePoint::max();
  TimePoint last = TimePoint::min();
  for (const RequestSample& sample : samples) {
    first = std::min(first, sample.intended);
    last = std::max(last, sample.ended);
    lag.push_back(Ms(sample.sent - sample.intended));
    if (!sample.status.ok()) {
      ++report.failed[absl::StatusCodeToString(sample.status.code())];
      if (report.first_error.empty()) {
        report.first_error = Message(sample.status);
      }
      continue;
    }
    ++report.completed;
    report.prompt_tokens += sample.prompt_tokens;
    report.output_tokens += sample.output_tokens;
    e2e.push_back(Ms(sample.ended - sample.intended));
    if (sample.outputs.empty()) {
      continue;
    }
    ttft.push_back(Ms(sample.outputs.front() - sample.intended));
    for (size_t i = 1; i < sample.outputs.size(); ++i) {
      itl.push_back(Ms(sample.outputs[i] - sample.outputs[i - 1]));
    }
    if (sample.output_tokens > 1) {
      tpot.push_back(Ms(sample.outputs.back() - sample.outputs.front()) /
                     static_cast<double>(sample.output_tokens - 1));
    }
  }
  report.duration_s = Ms(last - first) / 1e3;
  if (report.duration_s > 0) {
    report.requests_per_s = static_cast<double>(report.completed) / report.duration_s;
    report.output_tokens_per_s = static_cast<double>(report.output_tokens) / report.duration_s;
  }
  report.ttft_ms = Summarise(std::move(ttft));
  report.itl_ms = Summarise(std::move(itl));
  report.tpot_ms = Summarise(std::move(tpot));
  report.e2e_ms = Summarise(std::move(e2e));
  report.lag_ms = Summarise(std::move(lag));
  return report;
}

}  // namespace inferd
