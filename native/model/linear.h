// A linear layer as the kernels read it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernels.h"

namespace bitnet {

// [rows = out, cols = in]. Ternary, or a float or block-quantized type that is used as it is.
struct Linear {
  bool is_ternary = false;
  TernaryMatrix ternary;
  TensorType type =
      TensorType::kF32;           // of the file; for a layer that is not ternary also of `data`
  const uint8_t* data = nullptr;  // [rows, row_bytes]
  int64_t rows = 0, cols = 0, row_bytes = 0;
  float output_scale = 1;       // old files keep the scale in a tensor of its own
  const float* bias = nullptr;  // [rows] or null
};

// Activations of n tokens for layers that are not ternary. Block-quantized weights are multiplied
// with integers: q = round(x / unit), |q| <= kHeadRange.
struct FloatInput {
  const float* x = nullptr;  // [n, stride]
  int64_t n = 0, stride = 0;
  std::vector<HeadGroup> groups;  // [n, head_groups(cols)], empty unless quantize() was called
  std::vector<float> units;       // [n]
  std::vector<int32_t> sums;      // [n]
  std::vector<HeadWords> words;   // [n, head_groups(cols)]

  void quantize(int64_t cols);
  HeadBatch integers(int64_t cols) const {
    return {n, head_groups(cols), groups.data(), units.data(), sums.data(), words.data()};
  }
};

// Whether a layer is multiplied with FloatInput::integers().
bool takes_integers(const Linear& w);

// out[t * w.rows + r] for rows [begin, end) of a layer that is not ternary.
// scratch: kMatmulScratch bytes.
void multiply_float(const Kernels& kernels, const Linear& w, const FloatInput& input, float* out,
                    int64_t begin, int64_t end, uint8_t* scratch);

// x [cols] -> q in units of max|x| / kHeadRange, which is returned; 0 if all are zero. NaN gives 0.
// *sum = sum of q. words: null, or q once more.
float quantize_head_input(const float* x, int64_t cols, HeadGroup* q, int32_t* sum,
                          HeadWords* words = nullptr);

}  // namespace bitnet
