// AVX-512 (F, BW, DQ, VL) with VNNI. A 64-byte vector holds two blocks of 128 codes, so the activations are kept in
// pairs of blocks (activation_index in float_ops.inl).
#include "kernels.h"

#include <immintrin.h>

namespace bitnet {
namespace {

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
inline vf round_vf(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vf zero_below(vf x, vf limit, vf v) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), v);
}
inline vf scale_by_pow2(vf p, vf n) { return _mm512_scalef_ps(p, n); }
inline vf load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline vf load_bf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

#include "kernels/float_ops.inl"

constexpr int kTileRows = 4, kTileTokens = 6;

// Two blocks, or the last one of an odd row with zeros behind it: nothing is read beyond the row.
inline __m512i load_blocks(const uint8_t* w, int64_t n_bytes) {
  if (n_bytes >= 64) return _mm512_loadu_si512(w);
  return _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
}

// No shifts: each group is used where it stands, 1, 4, 16 or 64 times too large, and set right at the end. The largest
// sum, 2 * 64 * 127 * cols / 16 per lane and group, fits 32 bits for every cols < 2^20.
template <int R>
inline void gemv(const uint8_t* w, int64_t row_bytes, int64_t n_blocks, const int8_t* q, int32_t* out) {
  __m512i mask[4], acc[R][4];
  for (int g = 0; g < 4; ++g) mask[g] = _mm512_set1_epi8(static_cast<char>(3 << (6 - 2 * g)));
  for (int r = 0; r < R; ++r)
    for (int g = 0; g < 4; ++g) acc[r][g] = _mm512_setzero_si512();
  const int64_t n_bytes = 32 * n_blocks;
  for (int64_t i = 0; i < n_bytes; i += 64) {
    const int8_t* x = q + 4 * i;
    for (int r = 0; r < R; ++r) {
      const __m512i packed = load_blocks(w + r * row_bytes + i, n_bytes - i);
      for (int g = 0; g < 4; ++g) {
        acc[r][g] =
            _mm512_dpbusd_epi32(acc[r][g], _mm512_and_si512(packed, mask[g]), _mm512_loadu_si512(x + 64 * g));
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    const __m512i high = _mm512_add_epi32(_mm512_srai_epi32(acc[r][0], 6), _mm512_srai_epi32(acc[r][1], 4));
    const __m512i low = _mm512_add_epi32(_mm512_srai_epi32(acc[r][2], 2), acc[r][3]);
    out[r] = _mm512_reduce_add_epi32(_mm512_add_epi32(high, low));
  }
}

inline void unpack_row(const uint8_t* w, int64_t n_blocks, uint8_t* codes) {
  const __m512i mask = _mm512_set1_epi8(3);
  const int64_t n_bytes = 32 * n_blocks;
  for (int64_t i = 0; i < n_bytes; i += 64) {
    const __m512i packed = load_blocks(w + i, n_bytes - i);
    uint8_t* to = codes + 4 * i;
    _mm512_storeu_si512(to, _mm512_and_si512(_mm512_srli_epi16(packed, 6), mask));
    _mm512_storeu_si512(to + 64, _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask));
    _mm512_storeu_si512(to + 128, _mm512_and_si512(_mm512_srli_epi16(packed, 2), mask));
    _mm512_storeu_si512(to + 192, _mm512_and_si512(packed, mask));
  }
}

template <int R, int T>
inline void tile(const uint8_t* codes, const int8_t* q, int64_t stride, int64_t n, int32_t* out) {
  __m512i acc[R][T];
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) acc[r][t] = _mm512_setzero_si512();
  for (int64_t c = 0; c < n; c += 64) {
    __m512i w[R];
    for (int r = 0; r < R; ++r) w[r] = _mm512_loadu_si512(codes + r * stride + c);
    for (int t = 0; t < T; ++t) {
      const __m512i x = _mm512_loadu_si512(q + t * stride + c);
      for (int r = 0; r < R; ++r) acc[r][t] = _mm512_dpbusd_epi32(acc[r][t], w[r], x);
    }
  }
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < R; ++r) out[t * R + r] = _mm512_reduce_add_epi32(acc[r][t]);
}

#include "kernels/ternary_matmul.inl"

}  // namespace

extern const Kernels kAvx512Vnni = {
    "avx512vnni", kCpuAvx2 | kCpuAvx512 | kCpuAvx512Vnni, quantize, ternary_matmul, float_matmul, dot,
    attention,    rms_norm,                               silu_mul, relu2_mul,      add};

}  // namespace bitnet
