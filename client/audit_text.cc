#include "client/audit_text.h"

#include <ctime>
#include <ostream>

#include "base/status.h"

namespace inferd {

std::string UtcNow() {
  const auto seconds = static_cast<std::time_t>(
      std::chrono::duration_cast<std::chrono::seconds>(SystemClock().WallNow().time_since_epoch())
          .count());
  std::tm civil = {};
  gmtime_r(&seconds, &civil);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &civil);
  return text;
}

Progress::~Progress() {
  if (shown_ && terminal_.err_is_tty) {
    terminal_.err << '\n';
  }
}

void Progress::Show(uint64_t done, uint64_t total) {
  const TimePoint now = SystemClock().Now();
  const Duration period = std::chrono::seconds(terminal_.err_is_tty ? 1 : 10);
  if (now - last_ < period && done != total) {
    return;
  }
  last_ = now;
  shown_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0.0;
  const std::string text =
      total == 0 ? absl::StrFormat("%d files", done)
                 : absl::StrFormat("%d of %d records, %.0f records/s", done, total, rate);
  terminal_.err << (terminal_.err_is_tty ? "\r" : "") << text
                << (terminal_.err_is_tty ? "   " : "\n") << std::flush;
}

}  // namespace inferd
