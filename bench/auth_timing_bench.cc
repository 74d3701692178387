// Does the time of a refusal tell whether an API key's id is known? Pairs of a known id with a
// wrong secret and an unknown id, in random order, and a paired t-test over their differences; the
// slowest tenth of the pairs, where the host did something else, is left out. The same test must
// see what is planted: a look-up that gives up at an unknown id before the comparison.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"
#include "governance/identity/api_key.h"

namespace inferd {
namespace {

// |t| above it has a two-sided p below 1e-6 (normal distribution: there are very many pairs).
constexpr double kSignificant = 4.8916;
constexpr size_t kTextBytesMax = 128;
constexpr double kKept = 0.9;
const WallTime kNow = WallTime(std::chrono::hours(24 * 365 * 60));

// known[i] and unknown[i] are neighbours in the order of ids, so the search for either ends at the
// same place of the list: over all, both kinds find the same memory, as often.
struct Texts {
  std::vector<std::string> known;    // ids in the list, secrets of no key in it
  std::vector<std::string> unknown;  // ids that are not
};

struct Pair {
  double known_ns, unknown_ns;
};

// Both kinds are read from one piece of memory: at which addresses a text lies, and what else is
// kept at the same places of the caches, would be measured otherwise.
template <typename Verify>
[[gnu::noinline]] double TimeOf(std::string_view text, const Verify& verify) {
  alignas(64) static std::array<char, kTextBytesMax> memory;
  CHECK(text.size() <= memory.size());
  std::copy(text.begin(), text.end(), memory.begin());
  const std::string_view copy(memory.data(), text.size());
  const TimePoint start = SystemClock().Now();
  CHECK(!verify(copy));
  return static_cast<double>((SystemClock().Now() - start).count());
}

template <typename Verify>
std::vector<Pair> Measure(const Texts& texts, int pairs, uint64_t seed, const Verify& verify) {
  SplitMix64 random(seed);
  std::vector<Pair> samples;
  for (int i = 0; i < pairs; ++i) {
    const std::string_view known = texts.known[random.Below(texts.known.size())];
    const std::string_view unknown = texts.unknown[random.Below(texts.unknown.size())];
    // One place of the code measures both, in an order of chance.
    const size_t known_at = random.Below(2);
    std::array<std::string_view, 2> order = {unknown, unknown};
    order[known_at] = known;
    std::array<double, 2> times{};
    for (size_t k = 0; k < 2; ++k) {
      times[k] = TimeOf(order[k], verify);
    }
    samples.push_back({.known_ns = times[known_at], .unknown_ns = times[1 - known_at]});
  }
  return samples;
}

struct TTest {
  double mean_ns, t;
};

TTest TestPairs(std::vector<Pair> pairs) {
  // By the slower of the two, so that neither side is favoured.
  std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) {
    return std::max(a.known_ns, a.unknown_ns) < std::max(b.known_ns, b.unknown_ns);
  });
  pairs.resize(static_cast<size_t>(kKept * static_cast<double>(pairs.size())));
  const double n = static_cast<double>(pairs.size());
  double sum = 0;
  double squares = 0;
  for (const Pair& pair : pairs) {
    const double difference = pair.known_ns - pair.unknown_ns;
    sum += difference;
    squares += difference * difference;
  }
  const double mean = sum / n;
  const double variance = (squares - n * mean * mean) / (n - 1);
  return {mean, mean / std::sqrt(variance / n)};
}

// What a careless look-up does.
class EarlyExit {
 public:
  EarlyExit(const std::vector<ApiKey>& keys, const SecretKey& pepper) : pepper_(pepper) {
    for (const ApiKey& key : keys) {
      macs_.emplace(key.id, key.mac);
    }
  }
  bool Verify(std::string_view text) const {
    CHECK(IsApiKeyText(text));
    const Digest mac = HmacSha256(pepper_, text);
    const auto found = macs_.find(std::string(text.substr(text.find('_', 3) + 1, kApiKeyIdBytes)));
    return found != macs_.end() && found->second == mac;
  }

 private:
  const SecretKey& pepper_;
  std::unordered_map<std::string, Digest> macs_;
};

// Fills `list` with the keys that are known.
Texts MakeTexts(int keys, std::vector<ApiKey>& list) {
  const SecretKey other = SecretKey::Random();
  SplitMix64 random(0);
  struct Issued {
    std::string id, text;
    bool known;
  };
  std::vector<Issued> all;
  for (int i = 0; i < 2 * keys; ++i) {
    ApiKey key;
    key.environment = "prod";
    key.expires = kNow + std::chrono::hours(1);
    // Of another pepper: to the ring the secret is wrong.
    std::string text = MakeApiKey(other, key);
    const bool known = random.Below(2) == 0;
    all.push_back({key.id, std::move(text), known});
    if (known) {
      list.push_back(std::move(key));
    }
  }
  std::sort(all.begin(), all.end(), [](const Issued& a, const Issued& b) { return a.id < b.id; });
  Texts texts;
  for (size_t i = 0; i + 1 < all.size(); ++i) {
    if (all[i].known && !all[i + 1].known) {
      texts.known.push_back(std::move(all[i].text));
      texts.unknown.push_back(std::move(all[i + 1].text));
    }
  }
  return texts;
}

int Run(int pairs, int keys) {
  const SecretKey pepper = SecretKey::Random();
  std::vector<ApiKey> list;
  const Texts texts = MakeTexts(keys, list);
  std::printf(
      "WORKLOAD %d pairs, %zu keys in the list, paired t-test at 1e-6\n", pairs, list.size());
  const EarlyExit careless(list, pepper);
  const TTest planted = TestPairs(Measure(
      texts, pairs, 1, [&careless](std::string_view text) { return careless.Verify(text); }));
  std::printf("# planted early exit: mean %+.2f ns, t %+.1f\n", planted.mean_ns, planted.t);
  const ApiKeyRing ring(list, pepper);
  const TTest ours = TestPairs(Measure(texts, pairs, 2, [&ring](std::string_view text) {
    return ring.Verify(text, kNow, "10.0.0.1").ok();
  }));
  std::printf("# known id less unknown id: mean %+.2f ns, t %+.1f\n", ours.mean_ns, ours.t);
  std::printf("RESULT auth.timing_plant_missed %d count\n",
              std::abs(planted.t) > kSignificant ? 0 : 1);
  std::printf("RESULT auth.timing_leak %d count\n", std::abs(ours.t) > kSignificant ? 1 : 0);
  return 0;
}

}  // namespace
}  // namespace inferd

int main(int argc, char** argv) {
  CLI::App app("Whether refusals of API keys tell by their time which ids are known.");
  int pairs = 100'000;
  int keys = 50'000;
  app.add_option("--pairs", pairs, "Pairs of refusals")->capture_default_str();
  app.add_option("--keys", keys, "Keys in the list, about")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return inferd::Run(pairs, keys);
}
