#include "cpu/sampling.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/random.h"
#include "cpu/reproducible_math.h"

namespace inferd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Peak {
  float value = -kInfinity;
  TokenId token = 0;
};

// The largest value and the lowest id that has it. NaN is below everything.
Peak FindPeak(std::span<const float> values) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> lanes{};
  lanes.fill(-kInfinity);
  const size_t whole = values.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      const float value = values[i + j];
      lanes[j] = value > lanes[j] ? value : lanes[j];
    }
  }
  for (size_t i = whole; i < values.size(); ++i) {
    lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
  }
  const float peak = *std::max_element(lanes.begin(), lanes.end());
  const auto it = std::find(values.begin(), values.end(), peak);
  return {peak, it == values.end() ? 0 : static_cast<TokenId>(it - values.begin())};
}

// The sum of e^(value - peak): 8 lanes, then one tree.
double SumOfExp(std::span<const float> values, double peak) {
  constexpr size_t kLanes = 8;
  constexpr size_t kChunk = 64;
  std::array<double, kLanes> lanes{};
  std::array<double, kChunk> terms;
  for (size_t start = 0; start < values.size(); start += kChunk) {
    const size_t n = std::min(kChunk, values.size() - start);
    terms.fill(0.0);
    for (size_t j = 0; j < n; ++j) {
      terms[j] = ReproducibleExp(static_cast<double>(values[start + j]) - peak);
    }
    for (size_t j = 0; j < kChunk; j += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] += terms[j + lane];
      }
    }
  }
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

// The random words of one draw's tokens.
class GumbelNoise {
 public:
  explicit GumbelNoise(const SampleRow& row)
      : key_{static_cast<uint32_t>(row.params->seed),
             static_cast<uint32_t>(row.params->seed >> 32)},
        choice_(static_cast<uint32_t>(row.choice)),
        position_low_(static_cast<uint32_t>(row.position)),
        position_high_(static_cast<uint32_t>(static_cast<uint64_t>(row.position) >> 32) * 2u) {}

  // The high words of tokens 4 * block .. 4 * block + 3.
  std::array<uint32_t, 4> HighWords(uint32_t block) const {
    return Philox4x32({block, choice_, position_low_, position_high_}, key_);
  }
  // g of a token, given its high word.
  double Gumbel(TokenId token, uint32_t high_word) const {
    const auto id = static_cast<uint32_t>(token);
    const uint32_t low_word =
        Philox4x32({id / 4, choice_, position_low_, position_high_ + 1}, key_)[id % 4];
    const uint64_t bits = (uint64_t{high_word} << 32 | low_word) >> 12;
    const double uniform = (static_cast<double>(bits) + 0.5) * 0x1p-52;
    return -ReproducibleLog(-ReproducibleLog(uniform));
  }

 private:
  std::array<uint32_t, 2> key_;
  uint32_t choice_;
  uint32_t position_low_;
  uint32_t position_high_;
};

// An upper bound of g from the high word alone, without a logarithm. u < (high + 1) / 2^32, so
// -ln u >= 1 - u > w / 2^32 with w = 2^32 - 1 - high, and g < ln 2 * (32 - log2 w). log2 of a float
// is at least its bit pattern / 2^23 - 127. One bit of w is dropped to convert it as a signed
// number; the slack covers every rounding here.
float GumbelBound(uint32_t high_word) {
  constexpr float kLn2 = 0.69314718f;
  constexpr float kSlack = 0.001f;
  const auto w = static_cast<float>(static_cast<int32_t>(~high_word >> 1));
  const auto bits = static_cast<float>(std::bit_cast<int32_t>(w));
  return kLn2 * (32.0f - 1.0f + 127.0f - bits * 0x1p-23f) + kSlack;
}

// The running maximum of z + g.
class BestScore {
 public:
  explicit BestScore(const GumbelNoise& noise) : noise_(noise) {}

  // False for NaN.
  bool CanWin(float z, uint32_t high_word) const { return z + GumbelBound(high_word) >= floor_; }
  float floor() const { return floor_; }
  void Offer(float z, TokenId token, uint32_t high_word) {
    const double score = static_cast<double>(z) + noise_.Gumbel(token, high_word);
    if (score > score_ || (score == score_ && token < token_)) {
      score_ = score;
      token_ = token;
      floor_ = std::nextafter(static_cast<float>(score), -kInfinity);
    }
  }
  TokenId token() const { return token_; }

 private:
  const GumbelNoise& noise_;
  double score_ = -std::numeric_limits<double>::infinity();
  TokenId token_ = 0;
  float floor_ = -kInfinity;  // at most score_
};

// The draw without truncation: every token takes part, almost none needs a logarithm.
TokenId DrawFromAll(std::span<const float> logits,
                    const Peak& peak,
                    float temperature,
                    const SampleRow& row) {
  constexpr size_t kChunk = 64;
  const GumbelNoise noise(row);
  BestScore best(noise);
  const auto peak_id = static_cast<uint32_t>(peak.token);
  best.Offer(0.0f, peak.token, noise.HighWords(peak_id / 4)[peak_id % 4]);
  std::array<float, kChunk> z;
  std::array<uint32_t, kChunk> words;
  for (size_t start = 0; start < logits.size(); start += kChunk) {
    const size_t n = std::min(kChunk, logits.size() - start);
    for (size_t j = 0; j < n; ++j) {
      z[j] = (logits[start + j] - peak.value) / temperature;
    }
    std::fill(z.begin() + static_cast<std::ptrdiff_t>(n), z.end(), -kInfinity);
    for (size_t j = 0; j < kChunk; j += 4) {
      const std::array<uint32_t, 4> four = noise.HighWords(static_cast<uint32_t>((start + j) / 4));
      std::copy(four.begin(), four.end(), words.begin() + static_cast<std::ptrdiff_t>(j));
    }
    int32_t hopeful = 0;
    const float floor = best.floor();
    for (size_t j = 0; j < kChunk; ++j) {
      hopeful |= z[j] + GumbelBound(words[j]) >= floor ? 1 : 0;
    }
    for (size_t j = 0; hopeful != 0 && j < n; ++j) {
      if (best.CanWin(z[j], words[j])) {
        best.Offer(z[j], static_cast<TokenId>(start + j), words[j]);
      }
    }
  }
  return best.token();
}

// Buckets of z, 64 for each nat below the peak; the last holds the rest.
constexpr size_t kBuckets = 2048;
size_t BucketOf(float z) {
  return static_cast<size_t>(std::min(z * -64.0f, static_cast<float>(kBuckets - 1)));
}

}  // namespace

bool Sampler::HasRules(const SampleRow& row) {
  return row.params->NeedsHistory() || !row.params->logit_bias.empty() || !row.suppressed.empty() ||
         row.mask != nullptr;
}

void Sampler::ApplyPenalties(const SampleRow& row) {
  const SamplingParams& params = *row.params;
  const auto vocab_size = static_cast<TokenId>(adjusted_.size());
  seen_.resize(std::max(seen_.size(), adjusted_.size()));
  output_counts_.resize(std::max(output_counts_.size(), adjusted_.size()));
  const auto touch = [&](TokenId token) {
    const bool known = token >= 0 && token < vocab_size;
    if (known && !seen_[static_cast<size_t>(token)]) {
      seen_[static_cast<size_t>(token)] = true;
      touched_.push_back(token);
    }
    return known;
  };
  if (params.repetition_penalty != 1.0f) {
    for (const TokenId token : row.prompt) {
      touch(token);
    }
  }
  for (const TokenId token : row.output) {
    if (touch(token)) {
      ++output_counts_[static_cast<size_t>(token)];
    }
  }
  for (const TokenId token : touched_) {
    const auto id = static_cast<size_t>(token);
    float& logit = adjusted_[id];
    logit = logit > 0.0f ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    if (output_counts_[id] > 0) {
      logit -= params.presence_penalty;
      logit -= params.frequency_penalty * static_cast<float>(output_counts_[id]);
    }
    seen_[id] = false;
    output_counts_[id] = 0;
  }
  touched_.clear();
}

void Sampler::ApplyRules(std::span<const float> logits, const SampleRow& row) {
  adjusted_.assign(logits.begin(), logits.end());
  if (row.params->NeedsHistory()) {
    ApplyPenalties(row);
  }
  const auto vocab_size = static_cast<TokenId>(adjusted_.size());
  for (const auto& [token, bias] : row.params->logit_bias) {
    if (token >= 0 && token < vocab_size) {
      adjusted_[static_cast<size_t>(token)] += bias;
    }
  }
  for (const TokenId token : row.suppressed) {
    if (token >= 0 && token < vocab_size) {
      adjusted_[static_cast<size_t>(token)] = -kInfinity;
    }
  }
  if (row.mask != nullptr) {
    for (size_t id = 0; id < adjusted_.size(); ++id) {
      if ((row.mask[id / 32] >> (id % 32) & 1u) == 0) {
        adjusted_[id] = -kInfinity;
      }
    }
  }
}

void Sampler::Collect(std::span<const float> logits, float peak, float temperature) {
  candidates_.clear();
  candidates_.reserve(logits.size());
  for (size_t id = 0; id < logits.size(); ++id) {
    const float z = (logits[id] - peak) / temperature;
    if (z > -kInfinity) {  // false for NaN
      candidates_.push_back({.z = z, .token = static_cast<TokenId>(id), .weight = 1});
    }
  }
}

void Sampler::KeepPrefix(uint64_t need) {
  std::array<uint64_t, kBuckets> mass{};
  for (const Candidate& candidate : candidates_) {
    mass[BucketOf(candidate.z)] += candidate.weight;
  }
  uint64_t before = 0;
  size_t last = 0;
  while (last < kBuckets && before + mass[last] < need) {
    before += mass[last++];
  }
  if (last == kBuckets) {
    return;  // all of them do not reach it
  }
  edge_.clear();
  size_t kept = 0;
  for (const Candidate& candidate : candidates_) {
    const size_t bucket = BucketOf(candidate.z);
    if (bucket < last) {
      candidates_[kept++] = candidate;
    } else if (bucket == last) {
      edge_.push_back(candidate);
    }
  }
  candidates_.resize(kept);
  // The first `low` of the edge do not suffice, the first `high` do.
  const auto more_probable = [](const Candidate& a, const Candidate& b) {
    return a.z > b.z || (a.z == b.z && a.token < b.token);
  };
  auto low = edge_.begin();
  auto high = edge_.end();
  while (high - low > 1) {
    const auto middle = low + (high - low) / 2;
    std::nth_element(low, middle, high, more_probable);
    uint64_t left = 0;
    for (auto it = low; it != middle; ++it) {
      left += it->weight;
    }
    if (before + left >= need) {
      high = middle;
    } else {
      before += left;
      low = middle;
    }
  }
  candidates_.insert(candidates_.end(), edge_.begin(), high);
}

void Sampler::Truncate(const SamplingParams& params) {
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < candidates_.size()) {
    KeepPrefix(static_cast<uint64_t>(params.top_k));
  }
  if (params.top_p < 1.0f) {
    uint64_t total = 0;
    for (Candidate& candidate : candidates_) {
      candidate.weight =
          static_cast<uint64_t>(ReproducibleExp(static_cast<double>(candidate.z)) * 0x1p40);
      total += candidate.weight;
    }
    const double share = static_cast<double>(params.top_p) * static_cast<double>(total);
    KeepPrefix(static_cast<uint64_t>(std::ceil(share)));
  }
  if (params.min_p > 0.0f) {
    const auto floor = static_cast<double>(params.min_p);
    std::erase_if(candidates_, [floor](const Candidate& candidate) {
      return ReproducibleExp(static_cast<double>(candidate.z)) < floor;
    });
  }
}

TokenId Sampler::DrawFromCandidates(const SampleRow& row) const {
  const GumbelNoise noise(row);
  BestScore best(noise);
  std::array<uint32_t, 4> words{};
  uint32_t block = std::numeric_limits<uint32_t>::max();
  for (const Candidate& candidate : candidates_) {
    const auto id = static_cast<uint32_t>(candidate.token);
    if (id / 4 != block) {
      block = id / 4;
      words = noise.HighWords(block);
    }
    if (best.CanWin(candidate.z, words[id % 4])) {
      best.Offer(candidate.z, candidate.token, words[id % 4]);
    }
  }
  return best.token();
}

SampledToken Sampler::Sample(std::span<const float> logits, const SampleRow& row) {
  const SamplingParams& params = *row.params;
  std::span<const float> values = logits;
  if (HasRules(row)) {
    ApplyRules(logits, row);
    values = adjusted_;
  }
  const Peak peak = FindPeak(values);
  SampledToken result{.token = peak.token, .logprob = 0.0f, .top = {}};
  const bool truncates = params.top_k > 0 || params.top_p < 1.0f || params.min_p > 0.0f;
  if (params.temperature > 0.0f && std::isfinite(peak.value)) {
    if (truncates) {
      Collect(values, peak.value, params.temperature);
      Truncate(params);
      result.token = DrawFromCandidates(row);
    } else {
      result.token = DrawFromAll(values, peak, params.temperature, row);
    }
  }
  if (params.logprobs >= 0) {
    ReportLogprobs(logits, params.logprobs, result);
  }
  return result;
}

void ReportLogprobs(std::span<const float> logits, int32_t n, SampledToken& result) {
  const auto peak = static_cast<double>(FindPeak(logits).value);
  const double sum = SumOfExp(logits, peak);
  const double log_sum = peak + ReproducibleLog(sum);
  const auto logprob = [&](TokenId token) {
    const auto logit = static_cast<double>(logits[static_cast<size_t>(token)]);
    if (!std::isfinite(peak)) {  // a broken row: all mass on its peak, no NaN for readers
      return logit == peak ? 0.0f : -kInfinity;
    }
    return static_cast<float>(logit - log_sum);
  };
  result.logprob = logprob(result.token);

  // The n largest, kept sorted; few of the row's tokens get past the smallest of them.
  std::vector<Peak> top;
  const auto limit = static_cast<size_t>(std::max(n, 0));
  top.reserve(limit + 1);
  for (size_t id = 0; id < logits.size() && limit > 0; ++id) {
    const float value = logits[id];
    if (std::isnan(value) || (top.size() == limit && !(value > top.back().value))) {
      continue;
    }
    const auto place = std::find_if(
        top.begin(), top.end(), [value](const Peak& other) { return value > other.value; });
    top.insert(place, {.value = value, .token = static_cast<TokenId>(id)});
    if (top.size() > limit) {
      top.pop_back();
    }
  }
  result.top.reserve(top.size());
  for (const Peak& entry : top) {
    result.top.push_back({.token = entry.token, .logprob = logprob(entry.token)});
  }
}

}  // namespace inferd
