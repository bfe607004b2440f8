// AVX-512 (F, BW, DQ, VL) with VNNI, shared by the kernels that build on it. A 64-byte vector holds
// two blocks of 128 codes, so the activations are kept in pairs of blocks (activation_index in
// float_ops.inl).

#include "kernels/unroll.inl"

using vf = __m512;
constexpr int kWidth = 16;
constexpr bool kPairBlocks = true;

inline vf load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, vf v) { _mm512_storeu_ps(p, v); }
inline vf set1(float x) { return _mm512_set1_ps(x); }
inline vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
inline float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline vf vmin(vf a, vf b) { return _mm512_min_ps(a, b); }
inline vf vmax(vf a, vf b) { return _mm512_max_ps(a, b); }
inline vf round_vf(vf x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline vf zero_below(vf x, vf limit, vf v) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), v);
}
inline vf scale_by_pow2(vf p, vf n) { return _mm512_scalef_ps(p, n); }
inline vf load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline float half_to_float(uint16_t h) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h))); }
inline vf load_bf16(const uint16_t* p) {
  const __m512i wide =
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline vf load_i8(const uint8_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline float max_lane(vf v) { return _mm512_reduce_max_ps(v); }
inline float sum_halves(vf v) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#include "kernels/float_ops.inl"

constexpr int kGemmRows = 12, kGemmVectors = 2;
inline vf sqrt_vf(vf x) { return _mm512_sqrt_ps(x); }
#include "kernels/gemm.inl"
#include "kernels/train_ops.inl"

using vi = __m512i;
constexpr int kByteVector = 32, kCodeBias = 128;
constexpr int kCoarseRows = 2, kCoarseTokens = 4, kQuadRows = 2, kQuadTokens = 4;
constexpr int kPairRows = 4, kPairTokens = 4;
inline vi zero_i32() { return _mm512_setzero_si512(); }
inline vf to_float(vi v) { return _mm512_cvtepi32_ps(v); }

// acc + codes * q. As an intrinsic, GCC 12 copies every accumulator of a tile and runs out of
// registers; through a reference it keeps them in memory as well.
inline __m512i dpbusd(__m512i acc, __m512i codes, __m512i q) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(codes), "v"(q));
  return acc;
}

typedef uint8_t Bytes __attribute__((vector_size(kByteVector)));
using Codes = __m512i;
template <int kOffset>
BITNET_INLINE inline Codes make_codes(const Bytes (&pieces)[2]) {
  const __m512i bytes =
      _mm512_inserti64x4(_mm512_castsi256_si512((__m256i)pieces[0]), (__m256i)pieces[1], 1);
  return _mm512_add_epi8(bytes, _mm512_set1_epi8(static_cast<char>(kCodeBias - kOffset)));
}
BITNET_INLINE inline Codes load_codes64(const uint8_t* p) { return _mm512_load_si512(p); }
BITNET_INLINE inline void store_codes64(uint8_t* p, Codes codes) { _mm512_store_si512(p, codes); }
BITNET_INLINE inline vi add_products(vi sums, Codes codes, const int8_t* x) {
  return dpbusd(sums, codes, _mm512_load_si512(x));
}
BITNET_INLINE inline void quad_sums(Codes codes, const HeadGroup& x, vi (&sums)[1]) {
  const __m512i high = dpbusd(_mm512_load_si512(x.minus), codes, _mm512_load_si512(x.high));
  sums[0] = dpbusd(_mm512_slli_epi32(high, 7), codes, _mm512_load_si512(x.low));
}
inline vf quad_scales(const float* scales, int) {
  const __m512i lane = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
  return _mm512_permutexvar_ps(lane, _mm512_castps128_ps512(_mm_load_ps(scales)));
}

using Words32 = __m512i;
BITNET_INLINE inline Words32 load_words32(const int16_t* p) { return _mm512_load_si512(p); }
BITNET_INLINE inline void store_words32(int16_t* p, Words32 words) { _mm512_store_si512(p, words); }
template <int kOffset, int kFirstScale>
BITNET_INLINE inline Words32 scaled_codes(const Bytes (&pieces)[1], const int16_t* scales) {
  const __m512i all = _mm512_castsi256_si512(_mm256_load_si256((const __m256i*)scales));
  const __m512i lanes =
      _mm512_inserti64x4(_mm512_set1_epi16(kFirstScale), _mm256_set1_epi16(kFirstScale + 1), 1);
  const __m512i codes =
      _mm512_sub_epi16(_mm512_cvtepu8_epi16((__m256i)pieces[0]), _mm512_set1_epi16(kOffset));
  return _mm512_mullo_epi16(codes, _mm512_permutexvar_epi16(lanes, all));
}
template <int j>
BITNET_INLINE inline vi add_pairs(vi sums, Words32 w, Words32 x) {  // an asm as dpbusd is
  __asm__("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(w), "v"(x));
  return sums;
}

// out[i] = sum of the lanes of v[i], four at a time.
template <int N>
BITNET_INLINE inline void store_sums(const __m512i (&v)[N], int32_t* out) {
  each<N / 4>([&](auto i) BITNET_INLINE {
    const __m512i a = v[4 * i], b = v[4 * i + 1], c = v[4 * i + 2], d = v[4 * i + 3];
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    const __m512i abcd =
        _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i half =
        _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64(abcd, 1));
    const __m128i sums =
        _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 4 * i), sums);
  });
  each<N % 4>([&](auto i) BITNET_INLINE {
    out[N / 4 * 4 + i] = _mm512_reduce_add_epi32(v[N / 4 * 4 + i]);
  });
}

#include "kernels/head_ops.inl"

constexpr int kTileRows = 4, kTileTokens = 6;

// The last block of an odd row with zeros behind it: nothing is read beyond the row.
inline __m512i load_block(const uint8_t* w) {
  return _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
}

// No shifts: each group is used where it stands, 1, 4, 16 or 64 times too large, and set right at
// the end. The largest sum, 2 * 64 * 127 * cols / 16 per lane and group, fits 32 bits for every
// cols < 2^20.
template <int R>
inline void gemv(const uint8_t* w, int64_t row_bytes, int64_t n_blocks, const int8_t* q,
                 int64_t ahead, int32_t* out) {
  __m512i mask[4], acc[R][4];
  each<4>([&](auto g)
              BITNET_INLINE { mask[g] = _mm512_set1_epi8(static_cast<char>(3 << (6 - 2 * g))); });
  each<R>([&](auto r) BITNET_INLINE {
    each<4>([&](auto g) BITNET_INLINE { acc[r][g] = _mm512_setzero_si512(); });
  });
  const int64_t n_bytes = 32 * n_blocks;
  const auto step = [&](int64_t i, auto load_weights) BITNET_INLINE {
    __m512i x[4];
    each<4>([&](auto g) BITNET_INLINE { x[g] = _mm512_loadu_si512(q + 4 * i + 64 * g); });
    prefetch_lines<64 * R>(w + R * i + ahead);
    each<R>([&](auto r) BITNET_INLINE {
      const __m512i packed = load_weights(w + r * row_bytes + i);
      each<4>([&](auto g) BITNET_INLINE {
        acc[r][g] = dpbusd(acc[r][g], _mm512_and_si512(packed, mask[g]), x[g]);
      });
    });
  };
  int64_t i = 0;
  for (; i + 64 <= n_bytes; i += 64)
    step(i, [](const uint8_t* p) BITNET_INLINE { return _mm512_loadu_si512(p); });
  if (i < n_bytes) step(i, [](const uint8_t* p) BITNET_INLINE { return load_block(p); });
  __m512i total[R];
  each<R>([&](auto r) BITNET_INLINE {
    const __m512i high =
        _mm512_add_epi32(_mm512_srai_epi32(acc[r][0], 6), _mm512_srai_epi32(acc[r][1], 4));
    const __m512i low = _mm512_add_epi32(_mm512_srai_epi32(acc[r][2], 2), acc[r][3]);
    total[r] = _mm512_add_epi32(high, low);
  });
  store_sums(total, out);
}

inline void unpack_row(const uint8_t* w, int64_t n_blocks, uint8_t* codes) {
  const __m512i mask = _mm512_set1_epi8(3);
  const int64_t n_bytes = 32 * n_blocks;
  for (int64_t i = 0; i < n_bytes; i += 64) {
    const __m512i packed = n_bytes - i >= 64 ? _mm512_loadu_si512(w + i) : load_block(w + i);
    uint8_t* to = codes + 4 * i;
    _mm512_storeu_si512(to, _mm512_and_si512(_mm512_srli_epi16(packed, 6), mask));
    _mm512_storeu_si512(to + 64, _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask));
    _mm512_storeu_si512(to + 128, _mm512_and_si512(_mm512_srli_epi16(packed, 2), mask));
    _mm512_storeu_si512(to + 192, _mm512_and_si512(packed, mask));
  }
}

template <int R, int T>
inline void tile(const uint8_t* codes, const int8_t* q, int64_t stride, int64_t n, int32_t* out) {
  __m512i acc[T * R];
  each<T * R>([&](auto i) BITNET_INLINE { acc[i] = _mm512_setzero_si512(); });
  for (int64_t c = 0; c < n; c += 64) {
    __m512i w[R];
    each<R>([&](auto r) BITNET_INLINE { w[r] = _mm512_loadu_si512(codes + r * stride + c); });
    each<T>([&](auto t) BITNET_INLINE {
      const __m512i x = _mm512_loadu_si512(q + t * stride + c);
      each<R>([&](auto r) BITNET_INLINE { acc[t * R + r] = dpbusd(acc[t * R + r], w[r], x); });
    });
  }
  store_sums(acc, out);
}

constexpr int kDirectTokens = 31, kDirectTile = 4;  // tile_tokens and more take panels
#include "kernels/ternary_matmul.inl"

// Unpacked once in registers for all T tokens: R * T sums, R codes and one vector of a token.
template <int R, int T>
inline void gemv_tokens(const uint8_t* w, int64_t row_bytes, int64_t n_blocks, const int8_t* q,
                        int64_t stride, int64_t ahead, int32_t* out) {
  const __m512i mask = _mm512_set1_epi8(3);
  __m512i acc[R * T];
  each<R * T>([&](auto i) BITNET_INLINE { acc[i] = _mm512_setzero_si512(); });
  const int64_t n_bytes = 32 * n_blocks;
  const auto step = [&](int64_t i, auto load_weights) BITNET_INLINE {
    if (ahead > 0) prefetch_lines<64 * R>(w + R * i + ahead);
    __m512i packed[R];
    each<R>([&](auto r) BITNET_INLINE { packed[r] = load_weights(w + r * row_bytes + i); });
    each<4>([&](auto g) BITNET_INLINE {
      __m512i codes[R];
      each<R>([&](auto r) BITNET_INLINE {
        codes[r] = _mm512_and_si512(_mm512_srli_epi16(packed[r], 6 - 2 * g), mask);
      });
      each<T>([&](auto t) BITNET_INLINE {
        const __m512i x = _mm512_loadu_si512(q + t * stride + 4 * i + 64 * g);
        each<R>([&](auto r)
                    BITNET_INLINE { acc[t * R + r] = dpbusd(acc[t * R + r], codes[r], x); });
      });
    });
  };
  int64_t i = 0;
  for (; i + 64 <= n_bytes; i += 64)
    step(i, [](const uint8_t* p) BITNET_INLINE { return _mm512_loadu_si512(p); });
  if (i < n_bytes) step(i, [](const uint8_t* p) BITNET_INLINE { return load_block(p); });
  store_sums(acc, out);
}

// No digit is ever taken apart: with the fractions v0 = v and v(n + 1) = 3 v(n) mod 256, 256 times
// digit n is 3 v(n) - v(n + 1), so both sides are multiplied and summed as they are. The sums may
// wrap around 32 bits, their difference does not: 256 * 2 * 127 * cols / 16 per lane fits for every
// cols < 2^18.
template <int R>
inline void trit_gemv(const uint8_t* w, int64_t row_bytes, int64_t stride, const int8_t* q, int32_t,
                      int32_t* out) {
  __m512i before[R], after[R];
  each<R>([&](auto r) BITNET_INLINE { before[r] = after[r] = _mm512_setzero_si512(); });
  const uint8_t* first = w;
  const auto step = [&](const uint8_t* packed, const int8_t* x, auto n) BITNET_INLINE {
    __m512i v[R];
    prefetch_lines<64 * R>(first + R * (packed - first) + kPrefetchBytes);
    each<R>([&](auto r) BITNET_INLINE { v[r] = _mm512_loadu_si512(packed + r * row_bytes); });
    for (int d = 0; d < n; ++d) {
      const __m512i xd = _mm512_loadu_si512(x + 64 * d);
      each<R>([&](auto r) BITNET_INLINE {
        before[r] = dpbusd(before[r], v[r], xd);
        v[r] = _mm512_add_epi8(v[r], _mm512_add_epi8(v[r], v[r]));
        after[r] = dpbusd(after[r], v[r], xd);
      });
    }
  };
  int64_t c = 0;
  for (; c + 320 <= stride; c += 320, w += 64) {
    step(w, q + c, Index<5>{});
  }
  if (c < stride) {
    step(w, q + c, static_cast<int>(stride - c) / 64);
  }
  each<R>([&](auto r) BITNET_INLINE {
    const auto tripled = _mm512_add_epi32(before[r], _mm512_add_epi32(before[r], before[r]));
    before[r] = _mm512_srai_epi32(_mm512_sub_epi32(tripled, after[r]), 8);
  });
  store_sums(before, out);
}
