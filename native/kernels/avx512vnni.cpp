// AVX-512 (F, BW, DQ, VL) with VNNI.
#include <immintrin.h>

#include <utility>

#include "kernels/kernels.h"

namespace bitnet {
namespace {

#include "kernels/avx512.inl"
#include "kernels/avx512_panel.inl"

constexpr bool kWinograd = false;
#include "kernels/avx512_gemm.inl"

int64_t int8_peak(int64_t iterations) {
  constexpr int kChains = 16;  // independent sums, to hide the latency
  __m512i acc[kChains];
  const __m512i codes = _mm512_set1_epi8(1);
  each<kChains>([&](auto i) BITNET_INLINE { acc[i] = _mm512_setzero_si512(); });
  for (int64_t n = 0; n < iterations; ++n) {
    each<kChains>([&](auto i) BITNET_INLINE { acc[i] = dpbusd(acc[i], codes, codes); });
  }
  each<kChains>([&](auto i) BITNET_INLINE { keep(acc[i]); });
  return iterations * kChains * 128;
}

constexpr auto i2s_matmul = gemm;
#include "kernels/panels.inl"
#include "kernels/trits.inl"
#include "kernels/x86_lut.inl"

constexpr WeightLayout kFastestTl2 = WeightLayout::kI2S;
#include "kernels/table.inl"

}  // namespace

extern constinit const Kernels kAvx512Vnni =
    kernel_table("avx512vnni", kCpuAvx2 | kCpuAvx512 | kCpuAvx512Vnni);

}  // namespace bitnet
