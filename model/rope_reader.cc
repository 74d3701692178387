#include "model/rope_reader.h"

#include <cmath>
#include <limits>

#include "model/printable.h"

namespace inferd {
namespace {

constexpr char kLongFactors[] = "rope_factors_long.weight";
constexpr char kShortFactors[] = "rope_factors_short.weight";
constexpr char kFrequencyFactors[] = "rope_freqs.weight";
constexpr double kThetaMax = 1e12;
constexpr double kFactorMax = 1e6;

// `rope.scaling.type` and `.factor` as a factor of positions.
StatusOr<float> ReadPositionScale(const Family& family, ConfigReader& config) {
  ASSIGN_OR_RETURN(const std::string type, config.TextOr("rope.scaling.type"));
  const bool long_rope = type == "longrope" && family.long_rope;
  if (!type.empty() && type != "none" && type != "linear" && !long_rope) {
    return ErrorF(StatusCode::kUnimplemented,
                  "key %s: rope scaling %s is not served",
                  Quoted(config.FullKey("rope.scaling.type")),
                  Quoted(type));
  }
  ASSIGN_OR_RETURN(const float legacy, config.FloatOr("rope.scale_linear", 0, kFactorMax, 0.0f));
  ASSIGN_OR_RETURN(const float factor,
                   config.FloatOr("rope.scaling.factor", 0, kFactorMax, legacy));
  if (long_rope && factor != 0.0f && factor != 1.0f) {
    return ErrorF(StatusCode::kUnimplemented,
                  "key %s is %g: a factor beside long-rope factors is not served",
                  Quoted(config.FullKey("rope.scaling.factor")),
                  factor);
  }
  // 0 stands for "not scaled" in files.
  return type == "none" || factor == 0.0f ? 1.0f : 1.0f / factor;
}

Status CheckFactors(const char* name, const std::vector<float>& factors) {
  for (const float factor : factors) {
    // NaN fails every comparison.
    if (!(factor > 0.0f && factor <= std::numeric_limits<float>::max())) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "tensor %s: a rope factor that is not a positive number",
                    Quoted(name));
    }
  }
  return OkStatus();
}

// Long-rope models have two sets of factors. Which one holds is fixed for a served model by the
// context that it serves, never by a sequence's length: a row's numbers must not change when its
// sequence grows.
Status ReadLongRope(const RopeFacts& facts,
                    ConfigReader& config,
                    WeightReader& weights,
                    RopeConfig& rope) {
  ASSIGN_OR_RETURN(rope.magnitude, config.FloatOr("rope.scaling.attn_factor", 1e-3, 1e3, 1.0f));
  ASSIGN_OR_RETURN(const int32_t original,
                   config.IntOr("rope.scaling.original_context_length",
                                {1, std::numeric_limits<int32_t>::max()},
                                facts.context_declared));
  if (!weights.Has(kLongFactors) && !weights.Has(kShortFactors)) {
    ASSIGN_OR_RETURN(const std::string type, config.TextOr("rope.scaling.type"));
    if (type == "longrope") {
      return ErrorF(StatusCode::kInvalidArgument,
                    "rope scaling \"longrope\", but tensor %s is absent",
                    Quoted(kLongFactors));
    }
    return OkStatus();
  }
  ASSIGN_OR_RETURN(auto long_factors, weights.Values(kLongFactors, rope.rotary_dim / 2));
  ASSIGN_OR_RETURN(auto short_factors, weights.Values(kShortFactors, rope.rotary_dim / 2));
  RETURN_IF_ERROR(CheckFactors(kLongFactors, long_factors));
  RETURN_IF_ERROR(CheckFactors(kShortFactors, short_factors));
  rope.factors =
      facts.context_served > original ? std::move(long_factors) : std::move(short_factors);
  return OkStatus();
}

}  // namespace

StatusOr<ModelRope> ReadRope(const Family& family,
                             const RopeFacts& facts,
                             ConfigReader& config,
                             WeightReader& weights) {
  RopeConfig rope;
  rope.kind = family.rope;
  ASSIGN_OR_RETURN(rope.rotary_dim,
                   config.IntOr("rope.dimension_count", {2, facts.head_dim}, facts.head_dim));
  if (rope.rotary_dim % 2 != 0) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "key %s: %d is odd",
                  Quoted(config.FullKey("rope.dimension_count")),
                  rope.rotary_dim);
  }
  ASSIGN_OR_RETURN(rope.theta, config.FloatOr("rope.freq_base", 1.0, kThetaMax, 10000.0f));
  ASSIGN_OR_RETURN(rope.position_scale, ReadPositionScale(family, config));
  config.Ignore("rope.scaling.finetuned");
  if (family.long_rope) {
    RETURN_IF_ERROR(ReadLongRope(facts, config, weights, rope));
  } else {
    RETURN_IF_ERROR(config.ExpectFloat("rope.scaling.attn_factor", 1.0, "a rope magnitude"));
    config.Ignore("rope.scaling.original_context_length");  // says where the factor came from
  }
  if (family.frequency_factors && weights.Has(kFrequencyFactors)) {
    ASSIGN_OR_RETURN(rope.factors, weights.Values(kFrequencyFactors, rope.rotary_dim / 2));
    RETURN_IF_ERROR(CheckFactors(kFrequencyFactors, rope.factors));
  }
  ModelRope result{rope, rope};
  if (family.local_rope) {
    ASSIGN_OR_RETURN(result.local.theta,
                     config.FloatOr("rope.freq_base_swa", 1.0, kThetaMax, 10000.0f));
    result.local.position_scale = 1.0f;
    result.local.factors.clear();
  }
  return result;
}

}  // namespace inferd
