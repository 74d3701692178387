// The C interface to the crates that parse untrusted text: `tokenizers`, `fancy-regex` and
// `minijinja`. Used by the room `text` alone.
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

// ---- Segmenter: text to token ids, without special tokens ----

typedef enum RustSegmenterKind {
  kRustByteLevelBpe = 0,  // split by the patterns, bytes as GPT-2's characters, then BPE
  kRustPlainBpe = 1,      // BPE over the characters of the whole text
  kRustWordPiece = 2,     // BERT's normalisation and word split, then WordPiece
} RustSegmenterKind;

typedef struct RustSegmenterSpec {
  RustSegmenterKind kind;
  // The vocabulary: token_texts[i] has the id token_ids[i].
  const RustSlice* token_texts;
  const uint32_t* token_ids;
  size_t token_count;
  // BPE: 2 * merge_count indices into token_texts, left and right of each merge, best first. The
  // joined text must be in the vocabulary.
  const uint32_t* merges;
  size_t merge_count;
  // Byte-level BPE: regular expressions, applied one after the other; each isolates its matches.
  const RustSlice* patterns;
  size_t pattern_count;
  uint8_t ignore_merges;   // BPE: a whole word that is a token is that token
  uint8_t byte_fallback;   // BPE: a character without a token becomes its <0xNN> tokens
  RustSlice unknown_text;  // the token for what has none, or empty; runs of it are fused
} RustSegmenterSpec;

typedef struct RustSegmenter RustSegmenter;

RustCode RustSegmenterNew(const RustSegmenterSpec* spec,
                          RustSegmenter** segmenter,
                          RustBuffer* error);
void RustSegmenterFree(RustSegmenter* segmenter);
// Ids of `text`, which must be UTF-8.
RustCode RustSegmenterEncode(const RustSegmenter* segmenter,
                             RustSlice text,
                             RustIds* ids,
                             RustBuffer* error);

// ---- Chat template: Jinja2 as Python's `transformers` sets it up ----

typedef struct RustTemplateLimits {
  uint64_t fuel;            // steps of the template's machine
  uint64_t memory_bytes;    // held at one time while rendering
  uint64_t output_bytes;    // of the result
  uint64_t timeout_millis;  // wall clock
} RustTemplateLimits;

typedef struct RustTemplate RustTemplate;

RustCode RustTemplateNew(RustSlice source, RustTemplate** chat_template, RustBuffer* error);
void RustTemplateFree(RustTemplate* chat_template);
// `variables` is a JSON object; the objects `tools` (a JSON array, or empty) and `extra` (a JSON
// object, or empty) are joined to it, `extra` last. Rendering that runs out of memory or time
// leaves a stopped thread behind, so a template may do so only a few times and is then refused.
RustCode RustTemplateRender(const RustTemplate* chat_template,
                            RustSlice variables,
                            RustSlice tools,
                            RustSlice extra,
                            const RustTemplateLimits* limits,
                            RustBuffer* text,
                            RustBuffer* error);

#ifdef __cplusplus
}  // extern "C"
#endif
