// Baseline ARMv8-A NEON. Sums of products of codes (0..2) and int8 activations are kept in 16 bits
// as long as they provably fit: a product is at most 2 * 127 = 254, so 128 of them in one lane make
// 32512.
#include <arm_neon.h>

#include <utility>

#include "kernels/kernels.h"

namespace bitnet {
namespace {

#include "kernels/arm.inl"

// 16 accumulators, 4 weight vectors and one activation vector stay in the 32 registers; the 32-bit
// totals may live on the stack, as they are touched once in 1024 columns.
constexpr int kTileRows = 4, kTileTokens = 4;

// 16 products, two to a lane.
inline int16x8_t multiply_add(int16x8_t acc, int8x16_t codes, int8x16_t x) {
  return vmlal_high_s8(vmlal_s8(acc, vget_low_s8(codes), vget_low_s8(x)), codes, x);
}

// A block of 128 codes adds 16 products to a lane, so 8 blocks fit 16 bits.
template <int R>
inline void gemv(const uint8_t* w, int64_t row_bytes, int64_t n_blocks, const int8_t* q, int64_t,
                 int32_t* out) {
  const uint8x16_t mask = vdupq_n_u8(3);
  int32x4_t total[R];
  for (int r = 0; r < R; ++r) total[r] = vdupq_n_s32(0);
  for (int64_t first = 0; first < n_blocks; first += 8) {
    const int64_t last = first + 8 < n_blocks ? first + 8 : n_blocks;
    int16x8_t acc[R];
    for (int r = 0; r < R; ++r) acc[r] = vdupq_n_s16(0);
    for (int64_t i = 32 * first; i < 32 * last; i += 16) {  // half a block
      const int8_t* x = q + 4 * (i & ~int64_t{31}) + (i & 31);
      const int8x16_t x0 = vld1q_s8(x), x1 = vld1q_s8(x + 32), x2 = vld1q_s8(x + 64),
                      x3 = vld1q_s8(x + 96);
      for (int r = 0; r < R; ++r) {
        const uint8x16_t packed = vld1q_u8(w + r * row_bytes + i);
        acc[r] = multiply_add(acc[r], vreinterpretq_s8_u8(vshrq_n_u8(packed, 6)), x0);
        acc[r] =
            multiply_add(acc[r], vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(packed, 4), mask)), x1);
        acc[r] =
            multiply_add(acc[r], vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(packed, 2), mask)), x2);
        acc[r] = multiply_add(acc[r], vreinterpretq_s8_u8(vandq_u8(packed, mask)), x3);
      }
    }
    for (int r = 0; r < R; ++r) total[r] = vpadalq_s16(total[r], acc[r]);
  }
  for (int r = 0; r < R; ++r) out[r] = vaddvq_s32(total[r]);
}

template <int R, int T>
inline void tile(const uint8_t* codes, const int8_t* q, int64_t stride, int64_t n, int32_t* out) {
  int32x4_t total[R][T];
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) total[r][t] = vdupq_n_s32(0);
  for (int64_t first = 0; first < n; first += 64 * 16) {
    const int64_t last = first + 64 * 16 < n ? first + 64 * 16 : n;
    int16x8_t acc[R][T];
    for (int r = 0; r < R; ++r)
      for (int t = 0; t < T; ++t) acc[r][t] = vdupq_n_s16(0);
    for (int64_t c = first; c < last; c += 16) {
      int8x16_t w[R];
      for (int r = 0; r < R; ++r) w[r] = load_codes(codes + r * stride + c);
      for (int t = 0; t < T; ++t) {
        const int8x16_t x = vld1q_s8(q + t * stride + c);
        for (int r = 0; r < R; ++r) acc[r][t] = multiply_add(acc[r][t], w[r], x);
      }
    }
    for (int r = 0; r < R; ++r)
      for (int t = 0; t < T; ++t) total[r][t] = vpadalq_s16(total[r][t], acc[r][t]);
  }
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < R; ++r) out[t * R + r] = vaddvq_s32(total[r][t]);
}

constexpr int kDirectTokens = 1, kDirectTile = 1;
#include "kernels/ternary_matmul.inl"

int64_t int8_peak(int64_t iterations) {
  constexpr int kChains = 16;  // independent sums, to hide the latency
  int16x8_t acc[kChains];
  int8x16_t codes = vdupq_n_s8(1), x = codes;
  each<kChains>([&](auto i) BITNET_INLINE { acc[i] = vdupq_n_s16(0); });
  for (int64_t n = 0; n < iterations; ++n) {
    each<kChains>([&](auto i) BITNET_INLINE {
      __asm__("" : "+w"(x));  // or the product would be computed only once
      acc[i] = multiply_add(acc[i], codes, x);
    });
  }
  each<kChains>([&](auto i) BITNET_INLINE { keep(acc[i]); });
  return iterations * kChains * 32;
}

// Thresholds: with the fractions as signed bytes around their middle, the first digit is 0 below
// -42, 1 up to 42 and 2 above; 3 * -128 = -128 modulo 256, so that the next digit comes up as
// before. A block of 64 bytes adds 40 products of at most 254 to a lane, so 3 blocks fit 16 bits.
template <int R>
inline void trit_gemv(const uint8_t* w, int64_t row_bytes, int64_t stride, const int8_t* q, int32_t,
                      int32_t* out) {
  const uint8x16_t middle = vdupq_n_u8(128), three = vdupq_n_u8(3);
  const int8x16_t not_0 = vdupq_n_s8(-43), is_2 = vdupq_n_s8(42);
  int32x4_t total[R];
  for (int r = 0; r < R; ++r) total[r] = vdupq_n_s32(0);
  for (int64_t first = 0; first < stride; first += 3 * 320) {
    int16x8_t acc[R];
    for (int r = 0; r < R; ++r) acc[r] = vdupq_n_s16(0);
    for (int64_t c = first; c < stride && c < first + 3 * 320; c += 320, w += 64) {
      const int n = stride - c < 320 ? static_cast<int>(stride - c) / 64 : 5;
      for (int part = 0; part < 64; part += 16) {
        uint8x16_t v[R];
        for (int r = 0; r < R; ++r) v[r] = veorq_u8(vld1q_u8(w + r * row_bytes + part), middle);
        for (int d = 0; d < n; ++d) {
          const int8x16_t x = vld1q_s8(q + c + 64 * d + part);
          for (int r = 0; r < R; ++r) {
            const int8x16_t s = vreinterpretq_s8_u8(v[r]);
            const int8x16_t negative =
                vreinterpretq_s8_u8(vaddq_u8(vcgtq_s8(s, not_0), vcgtq_s8(s, is_2)));
            acc[r] = multiply_add(acc[r], vabsq_s8(negative), x);
            v[r] = vmulq_u8(v[r], three);
          }
        }
      }
    }
    for (int r = 0; r < R; ++r) total[r] = vpadalq_s16(total[r], acc[r]);
  }
  for (int r = 0; r < R; ++r) out[r] = vaddvq_s32(total[r]);
}

constexpr auto i2s_matmul = ternary_matmul;
#include "kernels/arm_lut.inl"
#include "kernels/panels.inl"
#include "kernels/trits.inl"

constexpr WeightLayout kFastestTl2 = WeightLayout::kI2S;
#include "kernels/table.inl"

}  // namespace

extern constinit const Kernels kNeon = kernel_table("neon", kCpuNeon);

}  // namespace bitnet
