#include "cpu/packed_linear.h"

#include <algorithm>

#include "base/check.h"
#include "cpu/linear_run.h"
#include "cpu/pack.h"
#include "model/dequantize.h"

namespace inferd {

namespace {

using cpu_internal::AlignedBytes;
using cpu_internal::Gate;
using cpu_internal::IsFloat;
using cpu_internal::kFloatLanes;
using cpu_internal::kTileRows;
using cpu_internal::kTilesMax;
using cpu_internal::LinearCall;
using cpu_internal::LinearKernels;
using cpu_internal::RoundUp;
using cpu_internal::RowBlock;
using cpu_internal::Segment;
using cpu_internal::TileFormatOf;

// Packed weights of one unit of work: small enough to even out the team, large enough that
// claiming it costs nothing.
constexpr int64_t kUnitBytesMax = 96 << 10;

StatusOr<std::vector<float>> PadBias(const LinearSpec& spec, size_t part) {
  if (part >= spec.biases.size() || spec.biases[part].empty()) {
    return std::vector<float>();
  }
  const TensorView& bias = spec.biases[part];
  if (bias.num_values() != spec.parts[part].rows) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "bias %s has %d values for %d outputs",
                  bias.name,
                  bias.num_values(),
                  spec.parts[part].rows);
  }
  std::vector<float> values = Dequantize(bias);
  values.resize(static_cast<size_t>(RoundUp(bias.num_values(), kTileRows)));
  return values;
}

// Activations are put in order once for all parts. Those of one op have had the same inputs when
// they were quantised, and so the same order.
Status CheckColumnOrders(const LinearSpec& spec) {
  const auto first = spec.parts[0].column_order;
  for (const TensorView& part : spec.parts) {
    if (!std::equal(
            first.begin(), first.end(), part.column_order.begin(), part.column_order.end())) {
      return ErrorF(StatusCode::kUnimplemented,
                    "tensors %s and %s of one linear op have different orders of columns",
                    spec.parts[0].name,
                    part.name);
    }
  }
  return OkStatus();
}

Status CheckPart(const TensorView& part, int64_t in_features) {
  if (part.cols != in_features || part.cols <= 0 || part.rows <= 0) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "tensor %s is [%d, %d] in a linear op of %d inputs",
                  part.name,
                  part.rows,
                  part.cols,
                  in_features);
  }
  const int64_t multiple = IsFloat(part.format) ? 1 : TileFormatOf(part.format).BlockValues();
  constexpr int64_t kSizeMax = int64_t{1} << 30;
  if (part.cols % multiple != 0 || part.cols > kSizeMax || part.rows > kSizeMax) {
    return ErrorF(StatusCode::kUnimplemented,
                  "no kernel for tensor %s: %s [%d, %d]",
                  part.name,
                  Info(part.format).name,
                  part.rows,
                  part.cols);
  }
  return OkStatus();
}

}  // namespace

struct PackedLinear::Impl {
  int64_t in_features = 0;
  int64_t out_features = 0;
  Gate gate = Gate::kNone;
  std::vector<Segment> segments;
  // TensorView::column_order of all parts alike; empty: none.
  std::vector<int32_t> column_order;

  // Which forms of the activations the segments read.
  bool reads_groups32 = false;
  bool reads_groups16 = false;
  bool reads_floats = false;

  void NoteFormat(QuantFormat format) {
    reads_floats |= IsFloat(format);
    reads_groups32 |= !IsFloat(format) && TileFormatOf(format).group_values == 32;
    reads_groups16 |= !IsFloat(format) && TileFormatOf(format).group_values == 16;
  }
};

struct PackedLinear::Scratch::Impl {
  std::vector<RowBlock> blocks;
  AlignedBytes groups32;
  AlignedBytes groups16;
  AlignedBytes floats;         // rows of x padded to whole lanes, if x itself has none
  std::vector<float> ordered;  // rows of x in the columns' stored order, if there is one
};

PackedLinear::Scratch::Scratch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PackedLinear::Scratch::~Scratch() = default;

PackedLinear::PackedLinear(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PackedLinear::~PackedLinear() = default;

int32_t PackedLinear::in_features() const { return static_cast<int32_t>(impl_->in_features); }
int32_t PackedLinear::out_features() const { return static_cast<int32_t>(impl_->out_features); }

int64_t PackedLinear::size_bytes() const {
  int64_t bytes = 0;
  for (const Segment& segment : impl_->segments) {
    bytes += segment.bytes.size();
    for (const std::vector<float>& bias : segment.biases) {
      bytes += static_cast<int64_t>(bias.size() * sizeof(float));
    }
  }
  return bytes;
}

StatusOr<std::unique_ptr<PackedLinear>> PackedLinear::Pack(const LinearSpec& spec,
                                                           ThreadTeam& team) {
  if (spec.parts.empty() ||
      (spec.gated && (spec.parts.size() != 2 || spec.parts[0].rows != spec.parts[1].rows))) {
    return Status(StatusCode::kInvalidArgument, "a linear op without parts, or an uneven gate");
  }
  RETURN_IF_ERROR(CheckColumnOrders(spec));
  auto impl = std::make_unique<Impl>();
  impl->in_features = spec.parts[0].cols;
  impl->column_order.assign(spec.parts[0].column_order.begin(), spec.parts[0].column_order.end());
  if (spec.gated) {
    impl->gate = spec.activation == Activation::kSilu ? Gate::kSilu : Gate::kGeluTanh;
  }
  const size_t tiles_per_step = spec.gated ? 2 : 1;
  for (size_t part = 0; part < spec.parts.size(); part += tiles_per_step) {
    Segment segment;
    segment.tiles_per_step = static_cast<int>(tiles_per_step);
    segment.first_column = impl->out_features;
    segment.columns = spec.parts[part].rows;
    for (size_t i = 0; i < tiles_per_step; ++i) {
      const TensorView& tensor = spec.parts[part + i];
      RETURN_IF_ERROR(CheckPart(tensor, impl->in_features));
      segment.formats[i] = tensor.format;
      segment.tile_bytes[i] = cpu_internal::TileBytes(tensor.format, tensor.cols);
      ASSIGN_OR_RETURN(segment.biases[i], PadBias(spec, part + i));
      impl->NoteFormat(tensor.format);
    }
    segment.bytes = AlignedBytes(segment.num_steps() * segment.step_bytes());
    team.Run(segment.num_steps(), [&](int, int64_t step) {
      uint8_t* out = segment.bytes.data() + step * segment.step_bytes();
      for (size_t i = 0; i < tiles_per_step; ++i) {
        cpu_internal::PackTile(spec.parts[part + i], step, out);
        out += segment.tile_bytes[i];
      }
    });
    impl->out_features += segment.columns;
    impl->segments.push_back(std::move(segment));
  }
  return std::unique_ptr<PackedLinear>(new PackedLinear(std::move(impl)));
}

void PackedLinear::DequantizeRowTo(int64_t row, float scale, std::span<float> out) const {
  const Segment& segment = impl_->segments.front();
  CHECK(impl_->segments.size() == 1 && impl_->gate == Gate::kNone && row >= 0 &&
        row < segment.columns && static_cast<int64_t>(out.size()) == impl_->in_features);
  cpu_internal::DequantizeTileRow(segment.formats[0],
                                  segment.bytes.data() + row / kTileRows * segment.step_bytes(),
                                  static_cast<int>(row % kTileRows),
                                  out);
  RestoreColumns(impl_->column_order, out);
  if (scale != 1.0f) {
    for (float& value : out) {
      value *= scale;
    }
  }
}

namespace {

// Copies the rows of x in the stored order of the weights' columns and lets `run` read them.
void OrderColumns(std::span<const int32_t> order, LinearRun& run, std::vector<float>& ordered) {
  const size_t cols = order.size();
  ordered.resize(std::max(ordered.size(), static_cast<size_t>(run.rows) * cols));
  for (int32_t row = 0; row < run.rows; ++row) {
    const float* from = run.x + row * run.x_stride;
    float* to = ordered.data() + static_cast<size_t>(row) * cols;
    for (size_t i = 0; i < cols; ++i) {
      to[i] = from[order[i]];
    }
  }
  run.x = ordered.data();
  run.x_stride = static_cast<int64_t>(cols);
}

}  // namespace

std::unique_ptr<PackedLinear::Scratch> PackedLinear::MakeScratch() {
  return std::unique_ptr<Scratch>(new Scratch(std::make_unique<Scratch::Impl>()));
}

void PackedLinear::Run(CpuIsa isa,
                       ThreadTeam& team,
                       const LinearRun& given,
                       Scratch& caller_scratch) const {
  if (given.rows <= 0) {
    return;
  }
  Scratch::Impl& scratch = *caller_scratch.impl_;
  LinearRun run = given;
  if (!impl_->column_order.empty()) {
    OrderColumns(impl_->column_order, run, scratch.ordered);
  }
  const LinearKernels& kernels = cpu_internal::LinearKernelsFor(isa);
  cpu_internal::CutRows(kernels, run.rows, impl_->in_features, scratch.blocks);
  LinearCall call{.kernels = &kernels,
                  .run = &run,
                  .in_features = impl_->in_features,
                  .gate = impl_->gate,
                  .blocks = scratch.blocks,
                  .x = run.x,
                  .x_stride = run.x_stride};
  if (impl_->reads_groups32) {
    cpu_internal::QuantizeBlocks(call, team, 32, scratch.groups32);
    call.groups32 = scratch.groups32.data();
  }
  if (impl_->reads_groups16) {
    cpu_internal::QuantizeBlocks(call, team, 16, scratch.groups16);
    call.groups16 = scratch.groups16.data();
  }
  if (impl_->reads_floats && impl_->in_features % kFloatLanes != 0) {
    cpu_internal::PadFloats(run, impl_->in_features, scratch.floats);
    call.x = reinterpret_cast<const float*>(scratch.floats.data());
    call.x_stride = RoundUp(impl_->in_features, kFloatLanes);
  }

  // Units of whole lockstep groups of tiles, at least six for each thread where there are enough.
  struct UnitRange {
    int64_t first_unit;
    int64_t steps_per_unit;
  };
  std::vector<UnitRange> ranges;
  ranges.reserve(impl_->segments.size());
  int64_t num_units = 0;
  const int64_t even_bytes = size_bytes() / (6 * team.size());
  for (const Segment& segment : impl_->segments) {
    const int64_t lockstep = kTilesMax / segment.tiles_per_step;
    const int64_t steps = std::min(kUnitBytesMax, even_bytes) / segment.step_bytes();
    const int64_t steps_per_unit = std::max(lockstep, steps / lockstep * lockstep);
    ranges.push_back({num_units, steps_per_unit});
    num_units += (segment.num_steps() + steps_per_unit - 1) / steps_per_unit;
  }
  team.Run(num_units, [&](int, int64_t unit) {
    size_t index = ranges.size() - 1;
    while (unit < ranges[index].first_unit) {
      --index;
    }
    const Segment& segment = impl_->segments[index];
    const int64_t first = (unit - ranges[index].first_unit) * ranges[index].steps_per_unit;
    cpu_internal::RunUnit(
        call, segment, first, std::min(ranges[index].steps_per_unit, segment.num_steps() - first));
  });
}

}  // namespace inferd

namespace inferd::cpu_internal {

const LinearKernels& LinearKernelsFor(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kAvx512:
      return Avx512LinearKernels();
    case CpuIsa::kAvx2:
      return Avx2LinearKernels();
    case CpuIsa::kScalar:
      break;
  }
  return ScalarLinearKernels();
}

}  // namespace inferd::cpu_internal
