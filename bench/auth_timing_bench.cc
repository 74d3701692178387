// Does the time of a refusal tell whether an API key's id is known? Pairs of a known id with a
// wrong secret and an unknown id, in random order, and a paired t-test over their differences; the
// slowest tenth of the pairs, where the host did something else, is left out. The same test must
// see what is planted: a look-up that gives up at an unknown id before the comparison.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
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
constexpr double kKept = 0.9;
const WallTime kNow = WallTime(std::chrono::hours(24 * 365 * 60));

struct Texts {
  std::vector<std::string> known;    // ids in the list, secrets of no key in it
  std::vector<std::string> unknown;  // ids that are not
};

struct Pair {
  double known_ns, unknown_ns;
};

template <typename Verify>
double TimeOf(const std::string& text, const Verify& verify) {
  const TimePoint start = SystemClock().Now();
  CHECK(!verify(text));
  return static_cast<double>((SystemClock().Now() - start).count());
}

template <typename Verify>
std::vector<Pair> Measure(const Texts& texts, int pairs, uint64_t seed, const Verify& verify) {
  SplitMix64 random(seed);
  std::vector<Pair> samples;
  for (int i = 0; i < pairs; ++i) {
    const std::string& known = texts.known[random.Below(texts.known.size())];
    const std::string& unknown = texts.unknown[random.Below(texts.unknown.size())];
    Pair pair{};
    if (random.Below(2) == 0) {
      pair.known_ns = TimeOf(known, verify);
      pair.unknown_ns = TimeOf(unknown, verify);
    } else {
      pair.unknown_ns = TimeOf(unknown, verify);
      pair.known_ns = TimeOf(known, verify);
    }
    samples.push_back(pair);
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
  bool Verify(const std::string& text) const {
    CHECK(IsApiKeyText(text));
    const Digest mac = HmacSha256(pepper_, text);
    const auto found = macs_.find(text.substr(text.find('_', 3) + 1, kApiKeyIdBytes));
    return found != macs_.end() && found->second == mac;
  }

 private:
  const SecretKey& pepper_;
  std::unordered_map<std::string, Digest> macs_;
};

int Run(int pairs, int keys) {
  const SecretKey pepper = SecretKey::Random();
  const SecretKey other = SecretKey::Random();
  std::vector<ApiKey> list;
  Texts texts;
  for (int i = 0; i < 2 * keys; ++i) {
    ApiKey key;
    key.environment = "prod";
    key.expires = kNow + std::chrono::hours(1);
    // Of another pepper: to the ring the secret is wrong.
    std::string text = MakeApiKey(other, key);
    if (i % 2 == 0) {
      list.push_back(std::move(key));
      texts.known.push_back(std::move(text));
    } else {
      texts.unknown.push_back(std::move(text));
    }
  }
  std::printf("WORKLOAD %d pairs, %d keys in the list, paired t-test at 1e-6\n", pairs, keys);
  const EarlyExit careless(list, pepper);
  const TTest planted = TestPairs(Measure(texts, pairs, 1, [&careless](const std::string& text) {
    return careless.Verify(text);
  }));
  std::printf("# planted early exit: mean %+.2f ns, t %+.1f\n", planted.mean_ns, planted.t);
  const ApiKeyRing ring(list, pepper);
  const TTest ours = TestPairs(Measure(texts, pairs, 2, [&ring](const std::string& text) {
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
  int keys = 5'000;
  app.add_option("--pairs", pairs, "Pairs of refusals")->capture_default_str();
  app.add_option("--keys", keys, "Keys in the list")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return inferd::Run(pairs, keys);
}
