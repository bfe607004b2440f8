// AVX2 with FMA and F16C. Sums of products of codes (0..2) and int8 activations are kept in 16 bits
// as long as they provably fit: one vpmaddubsw lane is at most 2 * 2 * 127 = 508, so 64 of them
// make 32512.
#include <immintrin.h>

#include <utility>

#include "kernels.h"

namespace bitnet {
namespace {

#include "kernels/x86_256.inl"

constexpr int kTileRows = 3, kTileTokens = 3;

// acc += v, in place. As an intrinsic, GCC 12 adds into a copy and moves it back.
inline void add_i16(__m256i& acc, __m256i v) { __asm__("vpaddw %1, %0, %0" : "+x"(acc) : "x"(v)); }

// Groups 2 and 0 of a block are used in place, two bits up, which makes their products 4 times as
// large and saves two of four shifts: at most 2 * 4 * 508 = 4064 per block, so 8 blocks fit 16
// bits.
template <int R>
inline void gemv(const uint8_t* w, int64_t row_bytes, int64_t n_blocks, const int8_t* q,
                 int32_t* out) {
  const __m256i low = _mm256_set1_epi8(3), high = _mm256_set1_epi8(12), ones = _mm256_set1_epi16(1);
  __m256i total[R], total4[R];
  each<R>([&](auto r) BITNET_INLINE { total[r] = total4[r] = _mm256_setzero_si256(); });
  for (int64_t first = 0; first < n_blocks; first += 8) {
    const int64_t last = first + 8 < n_blocks ? first + 8 : n_blocks;
    __m256i acc[R], acc4[R];
    each<R>([&](auto r) BITNET_INLINE { acc[r] = acc4[r] = _mm256_setzero_si256(); });
    for (int64_t b = first; b < last; ++b) {
      const int8_t* x = q + 128 * b;
      each<R>([&](auto r) BITNET_INLINE {
        const uint8_t* p = w + r * row_bytes + 32 * b;
        __builtin_prefetch(p + kPrefetchBytes);
        const __m256i packed = load_bytes(p);
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
      each<R>([&](auto r) BITNET_INLINE { w[r] = load_bytes(codes + r * stride + c); });
      each<T>([&](auto t) BITNET_INLINE {
        const __m256i x = in_register(load_bytes(q + t * stride + c));
        each<R>([&](auto r)
                    BITNET_INLINE { add_i16(acc[t * R + r], _mm256_maddubs_epi16(w[r], x)); });
      });
    }
    each<T * R>([&](auto i) BITNET_INLINE {
      total[i] = _mm256_add_epi32(total[i], _mm256_madd_epi16(acc[i], ones));
    });
  }
  store_sums(total, out);
}

#include "kernels/ternary_matmul.inl"

}  // namespace

extern const Kernels kAvx2 = {
    "avx2",       kCpuAvx2,      quantize,     ternary_matmul, float_matmul,    dot,
    compress_row, coarse_matvec, block_matvec, attention,      merge_attention, rms_norm,
    silu_mul,     relu2_mul,     add};

}  // namespace bitnet
