// A linear layer as the kernels read it.
#pragma once

#include <cstdint>

#include "kernels.h"

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

// out[t * w.rows + r] for rows [begin, end) of a layer that is not ternary; x [n, x_stride].
// scratch: kMatmulScratch bytes.
void multiply_float(const Kernels& kernels, const Linear& w, const float* x, int64_t x_stride,
                    int64_t n, float* out, int64_t begin, int64_t end, uint8_t* scratch);

// x [n] in units of a common scale: q = round(x * kHeadRange / max|x|). Returns the unit,
// max|x| / kHeadRange; 0 if all are zero.
float quantize_head_input(const float* x, int64_t n, int16_t* q);

}  // namespace bitnet
