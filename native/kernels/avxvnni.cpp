// AVX2 plus AVX-VNNI (client CPUs without AVX-512): vpdpbusd multiplies and sums into 32 bits in
// one instruction.
#include <immintrin.h>

#include <utility>

#include "kernels/kernels.h"

namespace bitnet {
namespace {

#include "kernels/x86_256.inl"

constexpr int kTileRows = 3, kTileTokens = 4;

// No shifts: each group is used where it stands, 1, 4, 16 or 64 times too large, and set right at
// the end. The largest sum, 2 * 64 * 127 * cols / 8 per lane and group, fits 32 bits for every cols
// < 2^20.
template <int R>
inline void gemv(const uint8_t* w, int64_t row_bytes, int64_t n_blocks, const int8_t* q,
                 int64_t ahead, int32_t* out) {
  __m256i mask[4], acc[R][4];
  each<4>([&](auto g)
              BITNET_INLINE { mask[g] = _mm256_set1_epi8(static_cast<char>(3 << (6 - 2 * g))); });
  each<R>([&](auto r) BITNET_INLINE {
    each<4>([&](auto g) BITNET_INLINE { acc[r][g] = _mm256_setzero_si256(); });
  });
  for (int64_t b = 0; b < n_blocks; ++b) {
    const int8_t* x = q + 128 * b;
    prefetch_lines<32 * R>(w + 32 * R * b + ahead);
    each<R>([&](auto r) BITNET_INLINE {
      const __m256i packed = load_bytes(w + r * row_bytes + 32 * b);
      each<4>([&](auto g) BITNET_INLINE {
        acc[r][g] = dpbusd(acc[r][g], _mm256_and_si256(packed, mask[g]), load_bytes(x + 32 * g));
      });
    });
  }
  __m256i total[R];
  each<R>([&](auto r) BITNET_INLINE {
    const __m256i high =
        _mm256_add_epi32(_mm256_srai_epi32(acc[r][0], 6), _mm256_srai_epi32(acc[r][1], 4));
    const __m256i low = _mm256_add_epi32(_mm256_srai_epi32(acc[r][2], 2), acc[r][3]);
    total[r] = _mm256_add_epi32(high, low);
  });
  store_sums(total, out);
}

template <int R, int T>
inline void tile(const uint8_t* codes, const int8_t* q, int64_t stride, int64_t n, int32_t* out) {
  __m256i acc[T * R];
  each<T * R>([&](auto i) BITNET_INLINE { acc[i] = _mm256_setzero_si256(); });
  for (int64_t c = 0; c < n; c += 32) {
    __m256i w[R];
    each<R>([&](auto r) BITNET_INLINE { w[r] = in_register(load_bytes(codes + r * stride + c)); });
    each<T>([&](auto t) BITNET_INLINE {
      const __m256i x = in_register(load_bytes(q + t * stride + c));
      each<R>([&](auto r) BITNET_INLINE { acc[t * R + r] = dpbusd(acc[t * R + r], w[r], x); });
    });
  }
  store_sums(acc, out);
}

constexpr int kDirectTokens = 4, kDirectTile = 1;
#include "kernels/ternary_matmul.inl"

int64_t int8_peak(int64_t iterations) {
  constexpr int kChains = 12;  // independent sums, to hide the latency
  __m256i acc[kChains];
  const __m256i codes = _mm256_set1_epi8(1);
  each<kChains>([&](auto i) BITNET_INLINE { acc[i] = _mm256_setzero_si256(); });
  for (int64_t n = 0; n < iterations; ++n) {
    each<kChains>([&](auto i) BITNET_INLINE { acc[i] = dpbusd(acc[i], codes, codes); });
  }
  each<kChains>([&](auto i) BITNET_INLINE { keep(acc[i]); });
  return iterations * kChains * 64;
}

// No digit is ever taken apart: with the fractions v0 = v and v(n + 1) = 3 v(n) mod 256, 256 times
// digit n is 3 v(n) - v(n + 1), so both sides are multiplied and summed as they are. The sums may
// wrap around 32 bits, their difference does not: 256 * 2 * 127 * cols / 8 per lane fits for every
// cols < 2^18.
template <int R>
inline void trit_gemv(const uint8_t* w, int64_t row_bytes, int64_t stride, const int8_t* q, int32_t,
                      int32_t* out) {
  __m256i before[R], after[R];
  each<R>([&](auto r) BITNET_INLINE { before[r] = after[r] = _mm256_setzero_si256(); });
  const uint8_t* first = w;
  const auto step = [&](const uint8_t* packed, const int8_t* x, auto n) BITNET_INLINE {
    __m256i v[R];
    prefetch_lines<32 * R>(first + R * (packed - first) + kPrefetchBytes);
    each<R>([&](auto r) BITNET_INLINE { v[r] = load_bytes(packed + r * row_bytes); });
    for (int d = 0; d < n; ++d) {
      const __m256i xd = load_bytes(x + 64 * d);
      each<R>([&](auto r) BITNET_INLINE {
        before[r] = dpbusd(before[r], v[r], xd);
        v[r] = _mm256_add_epi8(v[r], _mm256_add_epi8(v[r], v[r]));
        after[r] = dpbusd(after[r], v[r], xd);
      });
    }
  };
  int64_t c = 0;
  for (; c + 320 <= stride; c += 320, w += 64) {
    step(w, q + c, Index<5>{});
    step(w + 32, q + c + 32, Index<5>{});
  }
  if (c < stride) {
    step(w, q + c, static_cast<int>(stride - c) / 64);
    step(w + 32, q + c + 32, static_cast<int>(stride - c) / 64);
  }
  each<R>([&](auto r) BITNET_INLINE {
    const auto tripled = _mm256_add_epi32(before[r], _mm256_add_epi32(before[r], before[r]));
    before[r] = _mm256_srai_epi32(_mm256_sub_epi32(tripled, after[r]), 8);
  });
  store_sums(before, out);
}

constexpr auto i2s_matmul = ternary_matmul;
#include "kernels/panels.inl"
#include "kernels/trits.inl"
#include "kernels/x86_lut.inl"

constexpr WeightLayout kFastestTl2 = WeightLayout::kI2S;
#include "kernels/table.inl"

}  // namespace

extern constinit const Kernels kAvxVnni = kernel_table("avxvnni", kCpuAvx2 | kCpuAvxVnni);

}  // namespace bitnet
