#include "model/tensors.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "formats/format.h"
#include "model/refuse.h"

namespace bitnet {

namespace {

// What old converters left in files although it follows from the metadata: tables of RoPE.
constexpr std::string_view kLeftovers[] = {".attn_rot_embd.weight", ".attn_rot_embd",
                                           ".rotary_emb.inv_freq"};

// What a tensor is used for decides which types it can have.
enum class Use : uint8_t { kVector, kMatrix, kTable };

class TensorCheck {
 public:
  TensorCheck(const Gguf& gguf, const Config& config) : gguf_(gguf), config_(config) {}

  void run() {
    const Family& family = *config_.family;
    require("token_embd.weight", config_.n_vocab, config_.n_embd, Use::kTable);
    require("output_norm.weight", 1, config_.n_embd, Use::kVector);
    if (family.own_head) allow("output.weight", config_.n_vocab, config_.n_embd, Use::kTable);
    if (family.rope_factors) allow("rope_freqs.weight", 1, config_.head_dim / 2, Use::kVector);
    const std::vector<LayerTensor> tensors = layer_tensors(family);
    find_groups(tensors);
    for (int64_t i = 0; i < config_.n_layers; ++i)
      for (const LayerTensor& tensor : tensors)
        check_layer("blk." + std::to_string(i) + "." + tensor.name, tensor);
    for (const GgufTensor& tensor : gguf_.tensors())
      if (!known_.contains(tensor.name) && !is_leftover(tensor.name)) refuse_unknown(tensor);
  }

 private:
  // Optional norms of a kind are there in all places or in none.
  void find_groups(const std::vector<LayerTensor>& tensors) {
    for (int64_t i = 0; i < config_.n_layers; ++i) {
      for (const LayerTensor& tensor : tensors) {
        const std::string name = "blk." + std::to_string(i) + "." + tensor.name + ".weight";
        if (tensor.optional && tensor.kind && gguf_.find_tensor(name)) group_ = tensor.kind;
      }
    }
  }

  void check_layer(const std::string& name, const LayerTensor& tensor) {
    const int64_t rows = extent(config_, tensor.rows), cols = extent(config_, tensor.cols);
    const bool is_linear = tensor.role == TensorRole::kLinear;
    const Use use = is_linear ? Use::kMatrix : Use::kVector;
    if (tensor.optional && tensor.kind != group_) {
      allow(name + ".weight", rows, cols, use);
    } else {
      require(name + ".weight", rows, cols, use);
    }
    if (!is_linear) return;
    allow(name + ".bias", 1, rows, Use::kVector);
    allow(name + ".scale", 1, 1, Use::kVector);
  }

  void require(const std::string& name, int64_t rows, int64_t cols, Use use) {
    const GgufTensor& tensor = require_tensor(gguf_, name, rows, cols);
    known_.insert(tensor.name);
    const bool fits =
        is_dequantizable(tensor.type) || (use == Use::kMatrix && is_ternary(tensor.type));
    if (fits) return;
    constexpr const char* kUses[] = {"for a vector", "for a weight matrix",
                                     "for an embedding or a head"};
    refuse(gguf_, tensor,
           std::string(" has type ") + tensor_type_name(tensor.type) + ", which is not supported " +
               kUses[static_cast<int>(use)],
           ErrorCode::kUnsupported);
  }

  void allow(const std::string& name, int64_t rows, int64_t cols, Use use) {
    if (gguf_.find_tensor(name)) require(name, rows, cols, use);
  }

  static bool is_leftover(std::string_view name) {
    return std::any_of(std::begin(kLeftovers), std::end(kLeftovers),
                       [name](std::string_view end) { return name.ends_with(end); });
  }

  [[noreturn]] void refuse_unknown(const GgufTensor& tensor) const {
    refuse(gguf_, tensor,
           " is none that a " + std::string(config_.family->architecture) + " model of " +
               std::to_string(config_.n_layers) +
               " layers has: to leave a weight out would change " + "what the model computes",
           ErrorCode::kUnsupported);
  }

  const Gguf& gguf_;
  const Config& config_;
  bool Norms::*group_ = nullptr;                // of optional norms that the file has
  std::unordered_set<std::string_view> known_;  // names in the file
};

}  // namespace

const GgufTensor& require_tensor(const Gguf& gguf, const std::string& name, int64_t rows,
                                 int64_t cols) {
  const GgufTensor& t = require_tensor(gguf, name);
  if (static_cast<int64_t>(t.cols()) != cols || static_cast<int64_t>(t.rows()) != rows) {
    refuse(gguf, t,
           " has shape [" + std::to_string(t.cols()) + ", " + std::to_string(t.rows()) +
               "], expected [" + std::to_string(cols) + ", " + std::to_string(rows) + "]");
  }
  return t;
}

void check_tensors(const Gguf& gguf, const Config& config) { TensorCheck(gguf, config).run(); }

}  // namespace bitnet
