// Causal attention within each document of a row, RoPE, and their gradients. Keys and values are
// f32. Scores are computed for blocks of kQueryBlock rows and computed again for the gradients, so
// no [tokens, tokens] matrix is kept.
#pragma once

#include <cstdint>
#include <span>

#include "train/compute.h"

namespace bitnet {

// Cosines and sines of the angles of RoPE.
class RopeTable {
 public:
  // freqs: [head_dim / 2] radians per position; longest: positions.
  RopeTable(std::span<const double> freqs, int64_t longest);
  // [head_dim / 2] of a position
  const float* cos(int64_t position) const { return values_.data() + 2 * position * half_; }
  const float* sin(int64_t position) const { return cos(position) + half_; }

 private:
  int64_t half_;
  AlignedArray<float> values_;  // [longest, 2, half]
};

struct AttentionShape {
  int64_t n_heads, n_kv_heads, head_dim;
  bool halves;            // RoPE turns (i, i + head_dim / 2) of a head, else (2i, 2i + 1)
  const RopeTable* rope;  // up to the longest document

  int64_t query_cols() const { return n_heads * head_dim; }
  int64_t key_cols() const { return n_kv_heads * head_dim; }
};

constexpr int64_t kQueryBlock = 64;
// Floats of scratch per thread for documents of up to `longest` tokens.
constexpr int64_t attention_floats(int64_t longest) { return 2 * kQueryBlock * longest; }

// Turns the heads of x [n, n_heads, head_dim] by their positions in the document that they are of;
// backward: by as much the other way, which is the gradient. ends: where documents end.
void rope(Compute& compute, const AttentionShape& shape, std::span<const int64_t> ends,
          bool backward, int64_t n_heads, float* x);

// out [n, query_cols] of q [n, query_cols], k and v [n, key_cols].
void attention_forward(Compute& compute, const AttentionShape& shape, std::span<const int64_t> ends,
                       const float* q, const float* k, const float* v, float* out);

// Gradients given dy, that by the result: dq [n, query_cols]; dk and dv [n, key_cols].
// head_dk, head_dv: scratch, [n, query_cols].
struct AttentionGradients {
  float *dq, *dk, *dv, *head_dk, *head_dv;
};
void attention_backward(Compute& compute, const AttentionShape& shape,
                        std::span<const int64_t> ends, const float* q, const float* k,
                        const float* v, const float* dy, const AttentionGradients& out);

}  // namespace bitnet
