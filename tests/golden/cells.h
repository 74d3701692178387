// The golden files of logits: an independent implementation's log-probabilities ("cells"), and KL
// against them. File formats: README.md.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace inferd {

// What the reference says of the token after one position: its most probable tokens, and the log of
// the mass of all others.
struct GoldenCells {
  int64_t position = 0;
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;  // of `tokens`
  float log_rest = 0.0f;
};

struct GoldenSequence {
  std::vector<TokenId> tokens;
  std::vector<GoldenCells> cells;  // of the positions that were kept
};

// Logits [tokens.size(), vocab_size] of a whole sequence.
struct GoldenLogits {
  std::vector<TokenId> tokens;
  int64_t vocab_size = 0;
  std::vector<float> values;
};

// The bytes of a gzip file, at most `size_bytes_max`.
StatusOr<std::string> ReadGzip(const std::string& path, uint64_t size_bytes_max);

// kNotFound if there is no file, kDataLoss if it is not of the format.
StatusOr<std::vector<GoldenSequence>> ReadCells(const std::string& path);
StatusOr<GoldenLogits> ReadLogits(const std::string& path);

// ln softmax, in f64.
std::vector<double> LogSoftmax(std::span<const float> logits);

// KL(reference || softmax(logits)) over the cells and one more for the rest, in nats.
double KlToCells(const GoldenCells& cells, std::span<const float> logits);

}  // namespace inferd
