#include "model/family_weights.h"

#include <string>

namespace inferd {
namespace {

Status ReadVectorIf(Presence presence,
                    const std::string& name,
                    int64_t cols,
                    WeightReader& reader,
                    TensorView& vector) {
  if (presence == Presence::kAbsent) {
    return OkStatus();  // one that is there all the same is refused as not understood
  }
  if (presence == Presence::kOptional) {
    ASSIGN_OR_RETURN(vector, reader.OptionalVector(name, cols));
    return OkStatus();
  }
  ASSIGN_OR_RETURN(vector, reader.Vector(name, cols));
  return OkStatus();
}

Presence RequiredIf(bool condition) { return condition ? Presence::kRequired : Presence::kAbsent; }

// Builds one layer's weights; `Name("attn_q.weight")` is the tensor's full name.
class LayerReader {
 public:
  LayerReader(const Family& family,
              const LayerConfig& layer,
              int64_t d_model,
              size_t index,
              WeightReader& reader)
      : family_(family),
        layer_(layer),
        d_model_(d_model),
        prefix_("blk." + std::to_string(index) + "."),
        reader_(reader) {}

  StatusOr<LayerWeights> Read() {
    RETURN_IF_ERROR(ReadProjections());
    RETURN_IF_ERROR(ReadAttentionRest());
    RETURN_IF_ERROR(ReadFfn());
    // Rotation tables that old converters stored; they follow from theta.
    reader_.Ignore(Name("attn_rot_embd.weight"));
    return std::move(weights_);
  }

 private:
  std::string Name(const char* suffix) const { return prefix_ + suffix; }

  Status ReadProjections() {
    const AttentionConfig& a = layer_.attention;
    const int64_t q_rows = int64_t{a.n_heads} * a.head_dim;
    const int64_t k_rows = int64_t{a.n_kv_heads} * a.head_dim;
    const int64_t v_rows = int64_t{a.n_kv_heads} * a.head_dim_v;
    if (family_.fused && reader_.Has(Name("attn_qkv.weight"))) {
      ASSIGN_OR_RETURN(const TensorView qkv,
                       reader_.Matrix(Name("attn_qkv.weight"), q_rows + k_rows + v_rows, d_model_));
      weights_.q = RowRange(qkv, 0, q_rows);
      weights_.k = RowRange(qkv, q_rows, k_rows);
      weights_.v = RowRange(qkv, q_rows + k_rows, v_rows);
    } else {
      ASSIGN_OR_RETURN(weights_.q, reader_.Matrix(Name("attn_q.weight"), q_rows, d_model_));
      ASSIGN_OR_RETURN(weights_.k, reader_.Matrix(Name("attn_k.weight"), k_rows, d_model_));
      ASSIGN_OR_RETURN(weights_.v, reader_.Matrix(Name("attn_v.weight"), v_rows, d_model_));
    }
    const Presence bias = family_.qkv_bias;
    RETURN_IF_ERROR(ReadVectorIf(bias, Name("attn_q.bias"), q_rows, reader_, weights_.q_bias));
    RETURN_IF_ERROR(ReadVectorIf(bias, Name("attn_k.bias"), k_rows, reader_, weights_.k_bias));
    return ReadVectorIf(bias, Name("attn_v.bias"), v_rows, reader_, weights_.v_bias);
  }

  Status ReadAttentionRest() {
    const AttentionConfig& a = layer_.attention;
    const Presence qk_norm = RequiredIf(a.qk_norm);
    RETURN_IF_ERROR(
        ReadVectorIf(qk_norm, Name("attn_q_norm.weight"), a.head_dim, reader_, weights_.q_norm));
    RETURN_IF_ERROR(
        ReadVectorIf(qk_norm, Name("attn_k_norm.weight"), a.head_dim, reader_, weights_.k_norm));
    ASSIGN_OR_RETURN(weights_.mixer_norm, reader_.Vector(Name("attn_norm.weight"), d_model_));
    ASSIGN_OR_RETURN(
        weights_.attention_out,
        reader_.Matrix(Name("attn_output.weight"), d_model_, int64_t{a.n_heads} * a.head_dim_v));
    RETURN_IF_ERROR(ReadVectorIf(family_.attention_out_bias,
                                 Name("attn_output.bias"),
                                 d_model_,
                                 reader_,
                                 weights_.attention_out_bias));
    return ReadVectorIf(RequiredIf(layer_.post_mixer_norm),
                        Name("post_attention_norm.weight"),
                        d_model_,
                        reader_,
                        weights_.post_mixer_norm);
  }

  Status ReadFfn() {
    const int64_t d_ff = layer_.dense.d_ff;
    ASSIGN_OR_RETURN(weights_.ffn_norm, reader_.Vector(Name("ffn_norm.weight"), d_model_));
    if (family_.fused) {
      ASSIGN_OR_RETURN(const TensorView gate_up,
                       reader_.Matrix(Name("ffn_up.weight"), 2 * d_ff, d_model_));
      weights_.gate = RowRange(gate_up, 0, d_ff);
      weights_.up = RowRange(gate_up, d_ff, d_ff);
    } else {
      ASSIGN_OR_RETURN(weights_.gate, reader_.Matrix(Name("ffn_gate.weight"), d_ff, d_model_));
      ASSIGN_OR_RETURN(weights_.up, reader_.Matrix(Name("ffn_up.weight"), d_ff, d_model_));
    }
    ASSIGN_OR_RETURN(weights_.down, reader_.Matrix(Name("ffn_down.weight"), d_model_, d_ff));
    return ReadVectorIf(RequiredIf(layer_.post_ffn_norm),
                        Name("post_ffw_norm.weight"),
                        d_model_,
                        reader_,
                        weights_.post_ffn_norm);
  }

  const Family& family_;
  const LayerConfig& layer_;
  const int64_t d_model_;
  const std::string prefix_;
  WeightReader& reader_;
  LayerWeights weights_;
};

}  // namespace

StatusOr<ModelWeights> ReadWeights(const Family& family,
                                   ModelConfig& config,
                                   WeightReader& reader) {
  ModelWeights weights;
  ASSIGN_OR_RETURN(weights.token_embedding,
                   reader.Matrix("token_embd.weight", config.vocab_size, config.d_model));
  ASSIGN_OR_RETURN(weights.output_norm, reader.Vector("output_norm.weight", config.d_model));
  config.tied_embeddings = !reader.Has("output.weight");
  weights.output = weights.token_embedding;
  if (!config.tied_embeddings) {
    ASSIGN_OR_RETURN(weights.output,
                     reader.Matrix("output.weight", config.vocab_size, config.d_model));
  }
  weights.layers.reserve(config.layers.size());
  for (size_t i = 0; i < config.layers.size(); ++i) {
    LayerReader layer(family, config.layers[i], config.d_model, i, reader);
    ASSIGN_OR_RETURN(LayerWeights layer_weights, layer.Read());
    weights.layers.push_back(std::move(layer_weights));
  }
  RETURN_IF_ERROR(reader.CheckAllUnderstood());
  return weights;
}

}  // namespace inferd
