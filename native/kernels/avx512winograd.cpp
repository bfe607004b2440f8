// AVX-512 with VNNI on cores that add bytes at least twice as fast as they multiply them, as AMD's
// do: batches take Winograd's inner product, half the multiplications.
#include <immintrin.h>

#include <utility>

#include "kernels/kernels.h"

namespace bitnet {
namespace {

#include "kernels/avx512.inl"
#include "kernels/avx512_panel.inl"

constexpr bool kWinograd = true;
#include "kernels/avx512_gemm.inl"

// The names are those of avx512_gemm.inl. Of u s = (a + w + 127) (b + v - 1) the token alone adds
// a b - a + 127 b.
void find_pairs(int8_t* q, int64_t stride, float* scale, int32_t* sum, TokenPairs* pairs) {
  const __m512i most = _mm512_set1_epi8(127), zero = _mm512_setzero_si512();
  const __m512i least = _mm512_set1_epi8(-127), sign = _mm512_set1_epi8(-128);
  int balance = 0;
  uint64_t strange = 0;  // -128, which only NaN turns into
  for (int64_t c = 0; c < stride; c += 64) {
    const __m512i v = _mm512_loadu_si512(q + c);
    balance += __builtin_popcountll(_mm512_cmpeq_epi8_mask(v, most)) -
               __builtin_popcountll(_mm512_cmpeq_epi8_mask(v, least));
    strange |= _mm512_cmpeq_epi8_mask(v, sign);
  }
  if (balance > 0 && !strange) {
    for (int64_t c = 0; c < stride; c += 64)
      _mm512_storeu_si512(q + c, _mm512_sub_epi8(zero, _mm512_loadu_si512(q + c)));
    *scale = -*scale;
    *sum = -*sum;
  }
  __m512i products = zero;  // of (a + 128) * b
  pairs->n_top = 0;
  for (int64_t c = 0; c < stride; c += 64) {
    const __m512i v = _mm512_loadu_si512(q + c);
    products = dpbusd(products, _mm512_xor_si512(v, sign), _mm512_srli_epi64(v, 32));
    uint64_t top = _mm512_cmpeq_epi8_mask(v, most);
    for (top = (top | top >> 4) & 0x0f0f0f0f0f0f0f0f; top; top &= top - 1) {
      if (pairs->n_top < kMostTop)
        pairs->top[pairs->n_top] = static_cast<int32_t>(c + __builtin_ctzll(top));
      ++pairs->n_top;
    }
  }
  if (strange) pairs->n_top = kMostTop + 1;  // takes the dot products, which are exact for it
  pairs->products = _mm512_reduce_add_epi32(products) - *sum;
}

// Two additions and a dot product are four operations per byte.
int64_t int8_peak(int64_t iterations) {
  constexpr int kChains = 16;  // independent sums, to hide the latency
  __m512i acc[kChains], v = _mm512_set1_epi8(1);
  const __m512i odd = v, even = _mm512_set1_epi8(-1);
  each<kChains>([&](auto i) BITNET_INLINE { acc[i] = _mm512_setzero_si512(); });
  for (int64_t n = 0; n < iterations; ++n) {
    each<kChains>([&](auto i) BITNET_INLINE {
      __asm__("" : "+v"(v));  // or the sums would be computed only once
      acc[i] = dpbusd(acc[i], _mm512_add_epi8(v, odd), _mm512_add_epi8(v, even));
    });
  }
  each<kChains>([&](auto i) BITNET_INLINE { keep(acc[i]); });
  return iterations * kChains * 256;
}

constexpr auto i2s_matmul = gemm;
#include "kernels/panels.inl"
#include "kernels/trits.inl"
#include "kernels/x86_lut.inl"

constexpr WeightLayout kFastestTl2 = WeightLayout::kI2S;
#include "kernels/table.inl"

}  // namespace

extern constinit const Kernels kAvx512Winograd = [] {
  Kernels table = kernel_table("avx512winograd", kCpuAvx2 | kCpuAvx512 | kCpuAvx512Vnni);
  table.find_pairs = find_pairs;
  return table;
}();

}  // namespace bitnet
