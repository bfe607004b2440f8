// NEON with the dot product instructions of ARMv8.2 (most cores since 2018).
#include <arm_neon.h>

#include <utility>

#include "kernels/kernels.h"

namespace bitnet {
namespace {

#include "kernels/arm.inl"

constexpr int kTileRows = 4,
              kTileTokens =
                  6;  // 24 accumulators, 4 weight vectors, one of activations: 32 registers

#include "kernels/arm_dotprod.inl"

template <int R, int T>
inline void tile(const uint8_t* codes, const int8_t* q, int64_t stride, int64_t n, int32_t* out) {
  dot_tile<R, T>(codes, q, stride, n, out);
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
      acc[i] = vdotq_s32(acc[i], codes, x);
    });
  }
  each<kChains>([&](auto i) BITNET_INLINE { keep(acc[i]); });
  return iterations * kChains * 32;
}

constexpr auto i2s_matmul = ternary_matmul;
#include "kernels/arm_lut.inl"
#include "kernels/panels.inl"
#include "kernels/trits.inl"

constexpr WeightLayout kFastestTl2 = WeightLayout::kI2S;
#include "kernels/table.inl"

}  // namespace

extern constinit const Kernels kNeonDotprod = kernel_table("neon_dotprod", kCpuNeon | kCpuDotprod);

}  // namespace bitnet
