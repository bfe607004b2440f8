// Vectors of 8 floats and the unpacking of I2_S rows, shared by the kernels that use 256-bit
// registers.

#include "kernels/unroll.inl"

using vf = __m256;
constexpr int kWidth = 8;
constexpr bool kPairBlocks = false;

inline vf load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, vf v) { _mm256_storeu_ps(p, v); }
inline vf set1(float x) { return _mm256_set1_ps(x); }
inline vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
inline float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline vf vmin(vf a, vf b) { return _mm256_min_ps(a, b); }
inline vf vmax(vf a, vf b) { return _mm256_max_ps(a, b); }
inline vf round_vf(vf x) {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline vf zero_below(vf x, vf limit, vf v) {
  return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), v);
}
inline vf scale_by_pow2(vf p, vf n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
inline vf load_f16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline float half_to_float(uint16_t h) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h))); }
inline vf load_bf16(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline vf load_i8(const uint8_t* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
inline float max_lane(vf v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
inline float sum_halves(vf v) {
  __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  a = _mm_add_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

#include "kernels/float_ops.inl"

constexpr int kGemmRows = 4, kGemmVectors = 3;
inline vf sqrt_vf(vf x) { return _mm256_sqrt_ps(x); }
#include "kernels/gemm.inl"
#include "kernels/train_ops.inl"

using vi = __m256i;
constexpr int kByteVector = 32, kCodeBias = 128;
constexpr int kPairRows = 2, kPairTokens = 2;
inline vi zero_i32() { return _mm256_setzero_si256(); }
inline vf to_float(vi v) { return _mm256_cvtepi32_ps(v); }

#if defined(__AVXVNNI__)
// acc + codes * q. As an intrinsic, GCC 12 copies every accumulator of a tile and runs out of
// registers; through a reference it keeps them in memory as well.
inline __m256i dpbusd(__m256i acc, __m256i codes, __m256i q) {
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(codes), "x"(q));
  return acc;
}
#endif

typedef uint8_t Bytes __attribute__((vector_size(kByteVector)));
struct Codes {
  __m256i v[2];
};
template <int kOffset>
BITNET_INLINE inline Codes make_codes(const Bytes (&pieces)[2]) {
  const __m256i bias = _mm256_set1_epi8(static_cast<char>(kCodeBias - kOffset));
  return {{_mm256_add_epi8((__m256i)pieces[0], bias), _mm256_add_epi8((__m256i)pieces[1], bias)}};
}
BITNET_INLINE inline __m256i load_aligned(const void* p) {
  return _mm256_load_si256(static_cast<const __m256i*>(p));
}
// As whole vectors: a copy of the struct is made in halves, whose stores hold up the loads.
BITNET_INLINE inline Codes load_codes64(const uint8_t* p) {
  return {{load_aligned(p), load_aligned(p + 32)}};
}
BITNET_INLINE inline void store_codes64(uint8_t* p, const Codes& codes) {
  each<2>([&](auto j)
              BITNET_INLINE { _mm256_store_si256(reinterpret_cast<__m256i*>(p) + j, codes.v[j]); });
}
#if defined(__AVXVNNI__)
constexpr int kCoarseRows = 2, kCoarseTokens = 2, kQuadRows = 1, kQuadTokens = 4;
BITNET_INLINE inline vi add_products(vi sums, const Codes& codes, const int8_t* x) {
  sums = dpbusd(sums, codes.v[0], load_aligned(x));
  return dpbusd(sums, codes.v[1], load_aligned(x + 32));
}
BITNET_INLINE inline void quad_sums(const Codes& codes, const HeadGroup& x, vi (&sums)[2]) {
  each<2>([&](auto j) BITNET_INLINE {
    const __m256i high =
        dpbusd(load_aligned(x.minus + 8 * j), codes.v[j], load_aligned(x.high + 32 * j));
    sums[j] = dpbusd(_mm256_slli_epi32(high, 7), codes.v[j], load_aligned(x.low + 32 * j));
  });
}
#else
constexpr int kCoarseRows = 2, kCoarseTokens = 2, kQuadRows = 1, kQuadTokens = 3;
// Sums of four products; two of a code and |x| <= 64 fit 16 bits.
BITNET_INLINE inline __m256i quad_dot(__m256i codes, const int8_t* x) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, load_aligned(x)), _mm256_set1_epi16(1));
}
BITNET_INLINE inline vi add_products(vi sums, const Codes& codes, const int8_t* x) {
  sums = _mm256_add_epi32(sums, quad_dot(codes.v[0], x));
  return _mm256_add_epi32(sums, quad_dot(codes.v[1], x + 32));
}
BITNET_INLINE inline void quad_sums(const Codes& codes, const HeadGroup& x, vi (&sums)[2]) {
  each<2>([&](auto j) BITNET_INLINE {
    const __m256i high =
        _mm256_add_epi32(quad_dot(codes.v[j], x.high + 32 * j), load_aligned(x.minus + 8 * j));
    sums[j] = _mm256_add_epi32(_mm256_slli_epi32(high, 7), quad_dot(codes.v[j], x.low + 32 * j));
  });
}
#endif

struct Words32 {
  __m256i v[2];
};
BITNET_INLINE inline Words32 load_words32(const int16_t* p) {
  return {{load_aligned(p), load_aligned(p + 16)}};
}
BITNET_INLINE inline void store_words32(int16_t* p, const Words32& words) {
  each<2>([&](auto j)
              BITNET_INLINE { _mm256_store_si256(reinterpret_cast<__m256i*>(p) + j, words.v[j]); });
}
template <int kOffset, int kFirstScale>
BITNET_INLINE inline Words32 scaled_codes(const Bytes (&pieces)[1], const int16_t* scales) {
  Words32 words;
  each<2>([&](auto j) BITNET_INLINE {
    const __m256i codes =
        _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm256_extracti128_si256((__m256i)pieces[0], j)),
                         _mm256_set1_epi16(kOffset));
    words.v[j] = _mm256_mullo_epi16(codes, _mm256_set1_epi16(scales[kFirstScale + j]));
  });
  return words;
}
template <int j>
BITNET_INLINE inline vi add_pairs(vi sums, const Words32& w, const Words32& x) {
#if defined(__AVXVNNI__)
  const __m256i a = w.v[j], b = x.v[j];
  __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sums) : "x"(a), "x"(b));
  return sums;
#else
  sums = _mm256_add_epi32(sums, _mm256_madd_epi16(w.v[j], x.v[j]));
  __asm__("" : "+x"(sums));  // else GCC 12 computes the products of many columns first
  return sums;
#endif
}

inline vf quad_scales(const float* scales, int j) {
  return _mm256_set_m128(_mm_load1_ps(scales + 2 * j + 1), _mm_load1_ps(scales + 2 * j));
}
inline int32_t sum_i32(vi v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

// out[i] = sum of the lanes of v[i], four at a time.
template <int N>
BITNET_INLINE inline void store_sums(const __m256i (&v)[N], int32_t* out) {
  each<N / 4>([&](auto i) BITNET_INLINE {
    const __m256i ab = _mm256_hadd_epi32(v[4 * i], v[4 * i + 1]),
                  cd = _mm256_hadd_epi32(v[4 * i + 2], v[4 * i + 3]);
    const __m256i abcd = _mm256_hadd_epi32(ab, cd);
    const __m128i sums =
        _mm_add_epi32(_mm256_castsi256_si128(abcd), _mm256_extracti128_si256(abcd, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 4 * i), sums);
  });
  each<N % 4>([&](auto i) BITNET_INLINE { out[N / 4 * 4 + i] = sum_i32(v[N / 4 * 4 + i]); });
}

#include "kernels/head_ops.inl"

inline __m256i load_bytes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

// Keeps a loaded vector in its register: compilers fold the load into every instruction that uses
// it, and the load ports become the limit.
inline __m256i in_register(__m256i v) {
  __asm__("" : "+x"(v));
  return v;
}

inline void unpack_row(const uint8_t* w, int64_t n_blocks, uint8_t* codes) {
  const __m256i mask = _mm256_set1_epi8(3);
  __m256i* to = reinterpret_cast<__m256i*>(codes);
  for (int64_t b = 0; b < n_blocks; ++b, to += 4) {
    const __m256i packed = load_bytes(w + 32 * b);
    _mm256_storeu_si256(to + 0, _mm256_and_si256(_mm256_srli_epi16(packed, 6), mask));
    _mm256_storeu_si256(to + 1, _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask));
    _mm256_storeu_si256(to + 2, _mm256_and_si256(_mm256_srli_epi16(packed, 2), mask));
    _mm256_storeu_si256(to + 3, _mm256_and_si256(packed, mask));
  }
  if (n_blocks % 2) {  // rows of activations are padded to 256 columns; their padding is zero, so
                       // any code will do
    for (int i = 0; i < 4; ++i) _mm256_storeu_si256(to + i, _mm256_setzero_si256());
  }
}
