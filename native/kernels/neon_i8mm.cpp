// NEON with dot products and the 8-bit matrix multiplication of ARMv8.6 (Neoverse V1 and later,
// Apple M2 and later).
#include <arm_neon.h>

#include <utility>

#include "kernels/kernels.h"

namespace bitnet {
namespace {

#include "kernels/arm.inl"

constexpr int kTileRows = 8, kTileTokens = 8;

#include "kernels/arm_dotprod.inl"

// 16 columns of two rows as the two operands of smmla: columns 0..7 of both, columns 8..15 of both.
struct RowPair {
  int8x16_t low, high;
};
inline RowPair pair_rows(int8x16_t a, int8x16_t b) {
  const int64x2_t a2 = vreinterpretq_s64_s8(a), b2 = vreinterpretq_s64_s8(b);
  return {vreinterpretq_s8_s64(vzip1q_s64(a2, b2)), vreinterpretq_s8_s64(vzip2q_s64(a2, b2))};
}

// smmla multiplies 2 rows by 2 tokens of 8 columns, twice the work of sdot. Pairing the rows costs
// an instruction per 16 bytes loaded, which only a large tile repays: 8 by 8 takes 16 of them for
// 32 smmla, where sdot would take 64.
template <int R, int T>
inline void matrix_tile(const uint8_t* codes, const int8_t* q, int64_t stride, int64_t n,
                        int32_t* out) {
  int32x4_t acc[R / 2][T / 2];  // [row 0 token 0, row 0 token 1, row 1 token 0, row 1 token 1]
  for (int r = 0; r < R / 2; ++r)
    for (int t = 0; t < T / 2; ++t) acc[r][t] = vdupq_n_s32(0);
  for (int64_t c = 0; c < n; c += 16) {
    RowPair w[R / 2];
    for (int r = 0; r < R / 2; ++r) {
      const uint8_t* row = codes + 2 * r * stride + c;
      w[r] = pair_rows(load_codes(row), load_codes(row + stride));
    }
    for (int t = 0; t < T / 2; ++t) {
      const int8_t* token = q + 2 * t * stride + c;
      const RowPair x = pair_rows(vld1q_s8(token), vld1q_s8(token + stride));
      for (int r = 0; r < R / 2; ++r) acc[r][t] = vmmlaq_s32(acc[r][t], w[r].low, x.low);
      for (int r = 0; r < R / 2; ++r) acc[r][t] = vmmlaq_s32(acc[r][t], w[r].high, x.high);
    }
  }
  for (int r = 0; r < R; r += 2) {
    for (int t = 0; t < T; t += 2) {
      const int32x4_t sums = acc[r / 2][t / 2];
      out[t * R + r] = vgetq_lane_s32(sums, 0);
      out[(t + 1) * R + r] = vgetq_lane_s32(sums, 1);
      out[t * R + r + 1] = vgetq_lane_s32(sums, 2);
      out[(t + 1) * R + r + 1] = vgetq_lane_s32(sums, 3);
    }
  }
}

template <int R, int T>
inline void tile(const uint8_t* codes, const int8_t* q, int64_t stride, int64_t n, int32_t* out) {
  if constexpr (R == kTileRows && T == kTileTokens) {
    matrix_tile<R, T>(codes, q, stride, n, out);
  } else {
    dot_tile<R, T>(codes, q, stride, n, out);
  }
}

constexpr int kDirectTokens = 1, kDirectTile = 1;
#include "kernels/ternary_matmul.inl"

int64_t int8_peak(int64_t iterations) {
  constexpr int kChains = 16;  // independent sums, to hide the latency
  int32x4_t acc[kChains];
  int8x16_t codes = vdupq_n_s8(1), x = codes;
  each<kChains>([&](auto i) BITNET_INLINE { acc[i] = vdupq_n_s32(0); });
  for (int64_t n = 0; n < iterations; ++n) {
    each<kChains>([&](auto i) BITNET_INLINE {
      __asm__("" : "+w"(x));  // or the product would be computed only once
      acc[i] = vmmlaq_s32(acc[i], codes, x);
    });
  }
  each<kChains>([&](auto i) BITNET_INLINE { keep(acc[i]); });
  return iterations * kChains * 64;
}

constexpr auto i2s_matmul = ternary_matmul;
#include "kernels/arm_lut.inl"
#include "kernels/panels.inl"
#include "kernels/trits.inl"

constexpr WeightLayout kFastestTl2 = WeightLayout::kI2S;
#include "kernels/table.inl"

}  // namespace

extern constinit const Kernels kNeonI8mm =
    kernel_table("neon_i8mm", kCpuNeon | kCpuDotprod | kCpuI8mm);

}  // namespace bitnet
