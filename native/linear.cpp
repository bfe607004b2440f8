#include "linear.h"

#include <algorithm>
#include <cmath>

#include "formats/dequantize.h"

namespace bitnet {

float quantize_head_input(const float* x, int64_t n, int16_t* q) {
  float most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::fabs(x[i]));
  const float scale = most > 0 ? kHeadRange / most : 0;
  for (int64_t i = 0; i < n; ++i) {
    // The product may round to just above the range; NaN, which fails every comparison, becomes 0.
    const float v = x[i] * scale;
    const float clamped = v > kHeadRange ? kHeadRange : v < -kHeadRange ? -kHeadRange : v;
    q[i] = clamped == clamped ? static_cast<int16_t>(std::nearbyintf(clamped)) : int16_t{0};
  }
  return most / kHeadRange;
}

namespace {

bool has_block_kernel(const Linear& w) {
  return w.cols <= kHeadMaxCols && (w.type == TensorType::kQ8_0 || w.type == TensorType::kQ6_K ||
                                    w.type == TensorType::kQ5_0 || w.type == TensorType::kQ4_0);
}

}  // namespace

void multiply_float(const Kernels& kernels, const Linear& w, const float* x, int64_t x_stride,
                    int64_t n, float* out, int64_t begin, int64_t end, uint8_t* scratch) {
  if (w.type == TensorType::kF32 || w.type == TensorType::kF16 || w.type == TensorType::kBF16) {
    kernels.float_matmul(w.type, w.data, w.row_bytes, w.cols, x, x_stride, n, out, w.rows, begin,
                         end);
    return;
  }
  if (has_block_kernel(w)) {
    int16_t* q = reinterpret_cast<int16_t*>(scratch);
    for (int64_t t = 0; t < n; ++t) {
      const float unit = quantize_head_input(x + t * x_stride, w.cols, q);
      kernels.block_matvec(w.type, w.data, w.row_bytes, w.cols, q, unit, out + t * w.rows, begin,
                           end);
    }
    return;
  }
  float* row = reinterpret_cast<float*>(scratch);  // cols * 4 bytes: bounded by the loader
  for (int64_t r = begin; r < end; ++r) {
    dequantize_row(w.type, w.data + r * w.row_bytes, row, w.cols);
    for (int64_t t = 0; t < n; ++t) {
      out[t * w.rows + r] = kernels.dot(row, x + t * x_stride, w.cols);
    }
  }
}

}  // namespace bitnet
