// Goal: the draw follows the rules of SamplingParams in their order, has the right distribution,
// and depends on its keys alone. Method: a naive second implementation (full sort, libm),
// chi-square over positions, and pinned tokens that every machine must give.
#include "cpu/sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "base/random.h"
#include "cpu/reproducible_math.h"

namespace inferd {
namespace {

using ::testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> RandomLogits(size_t n, uint64_t seed, float spread = 2.0f) {
  SplitMix64 random(seed);
  std::vector<float> logits(n);
  for (float& logit : logits) {
    logit = spread * static_cast<float>(random.Unit() + random.Unit() + random.Unit() - 1.5);
  }
  return logits;
}

TokenId Draw(std::span<const float> logits, const SampleRow& row) {
  return Sampler().Sample(logits, row).token;
}

TokenId Greedy(const std::vector<float>& logits) {
  const SamplingParams params{.temperature = 0};
  return Draw(logits, {.params = &params});
}

// The documented rules, written again in the plainest way. Probabilities of what survives are in
// `probability` by token.
struct Naive {
  std::map<TokenId, double> probability;
  TokenId drawn = 0;
};

double Gumbel(const SampleRow& row, TokenId token) {
  const uint64_t seed = row.params->seed;
  const auto id = static_cast<uint32_t>(token);
  const auto word = [&](uint32_t last) {
    return Philox4x32({id / 4,
                       static_cast<uint32_t>(row.choice),
                       static_cast<uint32_t>(row.position),
                       static_cast<uint32_t>(row.position >> 32) * 2 + last},
                      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)})[id % 4];
  };
  const uint64_t bits = (uint64_t{word(0)} << 32 | word(1)) >> 12;
  return -std::log(-std::log((static_cast<double>(bits) + 0.5) * 0x1p-52));
}

Naive NaiveSample(std::vector<float> logits, const SampleRow& row) {
  const SamplingParams& params = *row.params;
  std::map<TokenId, int> counts;
  for (const TokenId token : row.prompt) {
    counts[token] += 0;
  }
  for (const TokenId token : row.output) {
    ++counts[token];
  }
  for (const auto& [token, count] : counts) {
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    if (count > 0) {
      logit = logit - params.presence_penalty;
      logit = logit - params.frequency_penalty * static_cast<float>(count);
    }
  }
  for (const auto& [token, bias] : params.logit_bias) {
    logits[static_cast<size_t>(token)] += bias;
  }
  for (const TokenId token : row.suppressed) {
    logits[static_cast<size_t>(token)] = -kInf;
  }
  std::vector<TokenId> order;
  for (size_t id = 0; id < logits.size(); ++id) {
    const bool allowed = row.mask == nullptr || (row.mask[id / 32] >> (id % 32) & 1) != 0;
    if (allowed && logits[id] > -kInf) {
      order.push_back(static_cast<TokenId>(id));
    }
  }
  const auto logit_of = [&](TokenId token) { return logits[static_cast<size_t>(token)]; };
  std::stable_sort(
      order.begin(), order.end(), [&](TokenId a, TokenId b) { return logit_of(a) > logit_of(b); });
  Naive result;
  result.drawn = order[0];
  if (params.temperature == 0) {
    return result;
  }
  const float peak = logit_of(order[0]);
  const auto z_of = [&](TokenId token) { return (logit_of(token) - peak) / params.temperature; };
  if (params.top_k > 0 && order.size() > static_cast<size_t>(params.top_k)) {
    order.resize(static_cast<size_t>(params.top_k));
  }
  if (params.top_p < 1) {
    double total = 0;
    for (const TokenId token : order) {
      total += std::exp(static_cast<double>(z_of(token)));
    }
    double sum = 0;
    size_t kept = 0;
    while (sum < static_cast<double>(params.top_p) * total) {
      sum += std::exp(static_cast<double>(z_of(order[kept++])));
    }
    order.resize(kept);
  }
  double best = -std::numeric_limits<double>::infinity();
  double total = 0;
  for (const TokenId token : order) {
    const double z = static_cast<double>(z_of(token));
    if (std::exp(z) < static_cast<double>(params.min_p)) {
      continue;
    }
    total += result.probability[token] = std::exp(z);
    const double score = z + Gumbel(row, token);
    if (score > best || (score == best && token < result.drawn)) {
      best = score;
      result.drawn = token;
    }
  }
  for (auto& [token, probability] : result.probability) {
    probability /= total;
  }
  return result;
}

TEST(ReproducibleMath, IsCloseToLibm) {
  SplitMix64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const double x = -700.0 * random.Unit() + 20.0 * random.Unit();
    EXPECT_NEAR(ReproducibleExp(x) / std::exp(x), 1.0, 5e-16) << x;
    const double y = std::exp(1400.0 * random.Unit() - 700.0);
    EXPECT_NEAR(ReproducibleLog(y), std::log(y), 3e-16 * std::max(std::abs(std::log(y)), 1.0)) << y;
    const double near_one = 1.0 - random.Unit() * 0x1p-20;
    EXPECT_NEAR(ReproducibleLog(near_one) / std::log(near_one), 1.0, 1e-15) << near_one;
  }
  EXPECT_EQ(ReproducibleExp(0.0), 1.0);
  EXPECT_EQ(ReproducibleLog(1.0), 0.0);
  EXPECT_EQ(ReproducibleExp(-kInf), ReproducibleExp(-700.0));
  EXPECT_EQ(ReproducibleExp(kNan), ReproducibleExp(-700.0));
}

// One digest of many results, taken once; another machine, compiler or level must give it too.
TEST(ReproducibleMath, HasTheSameBitsEverywhere) {
  SplitMix64 random(2);
  uint64_t folded = 0;
  for (int i = 0; i < 4096; ++i) {
    const double u = random.Unit() + 0x1p-60;
    folded = folded * 31 + std::bit_cast<uint64_t>(ReproducibleLog(u));
    folded = folded * 31 + std::bit_cast<uint64_t>(ReproducibleExp(-50.0 * u));
  }
  EXPECT_EQ(folded, 17742312784409236978u);
}

TEST(Sampling, GreedyTakesTheLargestAndTheLowestIdOfEquals) {
  EXPECT_EQ(Greedy({1, 3, 2}), 1);
  std::vector<float> ties(100, -1.0f);
  ties[37] = ties[53] = ties[99] = 5.0f;
  EXPECT_EQ(Greedy(ties), 37);
  EXPECT_EQ(Greedy(std::vector<float>(70, 2.0f)), 0);
  EXPECT_EQ(Greedy({kNan, 1, kNan, 2}), 3);
}

TEST(Sampling, BrokenRowsHaveADefinedResult) {
  const SamplingParams params{.logprobs = 2};
  const std::vector<float> nothing(40, -kInf);
  EXPECT_EQ(Draw(nothing, {.params = &params}), 0);
  EXPECT_EQ(Draw(std::vector<float>(40, kNan), {.params = &params}), 0);
  std::vector<float> infinite(40, 1.0f);
  infinite[7] = kInf;
  const SampledToken token = Sampler().Sample(infinite, {.params = &params});
  EXPECT_EQ(token.token, 7);
  EXPECT_EQ(token.logprob, 0.0f);
  std::vector<float> holes = RandomLogits(40, 3);
  holes[11] = kNan;
  for (int64_t position = 0; position < 500; ++position) {
    EXPECT_NE(Draw(holes, {.params = &params, .position = position}), 11);
  }
}

TEST(Sampling, TiedDrawsAreCutByLowestId) {
  const std::vector<float> flat(64, 1.0f);
  const SamplingParams params{.top_k = 3};
  std::set<TokenId> drawn;
  for (int64_t position = 0; position < 200; ++position) {
    drawn.insert(Draw(flat, {.params = &params, .position = position}));
  }
  EXPECT_THAT(drawn, ElementsAre(0, 1, 2));
  const SamplingParams half{.top_p = 0.5f};
  drawn.clear();
  for (int64_t position = 0; position < 2000; ++position) {
    drawn.insert(Draw(flat, {.params = &half, .position = position}));
  }
  EXPECT_EQ(drawn.size(), 32u);
  EXPECT_EQ(*drawn.rbegin(), 31);
}

// Random rows under random rules: the draw is the naive one.
TEST(Sampling, AgreesWithTheNaiveRules) {
  SplitMix64 random(4);
  Sampler sampler;  // one for all rows: its scratch must not carry over
  int truncated = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    const size_t vocab_size = 5 + random.Below(trial % 10 == 0 ? 3000 : 90);
    const auto token = [&]() { return static_cast<TokenId>(random.Below(vocab_size)); };
    std::vector<float> logits = RandomLogits(vocab_size, random.Next(), 4.0f);
    if (trial % 3 == 0) {  // coarse values: many ties
      for (float& logit : logits) {
        logit = std::round(logit);
      }
    }
    SamplingParams params{.seed = random.Next()};
    std::vector<TokenId> prompt, output, suppressed;
    std::vector<uint32_t> mask((vocab_size + 31) / 32, ~0u);
    SampleRow row{.params = &params,
                  .choice = static_cast<int32_t>(random.Below(4)),
                  .position = static_cast<int64_t>(random.Below(uint64_t{1} << 40))};
    const auto sometimes = [&]() { return random.Below(3) == 0; };
    params.temperature = sometimes() ? 0.0f : static_cast<float>(random.Unit() * 2 + 0.05);
    params.top_k = sometimes() ? static_cast<int32_t>(1 + random.Below(vocab_size)) : 0;
    params.top_p = sometimes() ? static_cast<float>(0.05 + 0.95 * random.Unit()) : 1.0f;
    params.min_p = sometimes() ? static_cast<float>(random.Unit() * 0.3) : 0.0f;
    params.repetition_penalty = sometimes() ? static_cast<float>(0.5 + 2 * random.Unit()) : 1.0f;
    params.presence_penalty = sometimes() ? static_cast<float>(2 * random.Unit() - 1) : 0.0f;
    params.frequency_penalty = sometimes() ? static_cast<float>(2 * random.Unit() - 1) : 0.0f;
    for (int i = 0; i < 12; ++i) {
      prompt.push_back(token());
      output.push_back(token());
    }
    if (sometimes()) {
      params.logit_bias = {{0, 3.5f}, {static_cast<TokenId>(vocab_size - 1), -4.0f}};
    }
    if (sometimes()) {
      suppressed = {token(), 2};
      mask[0] &= ~(1u << (random.Below(5)));
      row.suppressed = suppressed;
      row.mask = mask.data();
    }
    row.prompt = prompt;
    row.output = output;
    const Naive expected = NaiveSample(logits, row);
    truncated += expected.probability.size() < vocab_size / 2 ? 1 : 0;
    ASSERT_EQ(sampler.Sample(logits, row).token, expected.drawn) << "trial " << trial;
  }
  EXPECT_GT(truncated, 300);
}

// The draw without truncation skips tokens by a bound; taking every token as a candidate does not
// change it.
TEST(Sampling, TheShortCutLosesNoToken) {
  SamplingParams all{.seed = 5};
  SamplingParams candidates = all;
  candidates.min_p = 1e-37f;
  Sampler sampler;
  for (const float spread : {0.0f, 0.1f, 1.0f, 8.0f}) {
    const std::vector<float> logits = RandomLogits(5003, 6, spread);
    for (int64_t position = 0; position < 300; ++position) {
      const SampleRow fast{.params = &all, .position = position};
      const SampleRow slow{.params = &candidates, .position = position};
      ASSERT_EQ(sampler.Sample(logits, fast).token, sampler.Sample(logits, slow).token);
    }
  }
}

struct Distribution {
  const char* name;
  SamplingParams params;
};

class SamplingDistribution : public ::testing::TestWithParam<Distribution> {};

TEST_P(SamplingDistribution, IsTheSoftmaxOfWhatSurvives) {
  constexpr int kDraws = 20000;
  const std::vector<float> logits = RandomLogits(24, 7);
  SamplingParams params = GetParam().params;
  const std::vector<TokenId> prompt = {1, 2, 3};
  const std::vector<TokenId> output = {3, 4, 4, 5};
  std::map<TokenId, int> counts;
  Sampler sampler;
  for (int i = 0; i < kDraws; ++i) {
    params.seed = static_cast<uint64_t>(i / 100);
    const SampleRow row{.params = &params, .position = i % 100, .prompt = prompt, .output = output};
    ++counts[sampler.Sample(logits, row).token];
  }
  const Naive naive = NaiveSample(logits, {.params = &params, .prompt = prompt, .output = output});
  double chi_square = 0;
  for (const auto& [token, probability] : naive.probability) {
    const double expected = probability * kDraws;
    chi_square += (counts[token] - expected) * (counts[token] - expected) / expected;
    counts.erase(token);
  }
  for (const auto& [token, count] : counts) {
    EXPECT_EQ(count, 0) << "token " << token << " should have been cut";
  }
  // Wilson-Hilferty: about N(0, 1); 4.5 sigma is 3 in a million.
  const auto freedom = static_cast<double>(naive.probability.size() - 1);
  const double cube = 2.0 / (9.0 * freedom);
  const double sigma = (std::cbrt(chi_square / freedom) - (1.0 - cube)) / std::sqrt(cube);
  EXPECT_LT(std::abs(sigma), 4.5) << "chi-square " << chi_square << " of " << freedom;
}

INSTANTIATE_TEST_SUITE_P(
    Rules,
    SamplingDistribution,
    ::testing::Values(Distribution{"plain", {}},
                      Distribution{"cold", {.temperature = 0.5f}},
                      Distribution{"hot", {.temperature = 3.0f}},
                      Distribution{"top_k", {.top_k = 5}},
                      Distribution{"top_p", {.top_p = 0.7f}},
                      Distribution{"min_p", {.min_p = 0.2f}},
                      Distribution{"top_k_then_top_p",
                                   {.temperature = 1.5f, .top_k = 8, .top_p = 0.6f}},
                      Distribution{"repetition", {.repetition_penalty = 1.8f}},
                      Distribution{"presence", {.presence_penalty = 1.5f}},
                      Distribution{"frequency", {.frequency_penalty = -0.8f}},
                      Distribution{"bias", {.logit_bias = {{0, 2.0f}, {1, -3.0f}, {9, 1.0f}}}}),
    [](const auto& test) { return test.param.name; });

TEST(Sampling, EveryKeyCounts) {
  const std::vector<float> flat(1000, 0.0f);
  const SamplingParams params{.seed = 9};
  const SamplingParams other_seed{.seed = 10};
  const SamplingParams high_seed{.seed = 9 + (uint64_t{1} << 32)};
  const SampleRow base{.params = &params, .choice = 0, .position = 17};
  std::set<TokenId> drawn = {Draw(flat, base)};
  EXPECT_EQ(*drawn.begin(), Draw(flat, base));
  SampleRow row = base;
  row.choice = 1;
  drawn.insert(Draw(flat, row));
  row = base;
  row.position = 18;
  drawn.insert(Draw(flat, row));
  row.position = 17 + (int64_t{1} << 32);
  drawn.insert(Draw(flat, row));
  row = base;
  row.params = &other_seed;
  drawn.insert(Draw(flat, row));
  row.params = &high_seed;
  drawn.insert(Draw(flat, row));
  EXPECT_EQ(drawn.size(), 6u);
}

TEST(Sampling, GivesTheSameTokensEverywhere) {
  const std::vector<float> logits = RandomLogits(1000, 11);
  std::vector<TokenId> drawn;
  for (const SamplingParams& params : {SamplingParams{.seed = 12},
                                       SamplingParams{.temperature = 0.8f, .top_p = 0.9f},
                                       SamplingParams{.top_k = 50, .min_p = 0.1f}}) {
    for (int64_t position = 0; position < 3; ++position) {
      drawn.push_back(Draw(logits, {.params = &params, .position = position}));
    }
  }
  EXPECT_THAT(drawn, ElementsAre(778, 578, 528, 554, 893, 789, 858, 572, 789));
}

TEST(Logprobs, AreThoseOfTheRawLogits) {
  const std::vector<float> logits = RandomLogits(777, 13);
  long double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<long double>(logit));
  }
  SamplingParams params{.temperature = 0, .logit_bias = {{5, 100.0f}}, .logprobs = 4};
  const SampledToken token = Sampler().Sample(logits, {.params = &params});
  EXPECT_EQ(token.token, 5);  // the rules draw it, its log-probability does not know them
  const auto expected = [&](TokenId id) {
    return static_cast<float>(static_cast<long double>(logits[static_cast<size_t>(id)]) -
                              std::log(sum));
  };
  EXPECT_FLOAT_EQ(token.logprob, expected(5));
  ASSERT_EQ(token.top.size(), 4u);
  std::vector<float> sorted = logits;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(logits[static_cast<size_t>(token.top[i].token)], sorted[i]);
    EXPECT_FLOAT_EQ(token.top[i].logprob, expected(token.top[i].token));
  }
}

TEST(Logprobs, TiesGoToTheLowestIdAndNoneMeansNone) {
  SamplingParams params{.temperature = 0, .logprobs = 3};
  const SampledToken token = Sampler().Sample(std::vector<float>(30, 0.0f), {.params = &params});
  ASSERT_EQ(token.top.size(), 3u);
  EXPECT_EQ(token.top[0].token, 0);
  EXPECT_EQ(token.top[1].token, 1);
  EXPECT_EQ(token.top[2].token, 2);
  EXPECT_FLOAT_EQ(token.logprob, -std::log(30.0f));
  params.logprobs = 0;
  EXPECT_TRUE(Sampler().Sample(std::vector<float>(30, 0.0f), {.params = &params}).top.empty());
  params.logprobs = -1;
  EXPECT_EQ(Sampler().Sample(std::vector<float>(30, 0.0f), {.params = &params}).logprob, 0.0f);
}

}  // namespace
}  // namespace inferd
