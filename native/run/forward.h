// The forward pass of every supported family over a batch, and its scratch memory: one per model.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "base/aligned.h"
#include "model/model.h"
#include "run/batch.h"
#include "run/ops.h"

namespace bitnet {

class Forward {
 public:
  explicit Forward(Model& model);

  // Evaluates the rows, at most kBatchTokens, and writes their keys and values to the tables, which
  // keep their tokens(). hidden = the normalized hidden states [wanted, n_embd] that the head turns
  // into logits. Asks `stopped` before each layer and returns false as soon as it says so. From the
  // thread that owns the model's pool.
  bool run(const Batch& batch, std::vector<float>& hidden, const std::function<bool()>& stopped);

 private:
  void attention_block(size_t layer, int64_t n);
  void ffn_block(size_t layer, int64_t n);
  void final_norm(const Batch& batch, std::vector<float>& hidden);

  // A matrix with a norm of its input that is its own.
  struct Projection {
    const float* norm;
    Products product;
  };
  struct LayerProducts {
    Products qkv, o, gate_up, down;
    std::vector<Projection> q_k_v, gate_and_up;  // empty where one input serves all
  };
  void project(const float* norm, const Products& together, std::span<const Projection> apart,
               std::initializer_list<float*> out, int64_t n);

  Model& model_;
  const Config& config_;
  Ops ops_;
  std::vector<LayerProducts> products_;
  // [kBatchTokens, ...]: the residual stream, then what the blocks compute on the way.
  AlignedArray<float> x_, q_, k_, v_, attended_, gate_, up_, out_;
  AlignedArray<float> shared_;  // what projections with own norms have in common; else empty
};

}  // namespace bitnet
