#include "tests/simulation/fake_device.h"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <span>
#include <utility>

namespace inferd::sim {
namespace {

uint64_t Mix(uint64_t state, uint64_t value) {
  uint64_t z = (state ^ value) + 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t DigestOf(uint32_t model) { return Mix(0x6d6f64656c, model); }

uint64_t Extend(uint64_t state, TokenId token, bool by_decoding = false) {
  return Mix(state, 2 * static_cast<uint64_t>(token) + (by_decoding ? 1 : 2));
}

TokenId DrawFrom(uint64_t bits, TokenId last) {
  constexpr TokenId kRefrain = 16;
  const uint64_t draw = Mix(bits, 0x64726177);
  return draw % 4 == 0 ? static_cast<TokenId>(draw / 4 % static_cast<uint64_t>(kVocabSize))
                       : (last + 1) % kRefrain;
}

size_t Index(int64_t value) { return static_cast<size_t>(value); }

}  // namespace

FakeModel::FakeModel(uint32_t model) : state_(DigestOf(model)) {}
void FakeModel::Read(TokenId token, bool by_decoding) {
  state_ = Extend(state_, token, by_decoding);
  last_ = token;
}
TokenId FakeModel::Draw() const { return DrawFrom(state_, last_); }

uint64_t FoldToken(uint64_t hash, TokenId token) { return Mix(hash, static_cast<uint64_t>(token)); }

FakeDevice::FakeDevice(const std::vector<ModelSetup>& models,
                       const Options& options,
                       DomainOf domain_of)
    : options_(options), domain_of_(std::move(domain_of)) {
  for (const ModelSetup& model : models) {
    std::vector<Group>& groups = groups_.emplace_back();
    for (const GroupSetup& spec : model.groups) {
      const int64_t cells = spec.kind == StateKind::kSlot ? spec.units : spec.units * kBlockTokens;
      const int64_t host = HostUnits(spec, options.host_percent);
      groups.push_back({spec,
                        std::vector<Cell>(Index(cells)),
                        std::vector<Unit>(Index(spec.units)),
                        std::vector<Cell>(Index(host * (cells / spec.units))),
                        std::vector<Unit>(Index(host))});
    }
  }
}

// contents[p]: hash of the tokens [0, p].
const std::vector<uint64_t>& FakeDevice::ContentsOf(uint32_t model,
                                                    const Sequence& sequence,
                                                    int64_t end) {
  std::vector<uint64_t>& contents = contents_[sequence.id()];
  uint64_t state = contents.empty() ? DigestOf(model) : contents.back();
  contents.reserve(Index(end));
  for (auto position = static_cast<int64_t>(contents.size()); position < end; ++position) {
    state = Extend(state, sequence.token(position));
    contents.push_back(state);
  }
  return contents;
}

std::vector<std::string> FakeDevice::Run(const StepPlan& plan, std::vector<RowDraws>& draws) {
  std::vector<std::string> faults;
  const uint32_t model = plan.model.value();
  draws.assign(plan.rows.size(), {});
  for (const StateCopy& copy : plan.copies_before) {
    Copy(model, copy);
  }
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const PlanRow& row = plan.rows[i];
    const int64_t end = row.end();
    const std::vector<uint64_t>& contents = ContentsOf(model, *row.sequence, end);
    if (options_.check_reads) {
      CheckReads(row, model, contents, faults);
    }
    uint64_t bits = BitsBefore(row, model, contents);
    const bool decodes = options_.sensitive_to_chunks && row.n_tokens == 1 &&
                         row.start >= row.sequence->num_prompt_tokens();
    if (options_.sensitive_to_chunks && !decodes && row.start % kBlockTokens != 0) {
      bits = Mix(bits, static_cast<uint64_t>(row.start));  // another shape, other roundings
    }
    for (int64_t position = row.start; position < end; ++position) {
      bits = Extend(bits, row.sequence->token(position), decodes);
      Write(row, model, position, {.content = contents[Index(position)], .bits = bits});
    }
    if (!row.sample) {
      continue;
    }
    draws[i][0] = DrawFrom(bits, row.sequence->token(end - 1));
    uint64_t content = contents[Index(end - 1)];
    for (size_t d = 0; d < row.draft.size(); ++d) {
      bits = Extend(bits, row.draft[d], decodes);
      content = Extend(content, row.draft[d]);
      Write(row, model, end + static_cast<int64_t>(d), {.content = content, .bits = bits});
      draws[i][d + 1] = DrawFrom(bits, row.draft[d]);
    }
  }
  for (const StateCopy& copy : plan.copies_after) {
    Copy(model, copy);
  }
  return faults;
}

void FakeDevice::Copy(uint32_t model, const StateCopy& copy) {
  Group& group = groups_[model][copy.group];
  const int64_t cells = group.spec.kind == StateKind::kSlot ? 1 : kBlockTokens;
  const bool from_host = copy.from_place == StatePlace::kHost;
  const bool to_host = copy.to_place == StatePlace::kHost;
  const std::vector<Cell>& from = from_host ? group.host_cells : group.cells;
  std::vector<Cell>& to = to_host ? group.host_cells : group.cells;
  for (int64_t i = 0; i < cells; ++i) {
    to[Index(copy.to * cells + i)] = from[Index(copy.from * cells + i)];
  }
  (to_host ? group.host_units : group.units)[copy.to] =
      (from_host ? group.host_units : group.units)[copy.from];
}

// What the row reads: the last cell of every block that it sees, or the slot.
void FakeDevice::CheckReads(const PlanRow& row,
                            uint32_t model,
                            const std::vector<uint64_t>& contents,
                            std::vector<std::string>& faults) const {
  const uint64_t domain = domain_of_(row.sequence->id());
  const auto fault = [&](size_t group, int64_t position, const char* what) {
    faults.push_back(absl::StrFormat("sequence %d reads position %d of group %d: %s",
                                     row.sequence->id().value(),
                                     position,
                                     group,
                                     what));
  };
  if (row.start == 0) {
    return;
  }
  for (size_t g = 0; g < groups_[model].size(); ++g) {
    const Group& group = groups_[model][g];
    const std::span<const BlockIndex> table = row.sequence->block_table(g);
    if (group.spec.kind == StateKind::kSlot) {
      const Unit& unit = group.units[table[0]];
      const bool right = unit.position == row.start - 1 &&
                         group.cells[table[0]].content == contents[Index(row.start - 1)];
      if (!right || unit.domain != domain) {
        fault(g, row.start - 1, right ? "a slot of another domain" : "the slot holds other state");
      }
      continue;
    }
    const int64_t first =
        StateGroup{.window = group.spec.window}.FirstLiveBlock(row.start) * kBlockTokens;
    for (int64_t block = first; block < row.start; block += kBlockTokens) {
      const int64_t position = std::min<int64_t>(block + kBlockTokens, row.start) - 1;
      const BlockIndex index = table[Index(block / kBlockTokens)];
      if (index == kNoBlock) {
        fault(g, position, "the block was given back");
      } else if (group.cells[Index(index * int64_t{kBlockTokens} + position % kBlockTokens)]
                     .content != contents[Index(position)]) {
        fault(g, position, "the block holds other tokens");
      } else if (group.units[index].domain != domain) {
        fault(g, position, "the block was written in another trust domain");
      }
    }
  }
}

uint64_t FakeDevice::BitsBefore(const PlanRow& row,
                                uint32_t model,
                                const std::vector<uint64_t>& contents) {
  if (row.start == 0) {
    return DigestOf(model);
  }
  const int64_t before = row.start - 1;
  const Group& group = groups_[model][0];
  const std::span<const BlockIndex> table = row.sequence->block_table(0);
  if (group.spec.kind == StateKind::kSlot) {
    return group.cells[table[0]].bits;
  }
  const BlockIndex index = table[Index(before / kBlockTokens)];
  return index == kNoBlock  // a window of one position sees nothing before it
             ? contents[Index(before)]
             : group.cells[Index(index * int64_t{kBlockTokens} + before % kBlockTokens)].bits;
}

void FakeDevice::Write(const PlanRow& row, uint32_t model, int64_t position, const Cell& cell) {
  const uint64_t domain = domain_of_(row.sequence->id());
  for (size_t g = 0; g < groups_[model].size(); ++g) {
    Group& group = groups_[model][g];
    const std::span<const BlockIndex> table = row.sequence->block_table(g);
    if (group.spec.kind == StateKind::kSlot) {
      group.cells[table[0]] = cell;
      group.units[table[0]] = {.domain = domain, .position = position};
      continue;
    }
    const BlockIndex index = table[Index(position / kBlockTokens)];
    group.cells[Index(index * int64_t{kBlockTokens} + position % kBlockTokens)] = cell;
    group.units[index].domain = domain;
  }
}

}  // namespace inferd::sim
