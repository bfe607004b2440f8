// A tensor that is trained, with its gradient and the moments of the optimizer.
#pragma once

#include <cstdint>
#include <string>

#include "base/aligned.h"

namespace bitnet {

struct Parameter {
  std::string name;  // in GGUF; of adapters blk.N.attn_q.lora_a
  int64_t rows = 0, cols = 0;
  bool decays = false;     // by the optimizer's weight decay
  int64_t rope_heads = 0;  // > 0: rows are heads in the order of RoPE by neighbours
  AlignedArray<float> value, gradient, m, v;  // [rows, cols]

  int64_t size() const { return rows * cols; }
};

}  // namespace bitnet
