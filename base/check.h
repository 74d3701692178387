// CHECK(condition): a broken invariant ends the process, in release too. No tenant input may
// reach one: bad input is a Status. DCHECK: the same in debug builds alone, for hot loops.
#pragma once

namespace inferd {

// Writes "file:line: CHECK failed: what" to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* what);

}  // namespace inferd

#define CHECK(condition)                                     \
  do {                                                       \
    if (!(condition)) {                                      \
      ::inferd::CheckFailed(__FILE__, __LINE__, #condition); \
    }                                                        \
  } while (false)

#ifdef NDEBUG
#define DCHECK(condition) \
  do {                    \
    if (false) {          \
      (void)(condition);  \
    }                     \
  } while (false)
#else
#define DCHECK(condition) CHECK(condition)
#endif
