#include "client/audit_text.h"

#include <ctime>
#include <ostream>

#include "base/status.h"
#include "client/table.h"

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

Progress::Progress(Terminal& terminal, Unit unit)
    : terminal_(terminal),
      unit_(unit),
      start_(SystemClock().Now()),
      last_(terminal.err_is_tty ? TimePoint() : start_) {}

Progress::~Progress() {
  if (shown_ && terminal_.err_is_tty) {
    terminal_.err << '\n';
  }
}

void Progress::Show(uint64_t done, uint64_t total) {
  const TimePoint now = SystemClock().Now();
  const Duration period = std::chrono::seconds(terminal_.err_is_tty ? 1 : 10);
  if (now - last_ < period && !(terminal_.err_is_tty && done == total)) {
    return;
  }
  last_ = now;
  shown_ = true;
  terminal_.err << (terminal_.err_is_tty ? "\r" : "") << Text(done, total, now)
                << (terminal_.err_is_tty ? "   " : "\n") << std::flush;
}

std::string Progress::Text(uint64_t done, uint64_t total, TimePoint now) const {
  if (total == 0) {
    return absl::StrFormat("%d files", done);
  }
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0.0;
  return unit_ == Unit::kRecords
             ? absl::StrFormat("%d of %d records, %.0f records/s", done, total, rate)
             : absl::StrFormat(
                   "%s of %s hashed, %d %%, %s/s",
                   FormatBytes(done),
                   FormatBytes(total),
                   static_cast<int>(100.0 * static_cast<double>(done) / static_cast<double>(total)),
                   FormatBytes(static_cast<uint64_t>(rate)));
}

}  // namespace inferd
