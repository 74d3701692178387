// What the C headers of `rust` share: borrowed and owned memory, and the kinds of errors.
//
// Ownership: a RustSlice is borrowed for the duration of the call. What a call returns through a
// RustBuffer, a RustIds or a handle is the caller's, who gives it back with the matching `..Free`.
// Errors: every call that can fail returns a RustCode and, if that is not kRustOk, sets `*error` to
// a message in UTF-8 (the caller's to free) and leaves its other outputs as they were. A panic in a
// crate becomes kRustInternal; nothing unwinds or aborts across this interface, and the panic's own
// message, which may hold the text, is dropped.
// Threads: a handle may be used from any number of threads at once; freeing it ends that.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct RustSlice {
  const char* data;  // may be null if size is 0
  size_t size;
} RustSlice;

typedef struct RustBuffer {
  char* data;
  size_t size;
  size_t capacity;
} RustBuffer;

typedef struct RustIds {
  uint32_t* data;
  size_t size;
  size_t capacity;
} RustIds;

typedef enum RustCode {
  kRustOk = 0,
  kRustInvalid = 1,    // the input is at fault
  kRustExhausted = 2,  // a bound on steps, memory, output or time was reached
  kRustInternal = 3,   // a crate panicked, or a thread could not be started
} RustCode;

void RustBufferFree(RustBuffer buffer);
void RustIdsFree(RustIds ids);

#ifdef __cplusplus
}  // extern "C"
#endif
