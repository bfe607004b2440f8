#include "model/family.h"

namespace bitnet {

namespace {

constexpr Norms kPlainNorms{.pre = true, .sub = false, .qk = false, .post = false, .input = false};
constexpr Norms kBitnetNorms{.pre = true, .sub = true, .qk = false, .post = false, .input = false};

constexpr Family kFamilies[] = {
    {.architecture = "bitnet",
     .activation = Activation::kSilu,
     .norms = kBitnetNorms,
     .rope_pairs = RopePairs::kHalves,
     .rope_factors = false,
     .own_head = false,
     .pooled = false,
     .ternary = true},
    {.architecture = "bitnet-b1.58",
     .activation = Activation::kRelu2,
     .norms = kBitnetNorms,
     .rope_pairs = RopePairs::kHalves,
     .rope_factors = false,
     .own_head = false,
     .pooled = false,
     .ternary = true},
    {.architecture = "bitnet-25",
     .activation = Activation::kRelu2,
     .norms = kBitnetNorms,
     .rope_pairs = RopePairs::kHalves,
     .rope_factors = false,
     .own_head = false,
     .pooled = false,
     .ternary = true},
    {.architecture = "llama",
     .activation = Activation::kSilu,
     .norms = kPlainNorms,
     .rope_pairs = RopePairs::kNeighbours,
     .rope_factors = true,
     .own_head = true,
     .pooled = false,
     .ternary = false},
    {.architecture = "qwen3",
     .activation = Activation::kSilu,
     .norms = {.pre = true, .sub = false, .qk = true, .post = false, .input = true},
     .rope_pairs = RopePairs::kHalves,
     .rope_factors = false,
     .own_head = true,
     .pooled = true,
     .ternary = false},
    {.architecture = "gemma3",
     .activation = Activation::kGeluTanh,
     .norms = {.pre = true, .sub = false, .qk = true, .post = true, .input = true},
     .scaled_embedding = true,
     .rope_pairs = RopePairs::kHalves,
     .rope_factors = false,
     .own_head = false,
     .pooled = true,
     .ternary = false},
};

constexpr LayerTensor norm(const char* name, Extent cols, bool Norms::*kind,
                           const float* Layer::*vector) {
  return {.name = name,
          .role = TensorRole::kNorm,
          .rows = Extent::kOne,
          .cols = cols,
          .kind = kind,
          .vector = vector};
}

// Models of these families without such norms exist, so a file may have none. Those of o and down
// stand where BitNet's sub norms do.
constexpr LayerTensor input_norm(const char* name, Extent cols, const float* Layer::*vector) {
  LayerTensor out = norm(name, cols, &Norms::input, vector);
  out.optional = true;
  return out;
}

constexpr LayerTensor linear(const char* name, Extent rows, Extent cols, Linear Layer::*place,
                             bool rotated = false) {
  return {.name = name,
          .role = TensorRole::kLinear,
          .rows = rows,
          .cols = cols,
          .rotated = rotated,
          .linear = place};
}

constexpr LayerTensor kLayerTensors[] = {
    norm("attn_norm", Extent::kHidden, &Norms::pre, &Layer::attn_norm),
    norm("ffn_norm", Extent::kHidden, &Norms::pre, &Layer::ffn_norm),
    norm("attn_sub_norm", Extent::kQuery, &Norms::sub, &Layer::attn_sub_norm),
    norm("ffn_sub_norm", Extent::kFfn, &Norms::sub, &Layer::ffn_sub_norm),
    norm("post_attention_norm", Extent::kHidden, &Norms::post, &Layer::attn_post_norm),
    norm("post_ffw_norm", Extent::kHidden, &Norms::post, &Layer::ffn_post_norm),
    norm("attn_q_norm", Extent::kHead, &Norms::qk, &Layer::q_norm),
    norm("attn_k_norm", Extent::kHead, &Norms::qk, &Layer::k_norm),
    input_norm("attn_q_norm_in", Extent::kHidden, &Layer::q_input_norm),
    input_norm("attn_k_norm_in", Extent::kHidden, &Layer::k_input_norm),
    input_norm("attn_v_norm_in", Extent::kHidden, &Layer::v_input_norm),
    input_norm("attn_output_norm_in", Extent::kQuery, &Layer::attn_sub_norm),
    input_norm("ffn_gate_norm_in", Extent::kHidden, &Layer::gate_input_norm),
    input_norm("ffn_up_norm_in", Extent::kHidden, &Layer::up_input_norm),
    input_norm("ffn_down_norm_in", Extent::kFfn, &Layer::ffn_sub_norm),
    linear("attn_q", Extent::kQuery, Extent::kHidden, &Layer::q, true),
    linear("attn_k", Extent::kKeyValue, Extent::kHidden, &Layer::k, true),
    linear("attn_v", Extent::kKeyValue, Extent::kHidden, &Layer::v),
    linear("attn_output", Extent::kHidden, Extent::kQuery, &Layer::o),
    linear("ffn_gate", Extent::kFfn, Extent::kHidden, &Layer::gate),
    linear("ffn_up", Extent::kFfn, Extent::kHidden, &Layer::up),
    linear("ffn_down", Extent::kHidden, Extent::kFfn, &Layer::down),
};

}  // namespace

std::span<const Family> families() { return kFamilies; }

const Family* find_family(std::string_view architecture) {
  for (const Family& family : kFamilies)
    if (architecture == family.architecture) return &family;
  return nullptr;
}

std::string list_architectures() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.push_back(family.architecture);
  std::string text = names.front();
  for (size_t i = 1; i < names.size(); ++i) {
    text += i + 1 < names.size() ? ", " : " and ";
    text += names[i];
  }
  return text;
}

std::vector<LayerTensor> layer_tensors(const Family& family) {
  std::vector<LayerTensor> out;
  for (const LayerTensor& tensor : kLayerTensors)
    if (!tensor.kind || family.norms.*tensor.kind) out.push_back(tensor);
  return out;
}

const char* activation_name(Activation activation) {
  constexpr const char* kNames[] = {"silu", "relu2", "gelu_tanh"};
  return kNames[static_cast<int>(activation)];
}

const char* norm_name(bool Norms::*kind) {
  if (kind == &Norms::pre) return "pre";
  if (kind == &Norms::sub) return "sub";
  if (kind == &Norms::qk) return "qk";
  return kind == &Norms::post ? "post" : "input";
}

const char* extent_name(Extent extent) {
  constexpr const char* kNames[] = {"one", "hidden", "ffn", "query", "keyValue", "head"};
  return kNames[static_cast<int>(extent)];
}

}  // namespace bitnet
