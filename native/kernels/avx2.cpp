// AVX2 with FMA and F16C. Sums of products of codes (0..2) and int8 activations are kept in 16 bits
// as long as they provably fit: one vpmaddubsw lane is at most 2 * 2 * 127 = 508, so 64 of them
// make 32512.
#include <immintrin.h>

#include <utility>

#include "kernels/kernels.h"

namespace bitnet {
namespace {

#include "kernels/x86_256.inl"

constexpr int kTileRows = 3, kTileTokens = 3;

// acc + v. As an intrinsic, GCC 12 adds into a copy and moves it back; through a reference it keeps
// the sums in memory as well.
inline __m256i add_i16(__m256i acc, __m256i v) {
  __asm__("vpaddw %1, %0, %0" : "+x"(acc) : "x"(v));
  return acc;
}

// Groups 2 and 0 of a block are used in place, two bits up, which makes their products 4 times as
// large and saves two of four shifts: at most 2 * 4 * 508 = 4064 per block, so 8 blocks fit 16
// bits.
template <int R>
inline void gemv(const uint8_t* w, int64_t row_bytes, int64_t n_blocks, const int8_t* q,
                 int64_t ahead, int32_t* out) {
  const __m256i low = _mm256_set1_epi8(3), high = _mm256_set1_epi8(12), ones = _mm256_set1_epi16(1);
  __m256i total[R], total4[R];
  each<R>([&](auto r) BITNET_INLINE { total[r] = total4[r] = _mm256_setzero_si256(); });
  for (int64_t first = 0; first < n_blocks; first += 8) {
    const int64_t last = first + 8 < n_blocks ? first + 8 : n_blocks;
    __m256i acc[R], acc4[R];
    each<R>([&](auto r) BITNET_INLINE { acc[r] = acc4[r] = _mm256_setzero_si256(); });
    for (int64_t b = first; b < last; ++b) {
      const int8_t* x = q + 128 * b;
      prefetch_lines<32 * R>(w + 32 * R * b + ahead);
      each<R>([&](auto r) BITNET_INLINE {
        const __m256i packed = load_bytes(w + r * row_bytes + 32 * b);
        const __m256i shifted = _mm256_srli_epi16(packed, 4);
        const __m256i p3 = _mm256_maddubs_epi16(_mm256_and_si256(packed, low), load_bytes(x + 96));
        const __m256i p2 = _mm256_maddubs_epi16(_mm256_and_si256(packed, high), load_bytes(x + 64));
        const __m256i p1 = _mm256_maddubs_epi16(_mm256_and_si256(shifted, low), load_bytes(x + 32));
        const __m256i p0 = _mm256_maddubs_epi16(_mm256_and_si256(shifted, high), load_bytes(x));
        acc[r] = _mm256_add_epi16(acc[r], _mm256_add_epi16(p3, p1));
        acc4[r] = _mm256_add_epi16(acc4[r], _mm256_add_epi16(p2, p0));
      });
    }
    each<R>([&](auto r) BITNET_INLINE {
      total[r] = _mm256_add_epi32(total[r], _mm256_madd_epi16(acc[r], ones));
      total4[r] = _mm256_add_epi32(total4[r], _mm256_madd_epi16(acc4[r], ones));
    });
  }
  each<R>([&](auto r) BITNET_INLINE {
    total[r] = _mm256_add_epi32(total[r], _mm256_srai_epi32(total4[r], 2));
  });
  store_sums(total, out);
}

template <int R, int T>
inline void tile(const uint8_t* codes, const int8_t* q, int64_t stride, int64_t n, int32_t* out) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i total[T * R];
  each<T * R>([&](auto i) BITNET_INLINE { total[i] = _mm256_setzero_si256(); });
  for (int64_t first = 0; first < n; first += 64 * 32) {
    const int64_t last = first + 64 * 32 < n ? first + 64 * 32 : n;
    __m256i acc[T * R];
    each<T * R>([&](auto i) BITNET_INLINE { acc[i] = _mm256_setzero_si256(); });
    for (int64_t c = first; c < last; c += 32) {
      __m256i w[R];
      each<R>([&](auto r)
                  BITNET_INLINE { w[r] = in_register(load_bytes(codes + r * stride + c)); });
      each<T>([&](auto t) BITNET_INLINE {
        const __m256i x = in_register(load_bytes(q + t * stride + c));
        each<R>([&](auto r) BITNET_INLINE {
          acc[t * R + r] = add_i16(acc[t * R + r], _mm256_maddubs_epi16(w[r], x));
        });
      });
    }
    each<T * R>([&](auto i) BITNET_INLINE {
      total[i] = _mm256_add_epi32(total[i], _mm256_madd_epi16(acc[i], ones));
    });
  }
  store_sums(total, out);
}

constexpr int kDirectTokens = 8, kDirectTile = 1;
#include "kernels/ternary_matmul.inl"

int64_t int8_peak(int64_t iterations) {
  constexpr int kChains = 8;  // independent sums, to hide the latency
  __m256i acc[kChains], codes = _mm256_set1_epi8(1), x = codes;
  each<kChains>([&](auto i) BITNET_INLINE { acc[i] = _mm256_setzero_si256(); });
  for (int64_t n = 0; n < iterations; ++n) {
    each<kChains>([&](auto i) BITNET_INLINE {
      __asm__("" : "+x"(x));  // or the product would be computed only once
      acc[i] = _mm256_add_epi16(acc[i], _mm256_maddubs_epi16(codes, x));
    });
  }
  each<kChains>([&](auto i) BITNET_INLINE { keep(acc[i]); });
  return iterations * kChains * 64;
}

// Thresholds instead of multiplications: moved to the middle of the signed bytes, the first digit
// of a fraction is 0 below -42, 1 up to 42 and 2 above; and 3 * -128 = -128 modulo 256, so that the
// next digit comes up as before. One vpmaddubsw lane per digit, at most 508: 60 of them make 30480.
template <int R>
inline void trit_gemv(const uint8_t* w, int64_t row_bytes, int64_t stride, const int8_t* q, int32_t,
                      int32_t* out) {
  const __m256i middle = _mm256_set1_epi8(-128), ones = _mm256_set1_epi16(1);
  const __m256i not_0 = _mm256_set1_epi8(-43), is_2 = _mm256_set1_epi8(42);
  __m256i total[R], acc[R];
  each<R>([&](auto r) BITNET_INLINE { total[r] = acc[r] = _mm256_setzero_si256(); });
  const auto widen = [&]() BITNET_INLINE {
    each<R>([&](auto r) BITNET_INLINE {
      total[r] = _mm256_add_epi32(total[r], _mm256_madd_epi16(acc[r], ones));
      acc[r] = _mm256_setzero_si256();
    });
  };
  // Half a block: n digits of 32 bytes.
  const auto step = [&](const uint8_t* packed, const int8_t* x, auto n) BITNET_INLINE {
    each<R>([&](auto r) BITNET_INLINE {
      __m256i v = _mm256_xor_si256(load_bytes(packed + r * row_bytes), middle);
      for (int d = 0; d < n; ++d) {
        const __m256i negative =
            _mm256_add_epi8(_mm256_cmpgt_epi8(v, not_0), _mm256_cmpgt_epi8(v, is_2));
        const __m256i products =
            _mm256_maddubs_epi16(_mm256_abs_epi8(negative), load_bytes(x + 64 * d));
        acc[r] = _mm256_add_epi16(acc[r], products);
        v = _mm256_add_epi8(v, _mm256_add_epi8(v, v));
      }
    });
  };
  int64_t c = 0;
  for (; c + 320 <= stride; c += 320, w += 64) {
    step(w, q + c, Index<5>{});
    step(w + 32, q + c + 32, Index<5>{});
    if (c / 320 % 6 == 5) widen();
  }
  if (c < stride) {
    step(w, q + c, static_cast<int>(stride - c) / 64);
    step(w + 32, q + c + 32, static_cast<int>(stride - c) / 64);
  }
  widen();
  store_sums(total, out);
}

constexpr auto i2s_matmul = ternary_matmul;
#include "kernels/panels.inl"
#include "kernels/trits.inl"
#include "kernels/x86_lut.inl"

constexpr WeightLayout kFastestTl2 = WeightLayout::kTriples;
#include "kernels/table.inl"

}  // namespace

extern constinit const Kernels kAvx2 = kernel_table("avx2", kCpuAvx2);

}  // namespace bitnet
