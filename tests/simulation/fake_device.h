// FakeDevice: a device whose state units hold hashes, so that every read of wrong state shows.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "scheduler/step_plan.h"
#include "tests/simulation/workload.h"

namespace inferd::sim {

// What a request's tokens would be alone, on a device that is not sensitive (FakeDevice).
class FakeModel {
 public:
  explicit FakeModel(uint32_t model);
  // `by_decoding`: on a sensitive device.
  void Read(TokenId token, bool by_decoding = false);
  // The token that follows those read.
  TokenId Draw() const;

 private:
  uint64_t state_;
  TokenId last_ = 0;
};

// Tokens that a row draws: its first after the last known token, the others after its draft's.
using RowDraws = std::array<TokenId, kDraftTokensMax + 1>;

// Folds a streamed token into the hash of an output.
uint64_t FoldToken(uint64_t hash, TokenId token);

// What "computes" the tokens: the state at a position is a hash of the model, of all tokens up to
// it and, if the device is sensitive, of chunks cut off the canonical grid and of what was computed
// by decoding; the token drawn is a hash of
// that state and, three times of four, a function of the last token alone: answers repeat
// themselves, as real ones do. So equal tokens give equal outputs whatever the batch, the blocks
// and the preemptions, and on a sensitive device only if the chunks are equal, too.
//
// Each unit remembers what was written to it and for which trust domain. Before a row is computed,
// everything that it looks back on must be what its own tokens make, written in its own domain.
class FakeDevice {
 public:
  struct Options {
    int64_t host_percent = 0;  // DeviceSetup
    bool sensitive_to_chunks = false;
    bool check_reads = true;  // O(context / 64) a row
  };
  // The trust domain of a sequence; units of one domain are never read in another.
  using DomainOf = std::function<uint64_t(SequenceId)>;

  FakeDevice(const std::vector<ModelSetup>& models, const Options& options, DomainOf domain_of);

  // Computes the rows in order. draws[i] is what row i draws, zeros for rows that do not sample.
  // Returns what was wrong with the rows' state, a line each.
  std::vector<std::string> Run(const StepPlan& plan, std::vector<RowDraws>& draws);

  // A sequence is gone.
  void Forget(SequenceId id) { contents_.erase(id); }

 private:
  struct Cell {
    uint64_t content = 0;  // hash of the tokens up to here
    uint64_t bits = 0;     // the same with what the device is sensitive to
  };
  struct Unit {
    uint64_t domain = 0;
    int64_t position = -1;  // slots: of the last position folded in
  };
  struct Group {
    GroupSetup spec;
    std::vector<Cell> cells;  // [units * 64], or [units] for slots
    std::vector<Unit> units;
    std::vector<Cell> host_cells;  // the same of the host's memory
    std::vector<Unit> host_units;
  };

  const std::vector<uint64_t>& ContentsOf(uint32_t model, const Sequence& sequence, int64_t end);
  void CheckReads(const PlanRow& row,
                  uint32_t model,
                  const std::vector<uint64_t>& contents,
                  std::vector<std::string>& faults) const;
  uint64_t BitsBefore(const PlanRow& row, uint32_t model, const std::vector<uint64_t>& contents);
  void Write(const PlanRow& row, uint32_t model, int64_t position, const Cell& cell);
  void Copy(uint32_t model, const StateCopy& copy);

  const Options options_;
  const DomainOf domain_of_;
  std::vector<std::vector<Group>> groups_;  // [models][groups]
  std::unordered_map<SequenceId, std::vector<uint64_t>> contents_;
};

}  // namespace inferd::sim
