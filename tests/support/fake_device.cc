#include "tests/support/fake_device.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <thread>

#include "base/check.h"

namespace inferd {
namespace {

// Mixes two values so that every bit of both matters (the finaliser of SplitMix64).
uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t z = a * 0x9e3779b97f4a7c15u + b + 0x7f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t FingerprintOf(const TensorView& tensor, uint64_t fingerprint) {
  for (const char c : tensor.name) {
    fingerprint = Mix(fingerprint, static_cast<uint8_t>(c));
  }
  uint64_t head = 0;
  std::memcpy(&head, tensor.data.data(), std::min(sizeof(head), tensor.data.size()));
  return Mix(fingerprint, head);
}

struct FakeTensor final : DeviceTensor {
  int32_t rows_max() const override { return static_cast<int32_t>(rows.size()); }
  int32_t cols() const override { return n_cols; }
  std::vector<uint64_t> rows;
  int32_t n_cols = 0;
};

struct FakeLinear final : DeviceLinear {
  int32_t in_features() const override { return in; }
  int32_t out_features() const override { return out; }
  int64_t size_bytes() const override { return 8; }
  int32_t in = 0;
  int32_t out = 0;
  uint64_t fingerprint = 0;
};

struct FakeVector final : DeviceVector {
  uint64_t fingerprint = 0;
};

// cells[layer][block * kBlockTokens + slot]; empty for a layer without KV of its own.
// A unit that is saved leaves the number of its copy in the host's memory, where a real device
// would write the unit.
struct FakeState final : DeviceState {
  int64_t size_bytes() const override { return bytes; }
  bool copies_units() const override { return true; }
  void SaveUnit(int32_t group, BlockIndex unit, std::span<std::byte> out) const override {
    CHECK(out.size() == static_cast<size_t>(FakeDevice::kUnitBytes));
    const uint64_t number = saved.size();
    std::vector<uint64_t>& copy = saved.emplace_back();
    for (size_t layer = 0; layer < cells.size(); ++layer) {
      if (group_of[layer] == group) {
        const auto begin = cells[layer].begin() + int64_t{unit} * kBlockTokens;
        copy.insert(copy.end(), begin, begin + kBlockTokens);
      }
    }
    std::memcpy(out.data(), &number, sizeof(number));
  }
  void LoadUnit(int32_t group, BlockIndex unit, std::span<const std::byte> in) override {
    uint64_t number = 0;
    std::memcpy(&number, in.data(), sizeof(number));
    auto from = saved.at(number).begin();
    for (size_t layer = 0; layer < cells.size(); ++layer) {
      if (group_of[layer] == group) {
        std::copy_n(from, kBlockTokens, cells[layer].begin() + int64_t{unit} * kBlockTokens);
        from += kBlockTokens;
      }
    }
  }

  std::vector<std::vector<uint64_t>> cells;
  std::vector<int32_t> group_of;  // by layer; -1: it has no KV of its own
  mutable std::vector<std::vector<uint64_t>> saved;
  int64_t bytes = 0;
};

const std::vector<uint64_t>& RowsOf(const DeviceTensor& tensor) {
  return static_cast<const FakeTensor&>(tensor).rows;
}
std::vector<uint64_t>& RowsOf(DeviceTensor& tensor) {
  return static_cast<FakeTensor&>(tensor).rows;
}
uint64_t FingerprintOf(const DeviceLinear& linear) {
  return static_cast<const FakeLinear&>(linear).fingerprint;
}
uint64_t FingerprintOf(const DeviceVector& vector) {
  return static_cast<const FakeVector&>(vector).fingerprint;
}

// Where the KV of a position lies; a table that does not hold the position is a broken invariant.
size_t CellIndex(std::span<const BlockIndex> table, int64_t position) {
  const size_t entry = static_cast<size_t>(position / kBlockTokens);
  CHECK(entry < table.size() && table[entry] != kNoBlock);
  return size_t{table[entry]} * kBlockTokens + static_cast<size_t>(position % kBlockTokens);
}

float LogitOf(uint64_t row, TokenId token) {
  const uint64_t bits = Mix(row, static_cast<uint64_t>(token)) >> 40;
  return static_cast<float>(bits) * 0x1p-21f - 4.0f;  // [-4, 4)
}

}  // namespace

FakeDevice::FakeDevice() {
  capabilities_.name = "fake";
  capabilities_.contract = "fake 1";
  capabilities_.rows_max = 1 << 16;
}

StatusOr<std::unique_ptr<DeviceLinear>> FakeDevice::LoadLinear(const LinearSpec& spec) {
  on_load_();
  auto linear = std::make_unique<FakeLinear>();
  for (const TensorView& part : spec.parts) {
    linear->in = static_cast<int32_t>(part.cols);
    linear->out += static_cast<int32_t>(part.rows);
    linear->fingerprint = FingerprintOf(part, linear->fingerprint);
  }
  if (spec.gated) {
    linear->out /= 2;
  }
  return std::unique_ptr<DeviceLinear>(std::move(linear));
}

StatusOr<std::unique_ptr<DeviceVector>> FakeDevice::LoadVector(const TensorView& vector) {
  auto loaded = std::make_unique<FakeVector>();
  loaded->fingerprint = FingerprintOf(vector, 0);
  return std::unique_ptr<DeviceVector>(std::move(loaded));
}

StatusOr<std::unique_ptr<DeviceTensor>> FakeDevice::AllocateTensor(int32_t rows_max, int32_t cols) {
  auto tensor = std::make_unique<FakeTensor>();
  tensor->rows.resize(static_cast<size_t>(rows_max));
  tensor->n_cols = cols;
  return std::unique_ptr<DeviceTensor>(std::move(tensor));
}

int64_t FakeDevice::StateUnitBytes(const ModelConfig&, int32_t) const { return kUnitBytes; }

StatusOr<std::unique_ptr<DeviceState>> FakeDevice::AllocateState(const ModelConfig& config,
                                                                 std::span<const int64_t> units) {
  auto state = std::make_unique<FakeState>();
  state->cells.resize(config.layers.size());
  state->group_of.assign(config.layers.size(), -1);
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    const LayerConfig& layer_config = config.layers[layer];
    if (layer_config.mixer == Mixer::kAttention &&
        layer_config.attention.source_layer == static_cast<int32_t>(layer)) {
      const int64_t blocks = units[static_cast<size_t>(layer_config.attention.state_group)];
      state->cells[layer].resize(static_cast<size_t>(blocks * kBlockTokens));
      state->group_of[layer] = layer_config.attention.state_group;
    }
  }
  for (const int64_t blocks : units) {
    state->bytes += blocks * kUnitBytes;
  }
  return std::unique_ptr<DeviceState>(std::move(state));
}

void FakeDevice::BeginStep(const ForwardBatch& batch) {
  batch_ = &batch;
  rows_in_step_max_ = std::max(rows_in_step_max_.load(), batch.n_rows());
  int32_t row = 0;
  for (const SequenceRows& rows : batch.sequences) {
    CHECK(rows.first_row == row && rows.n_rows > 0);
    for (int32_t i = 0; i < rows.n_rows; ++i) {
      CHECK(batch.positions[static_cast<size_t>(row + i)] == rows.start + i);
    }
    row += rows.n_rows;
  }
  CHECK(row == batch.n_rows());
  CHECK(std::is_sorted(batch.logit_rows.begin(), batch.logit_rows.end()));
}

void FakeDevice::Embed(const DeviceLinear& table, float, DeviceTensor& out) {
  for (size_t row = 0; row < batch_->tokens.size(); ++row) {
    RowsOf(out)[row] = Mix(FingerprintOf(table), static_cast<uint64_t>(batch_->tokens[row]));
  }
}

void FakeDevice::RmsNorm(const RmsNormArgs& args) {
  for (size_t row = 0; row < batch_->tokens.size(); ++row) {
    const uint64_t normed = Mix(RowsOf(*args.x)[row], FingerprintOf(*args.weight));
    RowsOf(*args.out)[row] =
        args.residual == nullptr ? normed : Mix(RowsOf(*args.residual)[row], normed);
  }
}

void FakeDevice::Linear(const LinearArgs& args) {
  for (size_t row = 0; row < batch_->tokens.size(); ++row) {
    const uint64_t product = Mix(RowsOf(*args.x)[row], FingerprintOf(*args.weight));
    RowsOf(*args.out)[row] =
        args.residual == nullptr ? product : Mix(RowsOf(*args.residual)[row], product);
  }
}

void FakeDevice::RopeAppendKv(const RopeAppendKvArgs& args) {
  if (args.attention->source_layer != args.layer) {
    return;  // it reads another layer's KV
  }
  std::vector<uint64_t>& cells =
      static_cast<FakeState*>(args.state)->cells[static_cast<size_t>(args.layer)];
  const size_t group = static_cast<size_t>(args.attention->state_group);
  for (const SequenceRows& rows : batch_->sequences) {
    for (int32_t i = 0; i < rows.n_rows; ++i) {
      const size_t cell = CellIndex(rows.block_tables[group], rows.start + i);
      CHECK(cell < cells.size());
      cells[cell] = Mix(RowsOf(*args.qkv)[static_cast<size_t>(rows.first_row + i)],
                        static_cast<uint64_t>(rows.start + i));
    }
  }
}

void FakeDevice::PagedAttention(const PagedAttentionArgs& args) {
  const std::vector<uint64_t>& cells =
      static_cast<const FakeState*>(args.state)
          ->cells[static_cast<size_t>(args.attention->source_layer)];
  const size_t group = static_cast<size_t>(args.attention->state_group);
  const int64_t window = args.attention->window;
  for (const SequenceRows& rows : batch_->sequences) {
    for (int32_t i = 0; i < rows.n_rows; ++i) {
      const size_t row = static_cast<size_t>(rows.first_row + i);
      const int64_t position = rows.start + i;
      uint64_t seen = RowsOf(*args.qkv)[row];
      for (int64_t p = window == 0 ? 0 : std::max<int64_t>(0, position - window + 1); p <= position;
           ++p) {
        const size_t cell = CellIndex(rows.block_tables[group], p);
        CHECK(cell < cells.size());
        seen = Mix(seen, cells[cell]);
      }
      RowsOf(*args.out)[row] = seen;
    }
  }
}

void FakeDevice::Logits(
    const DeviceTensor& x, const DeviceLinear& weight, float, float, DeviceTensor& out) {
  for (size_t i = 0; i < batch_->logit_rows.size(); ++i) {
    RowsOf(out)[i] =
        Mix(RowsOf(x)[static_cast<size_t>(batch_->logit_rows[i])], FingerprintOf(weight));
  }
}

void FakeDevice::Sample(const DeviceTensor& logits,
                        std::span<const SampleRow> rows,
                        std::span<SampledToken> result) {
  CHECK(rows.size() == result.size());
  logits_.resize(static_cast<size_t>(logits.cols()));
  for (size_t i = 0; i < rows.size(); ++i) {
    ReadRow(logits, rows[i].logits_row, logits_);
    result[i] = sampler_.Sample(logits_, rows[i]);
  }
}

Status FakeDevice::Synchronize() {
  batch_ = nullptr;
  if (steps_left_ >= 0 && steps_left_-- == 0) {
    steps_left_ = 0;
    return ErrorF(StatusCode::kUnavailable, "the fake device was told to fail");
  }
  ++num_steps_;
  if (const int64_t nanos = step_time_ns_; nanos > 0) {
    std::this_thread::sleep_for(Duration(nanos));
  }
  return OkStatus();
}

void FakeDevice::ReadRow(const DeviceTensor& tensor, int32_t row, std::span<float> out) const {
  const uint64_t value = RowsOf(tensor)[static_cast<size_t>(row)];
  for (size_t col = 0; col < out.size(); ++col) {
    out[col] = LogitOf(value, static_cast<TokenId>(col));
  }
}

}  // namespace inferd
