#include "model/linear.h"

#include <cmath>

#include "base/numbers.h"
#include "formats/dequantize.h"
#include "formats/format.h"

namespace bitnet {

namespace {

// A product that was rounded to just above the range is brought back to it; NaN, which fails every
// comparison, becomes 0.
int32_t round_to_range(float v) {
  v = v > -kHeadRange ? v : v <= -kHeadRange ? -kHeadRange : 0;
  return round_half_even(v < kHeadRange ? v : kHeadRange);
}

}  // namespace

float quantize_head_input(const float* x, int64_t cols, HeadGroup* q, int32_t* sum,
                          HeadWords* words) {
  float most = 0;
  for (int64_t i = 0; i < cols; ++i) {
    const float a = std::fabs(x[i]);
    most = a > most ? a : most;
  }
  const float scale = most > 0 ? kHeadRange / most : 0;
  *sum = 0;
  for (; cols > 0; cols -= 64, x += 64, ++q) {
    int32_t values[64] = {};
    const int64_t n = cols < 64 ? cols : 64;
    for (int64_t i = 0; i < n; ++i) values[i] = round_to_range(x[i] * scale);
    for (int i = 0; i < 64; ++i) {
      const int32_t high = (values[i] + 64) >> 7;
      q->high[i] = static_cast<int8_t>(high);
      q->low[i] = static_cast<int8_t>(values[i] - 128 * high);
    }
    for (int i = 0; i < 16; ++i) {
      const int32_t* quad = values + 4 * i;
      q->minus[i] = -(quad[0] + quad[1] + quad[2] + quad[3]);
      *sum -= q->minus[i];
    }
    if (words) std::copy(values, values + 64, words++->x);
  }
  return most / kHeadRange;
}

void FloatInput::quantize(int64_t cols) {
  const int64_t n_groups = head_groups(cols);
  groups.resize(static_cast<size_t>(n * n_groups));
  units.resize(static_cast<size_t>(n));
  sums.resize(static_cast<size_t>(n));
  words.resize(static_cast<size_t>(n * n_groups));
  for (int64_t t = 0; t < n; ++t) {
    const auto i = static_cast<size_t>(t);
    units[i] = quantize_head_input(x + t * stride, cols, groups.data() + t * n_groups, &sums[i],
                                   words.data() + t * n_groups);
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
    kernels.block_matmul(w.type, w.data, w.row_bytes, w.cols, input.integers(w.cols), out, w.rows,
                         begin, end, scratch);
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
