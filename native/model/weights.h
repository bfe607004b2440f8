// The weights of a model as the passes read them. All pointers lead into the mapped file or into
// the WeightStore that made them; nobody writes through them.
#pragma once

#include <vector>

#include "model/linear.h"

namespace bitnet {

// Norm weights are f32 and null where the family has no such norm; family.h names the tensors.
struct Layer {
  const float* attn_norm = nullptr;     // [n_embd] before q, k and v
  const float* q_input_norm = nullptr;  // [n_embd] of the normalized input, q's own; so below
  const float* k_input_norm = nullptr;
  const float* v_input_norm = nullptr;
  const float* q_norm = nullptr;          // [head_dim] of each query, before RoPE
  const float* k_norm = nullptr;          // [head_dim] of each key, before RoPE
  const float* attn_sub_norm = nullptr;   // [n_heads * head_dim] before o
  const float* attn_post_norm = nullptr;  // [n_embd] after o, before the sum
  const float* ffn_norm = nullptr;        // [n_embd] before gate and up
  const float* gate_input_norm = nullptr;
  const float* up_input_norm = nullptr;
  const float* ffn_sub_norm = nullptr;   // [n_ff] before down
  const float* ffn_post_norm = nullptr;  // [n_embd] after down, before the sum
  Linear q, k, v, o, gate, up, down;
};

struct Weights {
  Linear token_embd;  // [n_vocab, n_embd], never ternary
  Linear output;      // the head: the same shape, often token_embd itself; empty if there is none
  const float* output_norm = nullptr;  // [n_embd]
  std::vector<Layer> layers;
  std::vector<double> rope_freqs;  // [head_dim / 2] radians per position
};

}  // namespace bitnet
