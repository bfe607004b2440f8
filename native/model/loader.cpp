#include "model/loader.h"

#include <string>

#include "model/tensors.h"

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
    out.token_embd = matrix("token_embd", config_.n_vocab, config_.n_embd);
    if (config_.embeds_only) return;
    const bool separate = config_.family->own_head && gguf_.find_tensor("output.weight");
    out.output = separate ? matrix("output", config_.n_vocab, config_.n_embd) : out.token_embd;
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

  // Norm weights, biases and the like.
  const float* vector(const std::string& name, int64_t n) {
    return store_.floats(require_tensor(gguf_, name, 1, n));
  }

  const float* optional_vector(const std::string& name, int64_t n) {
    return gguf_.find_tensor(name) ? vector(name, n) : nullptr;
  }

  // NAME.weight alone.
  Linear matrix(const std::string& name, int64_t rows, int64_t cols) {
    const GgufTensor& t = require_tensor(gguf_, name + ".weight", rows, cols);
    Linear out;
    out.type = t.type;
    out.rows = rows;
    out.cols = cols;
    out.is_ternary = is_ternary(t.type);
    if (out.is_ternary) {
      out.ternary = store_.ternary(t);
    } else {
      out.row_bytes = static_cast<int64_t>(*tensor_bytes(t.type, t.cols(), 1));
      out.data = store_.rows(t);
    }
    return out;
  }

  Linear linear(const std::string& name, int64_t rows, int64_t cols) {
    Linear out = matrix(name, rows, cols);
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
  check_tensors(gguf, config);
  return ModelLoader(gguf, config, store).load();
}

}  // namespace bitnet
