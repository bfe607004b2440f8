#include "model/loader.h"

#include <string>

#include "formats/dequantize.h"
#include "model/refuse.h"

namespace bitnet {

namespace {

class ModelLoader {
 public:
  ModelLoader(const Gguf& gguf, const Config& config, WeightStore& store)
      : gguf_(gguf), config_(config), store_(store) {}

  Weights load() {
    Weights out;
    load_head(out);
    out.output_norm = vector("output_norm.weight", config_.n_embd);
    const std::vector<LayerTensor> tensors = layer_tensors(*config_.family);
    for (int64_t i = 0; i < config_.n_layers; ++i)
      out.layers.push_back(layer("blk." + std::to_string(i) + ".", tensors));
    const float* factors = config_.family->rope_factors
                               ? optional_vector("rope_freqs.weight", config_.head_dim / 2)
                               : nullptr;
    out.rope_freqs = rope_frequencies(config_, factors);
    return out;
  }

 private:
  void load_head(Weights& out) {
    out.token_embd = linear("token_embd", config_.n_vocab, config_.n_embd);
    if (out.token_embd.is_ternary) unsupported("token_embd.weight", "as an embedding");
    const bool separate = config_.family->own_head && gguf_.find_tensor("output.weight");
    out.output = separate ? linear("output", config_.n_vocab, config_.n_embd) : out.token_embd;
    if (out.output.is_ternary) unsupported("output.weight", "as a head");
    // A block-quantized head is read whole for every token, as the ternary weights are; a float
    // one has a compact copy for that.
    if (!takes_integers(out.output)) return;
    out.output.data = store_.on_huge_pages(out.output.data, out.output.rows * out.output.row_bytes);
    if (!separate) out.token_embd = out.output;
  }

  Layer layer(const std::string& prefix, const std::vector<LayerTensor>& tensors) {
    Layer out;
    for (const LayerTensor& tensor : tensors) {
      const std::string name = prefix + tensor.name;
      const int64_t rows = extent(config_, tensor.rows), cols = extent(config_, tensor.cols);
      if (tensor.vector && (!tensor.optional || gguf_.find_tensor(name + ".weight")))
        out.*tensor.vector = vector(name + ".weight", cols);
      if (tensor.linear) out.*tensor.linear = linear(name, rows, cols);
    }
    return out;
  }

  [[noreturn]] void unsupported(const std::string& name, const std::string& where) {
    const GgufTensor& t = require_tensor(gguf_, name);
    refuse(
        gguf_, t,
        std::string(" has type ") + tensor_type_name(t.type) + ", which is not supported " + where,
        ErrorCode::kUnsupported);
  }

  const GgufTensor& require(const std::string& name, int64_t rows, int64_t cols) {
    const GgufTensor& t = require_tensor(gguf_, name);
    if (static_cast<int64_t>(t.cols()) != cols || static_cast<int64_t>(t.rows()) != rows) {
      refuse(gguf_, t,
             " has shape [" + std::to_string(t.cols()) + ", " + std::to_string(t.rows()) +
                 "], expected [" + std::to_string(cols) + ", " + std::to_string(rows) + "]");
    }
    return t;
  }

  // Norm weights, biases and the like.
  const float* vector(const std::string& name, int64_t n) {
    const GgufTensor& t = require(name, 1, n);
    if (!is_dequantizable(t.type)) unsupported(name, "for a vector");
    return store_.floats(t);
  }

  const float* optional_vector(const std::string& name, int64_t n) {
    return gguf_.find_tensor(name) ? vector(name, n) : nullptr;
  }

  Linear linear(const std::string& name, int64_t rows, int64_t cols) {
    const GgufTensor& t = require(name + ".weight", rows, cols);
    Linear out;
    out.type = t.type;
    out.rows = rows;
    out.cols = cols;
    out.is_ternary = is_ternary(t.type);
    if (out.is_ternary) {
      out.ternary = store_.ternary(t);
    } else {
      if (!is_dequantizable(t.type)) unsupported(name + ".weight", "for a weight matrix");
      out.row_bytes = static_cast<int64_t>(*tensor_bytes(t.type, t.cols(), 1));
      out.data = store_.rows(t);
    }
    out.bias = optional_vector(name + ".bias", rows);
    if (const float* scale = optional_vector(name + ".scale", 1)) out.output_scale = *scale;
    return out;
  }

  const Gguf& gguf_;
  const Config& config_;
  WeightStore& store_;
};

}  // namespace

Weights load_weights(const Gguf& gguf, const Config& config, WeightStore& store) {
  return ModelLoader(gguf, config, store).load();
}

}  // namespace bitnet
