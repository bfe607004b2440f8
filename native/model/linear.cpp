#include "model/linear.h"

#include <cmath>

#include "base/numbers.h"
#include "formats/dequantize.h"
#include "formats/format.h"

namespace bitnet {

float quantize_head_input(const float* x, int64_t n, int16_t* q) {
  float most = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float a = std::fabs(x[i]);
    most = a > most ? a : most;
  }
  const float scale = most > 0 ? kHeadRange / most : 0;
  for (int64_t i = 0; i < n; ++i) {
    // The product may round to just above the range; NaN, which fails every comparison, becomes 0.
    float v = x[i] * scale;
    v = v > -kHeadRange ? v : v <= -kHeadRange ? -kHeadRange : 0;
    v = v < kHeadRange ? v : kHeadRange;
    q[i] = static_cast<int16_t>(round_half_even(v));
  }
  return most / kHeadRange;
}

void FloatInput::quantize(int64_t cols) {
  q.resize(static_cast<size_t>(n * cols));
  units.resize(static_cast<size_t>(n));
  for (int64_t t = 0; t < n; ++t) {
    units[static_cast<size_t>(t)] = quantize_head_input(x + t * stride, cols, q.data() + t * cols);
  }
}

bool takes_integers(const Linear& w) {
  return !w.is_ternary && w.cols <= kHeadMaxCols && format_of(w.type).matmul == Matmul::kIntegers;
}

void multiply_float(const Kernels& kernels, const Linear& w, const FloatInput& input, float* out,
                    int64_t begin, int64_t end, uint8_t* scratch) {
  if (format_of(w.type).matmul == Matmul::kFloats) {
    kernels.float_matmul(w.type, w.data, w.row_bytes, w.cols, input.x, input.stride, input.n, out,
                         w.rows, begin, end);
    return;
  }
  if (takes_integers(w)) {
    for (int64_t t = 0; t < input.n; ++t) {
      kernels.block_matvec(w.type, w.data, w.row_bytes, w.cols, input.q.data() + t * w.cols,
                           input.units[static_cast<size_t>(t)], out + t * w.rows, begin, end);
    }
    return;
  }
  float* row = reinterpret_cast<float*>(scratch);
  for (int64_t r = begin; r < end; ++r) {
    dequantize_row(w.type, w.data + r * w.row_bytes, row, w.cols);
    for (int64_t t = 0; t < input.n; ++t) {
      out[t * w.rows + r] = kernels.dot(row, input.x + t * input.stride, w.cols);
    }
  }
}

}  // namespace bitnet
