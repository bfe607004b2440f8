// AVX2 plus AVX-VNNI (client CPUs without AVX-512): vpdpbusd multiplies and sums into 32 bits in one instruction.
#include "kernels.h"

#include <immintrin.h>

namespace bitnet {
namespace {

#include "kernels/x86_256.inl"

#include "kernels/float_ops.inl"

constexpr int kTileRows = 2, kTileTokens = 4;

// No shifts: each group is used where it stands, 1, 4, 16 or 64 times too large, and set right at the end. The largest
// sum, 2 * 64 * 127 * cols / 8 per lane and group, fits 32 bits for every cols < 2^20.
template <int R>
inline void gemv(const uint8_t* w, int64_t row_bytes, int64_t n_blocks, const int8_t* q, int32_t* out) {
  __m256i mask[4], acc[R][4];
  for (int g = 0; g < 4; ++g) mask[g] = _mm256_set1_epi8(static_cast<char>(3 << (6 - 2 * g)));
  for (int r = 0; r < R; ++r)
    for (int g = 0; g < 4; ++g) acc[r][g] = _mm256_setzero_si256();
  for (int64_t b = 0; b < n_blocks; ++b) {
    const int8_t* x = q + 128 * b;
    for (int r = 0; r < R; ++r) {
      const __m256i packed = load_bytes(w + r * row_bytes + 32 * b);
      for (int g = 0; g < 4; ++g) {
        acc[r][g] = _mm256_dpbusd_avx_epi32(acc[r][g], _mm256_and_si256(packed, mask[g]), load_bytes(x + 32 * g));
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    const __m256i high = _mm256_add_epi32(_mm256_srai_epi32(acc[r][0], 6), _mm256_srai_epi32(acc[r][1], 4));
    const __m256i low = _mm256_add_epi32(_mm256_srai_epi32(acc[r][2], 2), acc[r][3]);
    out[r] = sum_lanes_i32(_mm256_add_epi32(high, low));
  }
}

template <int R, int T>
inline void tile(const uint8_t* codes, const int8_t* q, int64_t stride, int64_t n, int32_t* out) {
  __m256i acc[R][T];
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) acc[r][t] = _mm256_setzero_si256();
  for (int64_t c = 0; c < n; c += 32) {
    __m256i w[R];
    for (int r = 0; r < R; ++r) w[r] = load_bytes(codes + r * stride + c);
    for (int t = 0; t < T; ++t) {
      const __m256i x = load_bytes(q + t * stride + c);
      for (int r = 0; r < R; ++r) acc[r][t] = _mm256_dpbusd_avx_epi32(acc[r][t], w[r], x);
    }
  }
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < R; ++r) out[t * R + r] = sum_lanes_i32(acc[r][t]);
}

#include "kernels/ternary_matmul.inl"

}  // namespace

extern const Kernels kAvxVnni = {"avxvnni", kCpuAvx2 | kCpuAvxVnni, quantize, ternary_matmul, float_matmul, dot,
                                 attention, rms_norm,               silu_mul, relu2_mul,      add};

}  // namespace bitnet
