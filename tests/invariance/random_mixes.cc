#include "tests/invariance/random_mixes.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "base/check.h"

namespace inferd {
namespace {

constexpr int64_t kSequencesMax = 32;
constexpr int64_t kLongestTokens = 200;

uint64_t Fingerprint(const std::vector<float>& logits) {
  uint64_t folded = logits.size();
  for (const float logit : logits) {
    folded = (folded ^ std::bit_cast<uint32_t>(logit)) * 0x9e3779b97f4a7c15u;
    folded ^= folded >> 29;
  }
  return folded;
}

ModelRun::Options RunOptions(const MixOptions& options) {
  // Every sequence of a mix and its donor at their longest, twice over for what a window frees
  // late.
  const int64_t units = 2 * kSequencesMax * StateGroup::BlocksFor(kLongestTokens);
  return {.rows_max = options.rows_max,
          .logit_rows_max = options.rows_max,
          .units = units,
          .seed = options.seed};
}

// A sequence's part in a mix.
struct Actor {
  const ReferenceSequence* reference = nullptr;
  RunSequence sequence;
  int64_t goal = 0;             // positions to compute
  std::optional<size_t> donor;  // whose KV it starts with, once that has reached its goal
  bool donates = false;         // stays as it is once it has reached its goal

  bool finished() const { return sequence.done == goal; }
};

// One mix, from an empty pool to an empty pool.
class Mix {
 public:
  Mix(ModelRun& run,
      const std::vector<ReferenceSequence>& references,
      int32_t rows_max,
      SplitMix64& random)
      : run_(run), rows_max_(rows_max), random_(random) {
    const auto n = static_cast<int64_t>(2 + random_.Below(kSequencesMax - 1));
    while (std::ssize(actors_) < n) {
      const ReferenceSequence& reference = references[random_.Below(references.size())];
      const int64_t whole_blocks = (std::ssize(reference.tokens) - 1) / kBlockTokens;
      if (whole_blocks > 0 && std::ssize(actors_) + 2 <= n && random_.Below(2) == 0) {
        const auto blocks =
            static_cast<int64_t>(1 + random_.Below(static_cast<uint64_t>(whole_blocks)));
        const size_t donor = actors_.size();
        Add(reference, blocks * kBlockTokens).donates = true;
        Add(reference, std::ssize(reference.tokens)).donor = donor;
      } else {
        Add(reference, std::ssize(reference.tokens));
      }
    }
  }

  void Run(MixCounts& counts) {
    while (Step(counts)) {
      MaybePreempt(counts);
    }
    for (size_t i = actors_.size(); i > 0; --i) {  // donors stand before who takes over from them
      run_.Free(actors_[i - 1].sequence);
    }
  }

 private:
  Actor& Add(const ReferenceSequence& reference, int64_t goal) {
    Actor actor;
    actor.reference = &reference;
    actor.sequence.tokens = reference.tokens;
    actor.goal = goal;
    actors_.push_back(std::move(actor));
    return actors_.back();
  }

  // False if the actor waits for its donor.
  bool Ready(Actor& actor, MixCounts& counts) {
    if (actor.donor.has_value()) {
      const Actor& donor = actors_[*actor.donor];
      if (!donor.finished()) {
        return false;
      }
      run_.Share(donor.sequence, donor.goal / kBlockTokens, actor.sequence);
      actor.donor.reset();
      ++counts.takeovers;
    }
    return true;
  }

  // One step of random rows of random sequences; false if all are finished.
  bool Step(MixCounts& counts) {
    std::vector<RunWork> work;
    std::vector<const Actor*> workers;
    int32_t rows_left = rows_max_;
    bool unfinished = false;
    const uint64_t eagerness = 1 + random_.Below(4);
    for (Actor& actor : actors_) {
      if (actor.finished()) {
        continue;
      }
      unfinished = true;
      if (rows_left == 0 || random_.Below(4) >= eagerness || !Ready(actor, counts)) {
        continue;
      }
      const int64_t most = std::min<int64_t>(rows_left, actor.goal - actor.sequence.done);
      const auto rows = static_cast<int32_t>(
          random_.Below(2) == 0 ? 1 : 1 + random_.Below(static_cast<uint64_t>(most)));
      work.push_back({.sequence = &actor.sequence, .n_rows = rows, .all_logits = true});
      workers.push_back(&actor);
      rows_left -= rows;
    }
    if (!work.empty()) {
      Compare(work, workers, counts);
    }
    return unfinished;
  }

  void Compare(const std::vector<RunWork>& work,
               const std::vector<const Actor*>& workers,
               MixCounts& counts) {
    const RunLogits logits = run_.Step(work);
    size_t row = 0;
    for (size_t i = 0; i < work.size(); ++i) {
      const int64_t first = work[i].sequence->done - work[i].n_rows;
      for (int32_t j = 0; j < work[i].n_rows; ++j, ++row) {
        const uint64_t expected =
            workers[i]->reference->fingerprints[static_cast<size_t>(first + j)];
        counts.mismatches += Fingerprint(logits[row]) == expected ? 0 : 1;
        ++counts.rows;
      }
    }
    counts.widest_step = std::max(counts.widest_step, std::ssize(work));
  }

  // Now and then a sequence loses its KV and starts again.
  void MaybePreempt(MixCounts& counts) {
    Actor& actor = actors_[random_.Below(actors_.size())];
    const bool lent = actor.donates && actor.finished();
    if (random_.Below(12) == 0 && actor.sequence.done > 0 && !lent) {
      run_.Free(actor.sequence);
      ++counts.preemptions;
    }
  }

  ModelRun& run_;
  const int32_t rows_max_;
  SplitMix64& random_;
  std::vector<Actor> actors_;
};

}  // namespace

std::vector<ReferenceSequence> MakeReferences(Device& device,
                                              const ModelFile& file,
                                              const MixOptions& options) {
  auto run = ModelRun::Load(device, file, RunOptions(options));
  CHECK(run.ok());
  SplitMix64 random(options.seed);
  std::vector<ReferenceSequence> references;
  for (int32_t i = 0; i < options.num_sequences; ++i) {
    const uint64_t tokens = i % 3 == 0 ? 2 * kBlockTokens + random.Below(kLongestTokens - 128) + 1
                                       : 1 + random.Below(40);
    ReferenceSequence reference;
    reference.tokens = RandomTokens(file.config(), static_cast<int64_t>(tokens), random.Next());
    for (const std::vector<float>& logits : (*run)->LogitsOf(reference.tokens, 1)) {
      reference.fingerprints.push_back(Fingerprint(logits));
    }
    references.push_back(std::move(reference));
  }
  return references;
}

MixCounts RunMixes(Device& device,
                   const ModelFile& file,
                   const std::vector<ReferenceSequence>& references,
                   int32_t mixes,
                   const MixOptions& options) {
  auto run = ModelRun::Load(device, file, RunOptions(options));
  CHECK(run.ok());
  SplitMix64 random(options.seed + 1);
  MixCounts counts;
  for (int32_t i = 0; i < mixes; ++i) {
    Mix(**run, references, options.rows_max, random).Run(counts);
  }
  return counts;
}

}  // namespace inferd
