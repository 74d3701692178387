#include "cpu/exact_device.h"

#include <algorithm>
#include <functional>

#include "backend/kv_layout.h"
#include "base/check.h"
#include "cpu/exact_math.h"
#include "cpu/exact_objects.h"
#include "cpu/sampling.h"
#include "model/dequantize.h"

namespace inferd {
namespace cpu_internal {
namespace {

// A step's limit; scratch of the Transformer is sized from it, nothing here is.
constexpr int32_t kRowsMax = 8192;
// Rows of x that a pass over the weights serves: 16 rows of 8k values in f64 are 1 MB.
constexpr int64_t kRowBlock = 16;

class ExactDevice final : public Device {
 public:
  const DeviceCapabilities& capabilities() const override { return capabilities_; }

  StatusOr<std::unique_ptr<DeviceLinear>> LoadLinear(const LinearSpec& spec) override;
  StatusOr<std::unique_ptr<DeviceVector>> LoadVector(const TensorView& vector) override {
    return std::unique_ptr<DeviceVector>(std::make_unique<ExactVector>(Dequantize(vector)));
  }
  StatusOr<std::unique_ptr<DeviceTensor>> AllocateTensor(int32_t rows_max, int32_t cols) override;
  int64_t StateUnitBytes(const ModelConfig& config, int32_t group) const override {
    return KvLayout(config).unit_values(group) * static_cast<int64_t>(sizeof(float));
  }
  StatusOr<std::unique_ptr<DeviceState>> AllocateState(const ModelConfig& config,
                                                       std::span<const int64_t> units) override;

  void BeginStep(const ForwardBatch& batch) override;
  void Embed(const DeviceLinear& table, float scale, DeviceTensor& out) override;
  void RmsNorm(const RmsNormArgs& args) override;
  void Linear(const LinearArgs& args) override;
  void RopeAppendKv(const RopeAppendKvArgs& args) override;
  void PagedAttention(const PagedAttentionArgs& args) override;
  void Logits(const DeviceTensor& x,
              const DeviceLinear& weight,
              float scale,
              float cap,
              DeviceTensor& out) override;
  void Sample(const DeviceTensor& logits,
              std::span<const SampleRow> rows,
              std::span<SampledToken> result) override;
  Status Synchronize() override { return OkStatus(); }
  void ReadRow(const DeviceTensor& tensor, int32_t row, std::span<float> out) const override;

 private:
  // store(row, column, y) for each row of xs and each output of the weights.
  using Store = std::function<void(size_t, int32_t, double)>;
  void Multiply(std::span<const float* const> xs, const ExactLinear& weight, const Store& store);
  // The unit's memory that holds a position of the sequence of `row`.
  float* UnitAt(const ExactState& state, int32_t group, int32_t row, int64_t position) const;
  void AttendHead(const PagedAttentionArgs& args,
                  const ExactState& state,
                  int32_t row,
                  int32_t head);

  const DeviceCapabilities capabilities_{
      .name = "exact", .contract = "exact.1", .rows_max = kRowsMax};
  const ForwardBatch* batch_ = nullptr;
  std::vector<size_t> sequence_of_row_;
  Sampler sampler_;
  std::vector<double> x_block_, w_row_, up_row_, head_, scores_;  // scratch
};

StatusOr<std::unique_ptr<DeviceLinear>> ExactDevice::LoadLinear(const LinearSpec& spec) {
  CHECK(!spec.parts.empty());
  CHECK(spec.biases.empty() || spec.biases.size() == spec.parts.size());
  CHECK(!spec.gated || (spec.parts.size() == 2 && spec.parts[0].rows == spec.parts[1].rows));
  auto linear = std::make_unique<ExactLinear>();
  int64_t rows = 0;
  for (const TensorView& part : spec.parts) {
    CHECK(part.cols == spec.parts[0].cols);
    rows += part.rows;
  }
  linear->in = static_cast<int32_t>(spec.parts[0].cols);
  linear->out = static_cast<int32_t>(spec.gated ? rows / 2 : rows);
  linear->gated = spec.gated;
  linear->activation = spec.activation;
  linear->weights.resize(static_cast<size_t>(rows * linear->in));
  int64_t row = 0;
  for (size_t i = 0; i < spec.parts.size(); ++i) {
    const TensorView& part = spec.parts[i];
    const auto row_bytes = static_cast<size_t>(RowBytes(part.format, part.cols));
    for (int64_t r = 0; r < part.rows; ++r, ++row) {
      const auto values =
          std::span(linear->weights)
              .subspan(static_cast<size_t>(row * linear->in), static_cast<size_t>(linear->in));
      DequantizeRow(
          part.format, part.data.subspan(static_cast<size_t>(r) * row_bytes, row_bytes), values);
      RestoreColumns(part.column_order, values);
    }
    if (!spec.biases.empty()) {
      std::vector<float> bias(static_cast<size_t>(part.rows), 0.0f);
      if (!spec.biases[i].empty()) {
        bias = Dequantize(spec.biases[i]);
        CHECK(bias.size() == static_cast<size_t>(part.rows));
      }
      linear->bias.insert(linear->bias.end(), bias.begin(), bias.end());
    }
  }
  return std::unique_ptr<DeviceLinear>(std::move(linear));
}

StatusOr<std::unique_ptr<DeviceTensor>> ExactDevice::AllocateTensor(int32_t rows_max,
                                                                    int32_t cols) {
  auto tensor = std::make_unique<ExactTensor>(rows_max, cols);
  if (!tensor->ok()) {
    return ErrorF(StatusCode::kResourceExhausted,
                  "exact: no memory for activations [%d, %d]",
                  rows_max,
                  cols);
  }
  return std::unique_ptr<DeviceTensor>(std::move(tensor));
}

StatusOr<std::unique_ptr<DeviceState>> ExactDevice::AllocateState(const ModelConfig& config,
                                                                  std::span<const int64_t> units) {
  auto state = std::make_unique<ExactState>(config);
  CHECK(units.size() == static_cast<size_t>(state->layout.num_groups()));
  for (size_t group = 0; group < units.size(); ++group) {
    const int64_t values = units[group] * state->layout.unit_values(static_cast<int32_t>(group));
    state->groups.emplace_back(std::max<int64_t>(values, 1));
    if (!state->groups.back().ok()) {
      return ErrorF(StatusCode::kResourceExhausted,
                    "exact: no memory for %d units of state group %d",
                    units[group],
                    group);
    }
    state->units.push_back(units[group]);
    state->bytes += values * static_cast<int64_t>(sizeof(float));
  }
  return std::unique_ptr<DeviceState>(std::move(state));
}

void ExactDevice::BeginStep(const ForwardBatch& batch) {
  batch_ = &batch;
  sequence_of_row_.assign(batch.tokens.size(), 0);
  size_t row = 0;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceRows& sequence = batch.sequences[s];
    CHECK(static_cast<size_t>(sequence.first_row) == row);
    for (int32_t i = 0; i < sequence.n_rows; ++i, ++row) {
      CHECK(row < batch.tokens.size() && batch.positions[row] == sequence.start + i);
      sequence_of_row_[row] = s;
    }
  }
  CHECK(row == batch.tokens.size());
}

void ExactDevice::Embed(const DeviceLinear& table, float scale, DeviceTensor& out) {
  const auto& weights = As<const ExactLinear>(table);
  const auto& to = As<const ExactTensor>(out);
  for (int32_t row = 0; row < batch_->n_rows(); ++row) {
    const TokenId token = batch_->tokens[static_cast<size_t>(row)];
    CHECK(token >= 0 && token < weights.out);
    const float* from = weights.row(token);
    for (int32_t i = 0; i < weights.in; ++i) {
      to.row(row)[i] = from[i] * scale;
    }
  }
}

void ExactDevice::RmsNorm(const RmsNormArgs& args) {
  const auto& x = As<const ExactTensor>(*args.x);
  const auto& weight = As<const ExactVector>(*args.weight);
  const auto& out = As<const ExactTensor>(*args.out);
  const int32_t n = x.cols();
  CHECK(weight.values.size() == static_cast<size_t>(n) && out.cols() == n);
  std::vector<double>& normal = head_;
  normal.resize(static_cast<size_t>(n));
  for (int32_t row = 0; row < batch_->n_rows(); ++row) {
    Normalize(x.row(row), weight.values.data(), n, args.epsilon, normal.data());
    const float* residual =
        args.residual == nullptr ? nullptr : As<const ExactTensor>(*args.residual).row(row);
    for (int32_t i = 0; i < n; ++i) {
      const double base = residual == nullptr ? 0.0 : static_cast<double>(residual[i]);
      out.row(row)[i] = static_cast<float>(base + normal[static_cast<size_t>(i)]);
    }
  }
}

void ExactDevice::Multiply(std::span<const float* const> xs,
                           const ExactLinear& weight,
                           const Store& store) {
  const int64_t in = weight.in;
  w_row_.resize(static_cast<size_t>(in));
  up_row_.resize(static_cast<size_t>(in));
  x_block_.resize(static_cast<size_t>(kRowBlock * in));
  const auto bias = [&](int64_t row) {
    return weight.bias.empty() ? 0.0 : static_cast<double>(weight.bias[static_cast<size_t>(row)]);
  };
  for (size_t first = 0; first < xs.size(); first += kRowBlock) {
    const size_t rows = std::min<size_t>(kRowBlock, xs.size() - first);
    for (size_t r = 0; r < rows; ++r) {
      std::copy_n(xs[first + r], in, x_block_.begin() + static_cast<int64_t>(r) * in);
    }
    for (int32_t o = 0; o < weight.out; ++o) {
      std::copy_n(weight.row(o), in, w_row_.begin());
      if (weight.gated) {
        std::copy_n(weight.row(weight.out + o), in, up_row_.begin());
      }
      for (size_t r = 0; r < rows; ++r) {
        const double* x = x_block_.data() + static_cast<int64_t>(r) * in;
        double y = Dot(x, w_row_.data(), in) + bias(o);
        if (weight.gated) {
          y = Activate(weight.activation, y) *
              (Dot(x, up_row_.data(), in) + bias(int64_t{weight.out} + o));
        }
        store(first + r, o, y);
      }
    }
  }
}

void ExactDevice::Linear(const LinearArgs& args) {
  const auto& x = As<const ExactTensor>(*args.x);
  const auto& weight = As<const ExactLinear>(*args.weight);
  const auto& out = As<const ExactTensor>(*args.out);
  const auto* residual =
      args.residual == nullptr ? nullptr : &As<const ExactTensor>(*args.residual);
  CHECK(x.cols() == weight.in && out.cols() == weight.out);
  std::vector<const float*> xs;
  xs.reserve(static_cast<size_t>(batch_->n_rows()));
  for (int32_t row = 0; row < batch_->n_rows(); ++row) {
    xs.push_back(x.row(row));
  }
  Multiply(xs, weight, [&](size_t index, int32_t column, double y) {
    const auto row = static_cast<int32_t>(index);
    if (residual != nullptr) {
      y += static_cast<double>(residual->row(row)[column]);
    }
    out.row(row)[column] = static_cast<float>(y);
  });
}

void ExactDevice::Logits(
    const DeviceTensor& x, const DeviceLinear& weight, float scale, float cap, DeviceTensor& out) {
  const auto& from = As<const ExactTensor>(x);
  const auto& linear = As<const ExactLinear>(weight);
  const auto& to = As<const ExactTensor>(out);
  CHECK(from.cols() == linear.in && to.cols() == linear.out);
  std::vector<const float*> xs;
  xs.reserve(batch_->logit_rows.size());
  for (const int32_t row : batch_->logit_rows) {
    xs.push_back(from.row(row));
  }
  Multiply(xs, linear, [&](size_t index, int32_t column, double y) {
    to.row(static_cast<int32_t>(index))[column] =
        static_cast<float>(Cap(y * static_cast<double>(scale), static_cast<double>(cap)));
  });
}

float* ExactDevice::UnitAt(const ExactState& state,
                           int32_t group,
                           int32_t row,
                           int64_t position) const {
  const SequenceRows& sequence = batch_->sequences[sequence_of_row_[static_cast<size_t>(row)]];
  const auto& table = sequence.block_tables[static_cast<size_t>(group)];
  const auto entry = static_cast<size_t>(position / kBlockTokens);
  CHECK(entry < table.size() && table[entry] < state.units[static_cast<size_t>(group)]);
  return state.groups[static_cast<size_t>(group)].at(table[entry] *
                                                     state.layout.unit_values(group));
}

void ExactDevice::RopeAppendKv(const RopeAppendKvArgs& args) {
  const auto& qkv = As<const ExactTensor>(*args.qkv);
  const auto& state = As<const ExactState>(*args.state);
  const AttentionConfig& attention = *args.attention;
  const KvLayerPart& part = state.layout.part(args.layer);
  const int64_t dk = attention.head_dim;
  const int64_t dv = attention.head_dim_v;
  const bool owns_kv = attention.source_layer == args.layer;
  const int64_t q_width = attention.n_heads * dk;
  CHECK(qkv.cols() == q_width + (owns_kv ? attention.n_kv_heads * (dk + dv) : 0));
  head_.resize(static_cast<size_t>(dk));

  const auto transform =
      [&](const float* from, const DeviceVector* norm, const Rotation& rotation) {
        if (norm != nullptr) {
          const auto& weight = As<const ExactVector>(*norm);
          CHECK(weight.values.size() == static_cast<size_t>(dk));
          Normalize(from, weight.values.data(), dk, args.epsilon, head_.data());
        } else {
          std::copy_n(from, dk, head_.begin());
        }
        Rotate(attention.rope, rotation, head_.data());
      };
  const auto round_to = [&](float* to) {
    std::transform(
        head_.begin(), head_.end(), to, [](double value) { return static_cast<float>(value); });
  };

  for (int32_t row = 0; row < batch_->n_rows(); ++row) {
    const int64_t position = batch_->positions[static_cast<size_t>(row)];
    const Rotation rotation = RotationAt(attention.rope, position);
    for (int32_t h = 0; h < attention.n_heads; ++h) {
      float* q = qkv.row(row) + h * dk;
      transform(q, args.q_norm, rotation);
      round_to(q);
    }
    if (!owns_kv) {
      continue;
    }
    float* unit = UnitAt(state, part.group, row, position);
    const int64_t slot = position % kBlockTokens;
    for (int32_t h = 0; h < attention.n_kv_heads; ++h) {
      const float* k = qkv.row(row) + q_width + h * dk;
      const float* v = qkv.row(row) + q_width + attention.n_kv_heads * dk + h * dv;
      transform(k, args.k_norm, rotation);
      round_to(unit + part.k_offset + (h * kBlockTokens + slot) * dk);
      std::copy_n(v, dv, unit + part.v_offset + (h * kBlockTokens + slot) * dv);
    }
  }
}

void ExactDevice::AttendHead(const PagedAttentionArgs& args,
                             const ExactState& state,
                             int32_t row,
                             int32_t head) {
  const AttentionConfig& attention = *args.attention;
  const KvLayerPart& part = state.layout.part(args.layer);
  const int64_t dk = attention.head_dim;
  const int64_t dv = attention.head_dim_v;
  const int32_t kv_head = head / (attention.n_heads / attention.n_kv_heads);
  const float* q = As<const ExactTensor>(*args.qkv).row(row) + head * dk;
  const int64_t position = batch_->positions[static_cast<size_t>(row)];
  const int64_t first =
      attention.window == 0 ? 0 : std::max<int64_t>(0, position - attention.window + 1);

  scores_.clear();
  double peak = -std::numeric_limits<double>::infinity();
  for (int64_t j = first; j <= position; ++j) {
    const float* k = UnitAt(state, part.group, row, j) + part.k_offset +
                     (kv_head * kBlockTokens + j % kBlockTokens) * dk;
    double score = 0.0;
    for (int64_t i = 0; i < dk; ++i) {
      score += static_cast<double>(q[i]) * static_cast<double>(k[i]);
    }
    score =
        Cap(score * static_cast<double>(attention.scale), static_cast<double>(attention.logit_cap));
    peak = std::max(peak, score);
    scores_.push_back(score);
  }
  head_.assign(static_cast<size_t>(dv), 0.0);
  double sum = 0.0;
  for (int64_t j = first; j <= position; ++j) {
    const double weight = std::exp(scores_[static_cast<size_t>(j - first)] - peak);
    sum += weight;
    const float* v = UnitAt(state, part.group, row, j) + part.v_offset +
                     (kv_head * kBlockTokens + j % kBlockTokens) * dv;
    for (int64_t i = 0; i < dv; ++i) {
      head_[static_cast<size_t>(i)] += weight * static_cast<double>(v[i]);
    }
  }
  float* out = As<const ExactTensor>(*args.out).row(row) + head * dv;
  for (int64_t i = 0; i < dv; ++i) {
    out[i] = static_cast<float>(head_[static_cast<size_t>(i)] / sum);
  }
}

void ExactDevice::PagedAttention(const PagedAttentionArgs& args) {
  const auto& state = As<const ExactState>(*args.state);
  const AttentionConfig& attention = *args.attention;
  CHECK(args.out->cols() == attention.n_heads * attention.head_dim_v);
  for (int32_t row = 0; row < batch_->n_rows(); ++row) {
    for (int32_t head = 0; head < attention.n_heads; ++head) {
      AttendHead(args, state, row, head);
    }
  }
}

void ExactDevice::Sample(const DeviceTensor& logits,
                         std::span<const SampleRow> rows,
                         std::span<SampledToken> result) {
  const auto& tensor = As<const ExactTensor>(logits);
  CHECK(result.size() == rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::span<const float> row(tensor.row(rows[i].logits_row),
                                     static_cast<size_t>(tensor.cols()));
    result[i] = sampler_.Sample(row, rows[i]);
  }
}

void ExactDevice::ReadRow(const DeviceTensor& tensor, int32_t row, std::span<float> out) const {
  const auto& from = As<const ExactTensor>(tensor);
  CHECK(row >= 0 && row < from.rows_max() && out.size() == static_cast<size_t>(from.cols()));
  std::copy_n(from.row(row), from.cols(), out.begin());
}

}  // namespace
}  // namespace cpu_internal

std::unique_ptr<Device> MakeExactDevice() { return std::make_unique<cpu_internal::ExactDevice>(); }

}  // namespace inferd
