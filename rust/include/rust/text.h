// The C interface to the crates that parse untrusted text: `tokenizers`, `fancy-regex` and
// `minijinja`. Used by the room `text` alone. rust/ffi.h says who owns what, how errors come back
// and which threads may call.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "rust/ffi.h"

#ifdef __cplusplus
extern "C" {
#endif

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
