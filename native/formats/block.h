// What the block-quantized types share: reading and writing rows block by block, and the arithmetic
// of their quantizers. That follows llama.cpp's reference quantizers (ggml-quants.c, MIT) operation
// by operation, in f32, because the bytes must be equal.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/numbers.h"
#include "formats/dequantize.h"
#include "formats/format.h"
#include "formats/layouts.h"

namespace bitnet {

inline float load_f16(const uint8_t* p) { return f16_to_f32(load_unaligned<uint16_t>(p)); }

// Rows for Format, of blocks of kElems elements in kBytes bytes.
template <int kElems, int kBytes, void (*dequantize_block)(const uint8_t* block, float* out)>
void dequantize_blocks(const uint8_t* row, float* out, int64_t n) {
  for (int64_t i = 0; i < n; i += kElems, row += kBytes) dequantize_block(row, out + i);
}
template <int kElems, int kBytes, void (*quantize_block)(const float* x, uint8_t* block)>
void quantize_blocks(const float* x, uint8_t* row, int64_t n) {
  for (int64_t i = 0; i < n; i += kElems, row += kBytes) quantize_block(x + i, row);
}

// Whether f16 numbers at these bytes of every block, its scales, are finite: the values are their
// products with bounded integers.
template <int kElems, int kBytes, int... kScales>
bool finite_blocks(const uint8_t* row, int64_t n) {
  constexpr uint16_t kInfinity = 0x7c00;  // of f16, and the exponent that NaN has, too
  bool is_finite = true;
  for (const uint8_t* end = row + n / kElems * kBytes; row < end; row += kBytes) {
    is_finite &= (((load_unaligned<uint16_t>(row + kScales) & kInfinity) != kInfinity) && ...);
  }
  return is_finite;
}

constexpr float kTiny = 1e-15f;  // groups of smaller values are zeros in the K types

// 1 / d, or 0 for values so small that d is 0 or its inverse overflows: they become zeros.
inline float inverse_of(float d) {
  const float inverse = 1 / d;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

inline float largest_magnitude(const float* x, int n) {
  float largest = 0;
  for (int i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  return largest;
}

// The first of the values of largest magnitude, with its sign; +0 if all are 0.
inline float extreme(const float* x, int n) {
  const float largest = largest_magnitude(x, n);
  if (largest == 0) return 0;
  return *std::find_if(x, x + n - 1, [=](float v) { return std::fabs(v) == largest; });
}

[[noreturn]] void fail_large(TensorType type);

// d as f16. Throws kUnsupported if it is beyond that.
void store_scale(TensorType type, uint8_t* p, float d);

// The scales that were fitted to n groups: the extreme one. Sums of cubes may have overflowed.
float extreme_scale(TensorType type, const float* scales, int n);

}  // namespace bitnet
