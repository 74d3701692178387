#include "cpu/cpu_device.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "cpu/cpu_state.h"
#include "cpu/cpu_topology.h"
#include "cpu/mapped_memory.h"
#include "model/dequantize.h"

namespace inferd {
namespace {

constexpr int32_t kRowsMax = 8192;
constexpr int kThreadsMax = 1024;
// A unit of row work; a region costs less than a microsecond.
constexpr int64_t kUnitNs = 4000;

class CpuTensor final : public DeviceTensor {
 public:
  static StatusOr<std::unique_ptr<DeviceTensor>> Allocate(int32_t rows_max, int32_t cols) {
    auto tensor = std::make_unique<CpuTensor>(rows_max, cols);
    ASSIGN_OR_RETURN(
        tensor->memory_,
        MappedMemory::Allocate(rows_max * tensor->stride() * static_cast<int64_t>(sizeof(float))));
    return tensor;
  }
  CpuTensor(int32_t rows_max, int32_t cols) : rows_max_(rows_max), cols_(cols) {}

  int32_t rows_max() const override { return rows_max_; }
  int32_t cols() const override { return cols_; }
  // Floats from one row to the next: whole cache lines.
  int64_t stride() const { return (static_cast<int64_t>(cols_) + 15) / 16 * 16; }
  float* row(int64_t index) const { return memory_.floats() + index * stride(); }

 private:
  int32_t rows_max_;
  int32_t cols_;
  MappedMemory memory_;
};

class CpuVector final : public DeviceVector {
 public:
  explicit CpuVector(std::vector<float> values) : values_(std::move(values)) {}
  const float* data() const { return values_.data(); }

 private:
  std::vector<float> values_;
};

// The objects of a device are of its own types: the caller's promise (Device).
const CpuTensor& Of(const DeviceTensor& tensor) { return static_cast<const CpuTensor&>(tensor); }
const float* Of(const DeviceVector* vector) {
  return vector == nullptr ? nullptr : static_cast<const CpuVector*>(vector)->data();
}
const PackedLinear& Of(const DeviceLinear& linear) {
  return static_cast<const PackedLinear&>(linear);
}
const CpuState& Of(const DeviceState& state) { return static_cast<const CpuState&>(state); }

}  // namespace

CpuDevice::CpuDevice(const Options& options)
    : isa_(options.isa),
      kernels_(KernelsFor(options.isa)),
      team_(options.threads),
      linear_scratch_(PackedLinear::MakeScratch()),
      samplers_(static_cast<size_t>(options.threads)) {
  capabilities_.name = std::string("cpu ") + std::string(Name(isa_));
  capabilities_.contract = "cpu-int8g32-v1";
  capabilities_.rows_max = kRowsMax;
}

CpuDevice::~CpuDevice() = default;

StatusOr<std::unique_ptr<CpuDevice>> CpuDevice::Create(const Options& options) {
  if (!IsSupported(options.isa)) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "this host has no %s; the best it has is %s",
                  Name(options.isa),
                  Name(BestIsa()));
  }
  if (options.threads < 0 || options.threads > kThreadsMax) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "threads: %d is not in [0, %d]",
                  options.threads,
                  kThreadsMax);
  }
  Options chosen = options;
  if (chosen.threads == 0) {
    chosen.threads = PhysicalCoresAllowed();
  }
  return std::unique_ptr<CpuDevice>(new CpuDevice(chosen));
}

StatusOr<std::unique_ptr<DeviceLinear>> CpuDevice::LoadLinear(const LinearSpec& spec) {
  ASSIGN_OR_RETURN(std::unique_ptr<PackedLinear> packed, PackedLinear::Pack(spec, team_));
  return packed;
}

StatusOr<std::unique_ptr<DeviceVector>> CpuDevice::LoadVector(const TensorView& vector) {
  return std::make_unique<CpuVector>(Dequantize(vector));
}

StatusOr<std::unique_ptr<DeviceTensor>> CpuDevice::AllocateTensor(int32_t rows_max, int32_t cols) {
  return CpuTensor::Allocate(rows_max, cols);
}

int64_t CpuDevice::StateUnitBytes(const ModelConfig& config, int32_t group) const {
  return CpuState::UnitBytes(KvLayout(config), group);
}

StatusOr<std::unique_ptr<DeviceState>> CpuDevice::AllocateState(const ModelConfig& config,
                                                                std::span<const int64_t> units) {
  return CpuState::Allocate(config, units);
}

template <typename Body>
void CpuDevice::ForRows(int64_t rows, int64_t row_cost_ns, const Body& body) {
  const int64_t rows_per_unit = std::max<int64_t>(1, kUnitNs / std::max<int64_t>(1, row_cost_ns));
  team_.Run((rows + rows_per_unit - 1) / rows_per_unit, [&](int, int64_t unit) {
    const int64_t end = std::min(rows, (unit + 1) * rows_per_unit);
    for (int64_t row = unit * rows_per_unit; row < end; ++row) {
      body(static_cast<int32_t>(row));
    }
  });
}

void CpuDevice::BeginStep(const ForwardBatch& batch) {
  batch_ = &batch;
  ++step_;
  row_sequence_.resize(batch.tokens.size());
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceRows& sequence = batch.sequences[s];
    std::fill_n(
        row_sequence_.begin() + sequence.first_row, sequence.n_rows, static_cast<int32_t>(s));
  }
}

void CpuDevice::Embed(const DeviceLinear& table, float scale, DeviceTensor& out) {
  const PackedLinear& rows = Of(table);
  const CpuTensor& result = Of(out);
  ForRows(batch_->n_rows(), result.cols() * 2, [&](int32_t row) {
    rows.DequantizeRowTo(batch_->tokens[static_cast<size_t>(row)],
                         scale,
                         {result.row(row), static_cast<size_t>(result.cols())});
  });
}

void CpuDevice::RmsNorm(const RmsNormArgs& args) {
  const CpuTensor& x = Of(*args.x);
  const CpuTensor& out = Of(*args.out);
  const float* weight = Of(args.weight);
  ForRows(batch_->n_rows(), x.cols() / 8, [&](int32_t row) {
    const float* residual = args.residual == nullptr ? nullptr : Of(*args.residual).row(row);
    kernels_.rms_norm(x.row(row), weight, args.epsilon, residual, out.row(row), x.cols());
  });
}

void CpuDevice::Linear(const LinearArgs& args) {
  const CpuTensor& x = Of(*args.x);
  const CpuTensor& out = Of(*args.out);
  LinearRun run;
  run.x = x.row(0);
  run.x_stride = x.stride();
  run.rows = batch_->n_rows();
  if (args.residual != nullptr) {
    run.residual = Of(*args.residual).row(0);
    run.residual_stride = Of(*args.residual).stride();
  }
  run.out = out.row(0);
  run.out_stride = out.stride();
  Of(*args.weight).Run(isa_, team_, run, *linear_scratch_);
}

RopeTable& CpuDevice::RopeTableFor(const RopeConfig& config) {
  for (RopeTable& table : ropes_) {
    if (table.config() == config) {
      return table;
    }
  }
  return ropes_.emplace_back(config);
}

void CpuDevice::RopeAppendRow(const RopeAppendKvArgs& args, const RopeTable& rope, int32_t row) {
  const AttentionConfig& attention = *args.attention;
  const CpuState& state = Of(*args.state);
  const int32_t dk = attention.head_dim;
  const auto prepare = [&](float* head, const float* norm) {
    if (norm != nullptr) {
      kernels_.rms_norm(head, norm, args.epsilon, nullptr, head, dk);
    }
    if (attention.rope.kind == RopeKind::kHalves) {
      kernels_.rope_halves(head, rope.cosines(row), rope.sines(row), rope.half());
    } else if (attention.rope.kind == RopeKind::kInterleaved) {
      kernels_.rope_interleaved(head, rope.cosines(row), rope.sines(row), rope.half());
    }
  };
  float* head = Of(*args.qkv).row(row);
  for (int32_t h = 0; h < attention.n_heads; ++h, head += dk) {
    prepare(head, Of(args.q_norm));
  }
  if (attention.source_layer != args.layer) {
    return;
  }
  const SequenceRows& sequence =
      batch_->sequences[static_cast<size_t>(row_sequence_[static_cast<size_t>(row)])];
  const int64_t position = batch_->positions[static_cast<size_t>(row)];
  const int64_t block = sequence.block_tables[static_cast<size_t>(attention.state_group)]
                                             [static_cast<size_t>(position / kBlockTokens)];
  const auto slot = static_cast<int32_t>(position % kBlockTokens);
  const float* value = head + static_cast<int64_t>(attention.n_kv_heads) * dk;
  for (int32_t h = 0; h < attention.n_kv_heads; ++h, head += dk, value += attention.head_dim_v) {
    prepare(head, Of(args.k_norm));
    const CpuState::HeadPart part = state.Part(args.layer, h);
    const int64_t unit = block * part.unit_bytes;
    kernels_.append_key(head, dk, slot, reinterpret_cast<uint16_t*>(part.keys + unit));
    kernels_.append_value(
        value, attention.head_dim_v, slot, reinterpret_cast<uint16_t*>(part.values + unit));
  }
}

void CpuDevice::RopeAppendKv(const RopeAppendKvArgs& args) {
  RopeTable& rope = RopeTableFor(args.attention->rope);
  rope.Fill(step_, batch_->positions, team_);
  ForRows(
      batch_->n_rows(), Of(*args.qkv).cols(), [&](int32_t row) { RopeAppendRow(args, rope, row); });
}

void CpuDevice::AddTiles(const PagedAttentionArgs& args, const SequenceRows& sequence) {
  const AttentionConfig& attention = *args.attention;
  const CpuState& state = Of(*args.state);
  const CpuTensor& qkv = Of(*args.qkv);
  const CpuTensor& out = Of(*args.out);
  const int32_t group = attention.n_heads / attention.n_kv_heads;
  const int32_t tile_positions = CpuAttention::TilePositions(group);
  const int32_t num_tiles = (sequence.n_rows + tile_positions - 1) / tile_positions;
  for (int32_t t = num_tiles - 1; t >= 0; --t) {  // the longest first
    const int32_t first = t * tile_positions;
    for (int32_t h = 0; h < attention.n_kv_heads; ++h) {
      const CpuState::HeadPart part = state.Part(args.layer, h);
      const int64_t row = sequence.first_row + first;
      const int64_t head = static_cast<int64_t>(h) * group;
      AttentionTile& tile = tiles_.emplace_back();
      tile.q = qkv.row(row) + head * attention.head_dim;
      tile.q_stride = qkv.stride();
      tile.out = out.row(row) + head * attention.head_dim_v;
      tile.out_stride = out.stride();
      tile.positions = std::min(tile_positions, sequence.n_rows - first);
      tile.group = group;
      tile.start = sequence.start + first;
      tile.dk = attention.head_dim;
      tile.dv = attention.head_dim_v;
      tile.dv_padded = (attention.head_dim_v + 15) / 16 * 16;
      tile.window = attention.window;
      tile.scale = attention.scale;
      tile.logit_cap = attention.logit_cap;
      tile.table = sequence.block_tables[static_cast<size_t>(attention.state_group)].data();
      tile.keys = part.keys;
      tile.values = part.values;
      tile.unit_bytes = part.unit_bytes;
    }
  }
}

void CpuDevice::PagedAttention(const PagedAttentionArgs& args) {
  tiles_.clear();
  for (const SequenceRows& sequence : batch_->sequences) {
    AddTiles(args, sequence);
  }
  attention_.Run(kernels_, team_, tiles_);
}

void CpuDevice::Logits(
    const DeviceTensor& x, const DeviceLinear& weight, float scale, float cap, DeviceTensor& out) {
  const std::vector<int32_t>& rows = batch_->logit_rows;
  if (rows.empty()) {
    return;
  }
  const CpuTensor& input = Of(x);
  LinearRun run;
  run.rows = static_cast<int32_t>(rows.size());
  run.scale = scale;
  run.cap = cap;
  run.out = Of(out).row(0);
  run.out_stride = Of(out).stride();
  run.x = input.row(rows.front());
  run.x_stride = input.stride();
  if (rows.back() - rows.front() + 1 != run.rows) {
    const auto cols = static_cast<size_t>(input.cols());
    logit_inputs_.resize(std::max(logit_inputs_.size(), rows.size() * cols));
    for (size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(&logit_inputs_[i * cols], input.row(rows[i]), cols * sizeof(float));
    }
    run.x = logit_inputs_.data();
    run.x_stride = static_cast<int64_t>(cols);
  }
  Of(weight).Run(isa_, team_, run, *linear_scratch_);
}

void CpuDevice::Sample(const DeviceTensor& logits,
                       std::span<const SampleRow> rows,
                       std::span<SampledToken> result) {
  CHECK(rows.size() == result.size());
  const CpuTensor& table = Of(logits);
  team_.Run(static_cast<int64_t>(rows.size()), [&](int worker, int64_t index) {
    const SampleRow& row = rows[static_cast<size_t>(index)];
    result[static_cast<size_t>(index)] = samplers_[static_cast<size_t>(worker)].Sample(
        {table.row(row.logits_row), static_cast<size_t>(table.cols())}, row);
  });
}

Status CpuDevice::Synchronize() { return OkStatus(); }

void CpuDevice::ReadRow(const DeviceTensor& tensor, int32_t row, std::span<float> out) const {
  const CpuTensor& source = Of(tensor);
  CHECK(row >= 0 && row < source.rows_max() && out.size() <= static_cast<size_t>(source.cols()));
  std::memcpy(out.data(), source.row(row), out.size_bytes());
}

}  // namespace inferd
