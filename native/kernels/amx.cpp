// AMX int8 tiles on top of AVX-512 VNNI: batches multiply 16 tokens x 16 rows x 64 columns in one
// instruction. Single tokens take the AVX-512 path.
#include <immintrin.h>

#include <utility>

#include "kernels.h"

namespace bitnet {
namespace {

#include "kernels/avx512.inl"

constexpr int kTile = 16;  // tokens and rows of a tile
constexpr int64_t kTileBytes = 1024;

// Rows and columns become columns and rows: t[j] holds dword j of the 16 inputs.
inline void transpose(__m512i (&r)[16], __m512i (&t)[16]) {
  __m512i a[16], b[16];
  each<8>([&](auto i) BITNET_INLINE {
    a[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  });
  each<4>([&](auto i) BITNET_INLINE {
    b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  });
  each<4>([&](auto i) BITNET_INLINE {
    a[i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
    a[4 + i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
    a[8 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
    a[12 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
  });
  each<4>([&](auto i) BITNET_INLINE {
    t[i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0x88);
    t[8 + i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0xdd);
    t[12 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0xdd);
  });
}

// 16 rows of packed weights -> tiles of 64 columns, [columns / 4, row, 4], columns in the order of
// the activations. Transposing while still packed moves a quarter of the bytes. Rows beyond n_rows
// are zero.
void unpack_panel(const uint8_t* w, int64_t row_bytes, int64_t n_rows, uint8_t* tiles) {
  const __m512i mask = _mm512_set1_epi8(3);
  for (int64_t i = 0; i < row_bytes; i += 64) {
    __m512i r[16], t[16];
    for (int64_t row = 0; row < 16; ++row) {
      const uint8_t* p = w + row * row_bytes + i;
      r[row] = row >= n_rows         ? _mm512_setzero_si512()
               : row_bytes - i >= 64 ? _mm512_loadu_si512(p)
                                     : load_block(p);
    }
    transpose(r, t);
    uint8_t* to = tiles + i * 64;  // 4 tiles for 64 packed bytes of 16 rows
    each<16>([&](auto j) BITNET_INLINE {
      each<4>([&](auto g) BITNET_INLINE {
        _mm512_store_si512(to + g * kTileBytes + j * 64,
                           _mm512_and_si512(_mm512_srli_epi16(t[j], 6 - 2 * g), mask));
      });
    });
  }
}

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t column_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles 0-3: sums of (tokens a or b) x (panel 0 or 1); 4, 5: tokens a, b; 6, 7: panels 0, 1.
void configure(int64_t n_tokens) {
  TileConfig config;
  const int a = n_tokens < kTile ? static_cast<int>(n_tokens) : kTile;
  const int b = n_tokens - a > 0 ? static_cast<int>(n_tokens - a) : 1;
  const int rows[8] = {a, a, b, b, a, b, kTile, kTile};
  for (int i = 0; i < 8; ++i) {
    config.rows[i] = static_cast<uint8_t>(rows[i]);
    config.column_bytes[i] = 64;
  }
  // GCC 12 thinks that the instruction reads the first 8 bytes alone and may not write the others.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// y = x / s for 16 lanes, correctly rounded like the division, but in 5 multiply-adds: r = 1 / s
// correctly rounded, then two corrections of the quotient (Markstein). Holds for s of ordinary size
// whose mantissa is not all ones; anything else divides.
struct Divisor {
  __m512 s, r;
  bool exact;
  explicit Divisor(float value) : s(_mm512_set1_ps(value)), r(_mm512_set1_ps(1.0f / value)) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    exact = value > 0x1p-60f && value < 0x1p60f && (bits & 0x7fffff) != 0x7fffff;
  }
  __m512 divide(__m512 x) const {
    if (!exact) return _mm512_div_ps(x, s);
    __m512 q = _mm512_mul_ps(x, r);
    q = _mm512_fmadd_ps(_mm512_fnmadd_ps(q, s, x), r, q);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(q, s, x), r, q);
  }
};

// The sums of n_tokens x 16 rows, [16, 16] -> out. The same formula as finish().
void finish_tile(const int32_t* sums, const TernaryMatrix& w, const QuantizedBatch& x, float* out,
                 int64_t out_stride, int64_t row, int64_t n_rows, int64_t token, int64_t n_tokens) {
  const __mmask16 mask = static_cast<__mmask16>((1u << n_rows) - 1);
  const __m512 scales =
      w.row_scales ? _mm512_maskz_loadu_ps(mask, w.row_scales + row) : _mm512_set1_ps(w.scale);
  for (int64_t t = token; t < token + n_tokens; ++t, sums += 16) {
    const __m512 acc = _mm512_cvtepi32_ps(_mm512_load_si512(sums));
    const __m512 sum = _mm512_set1_ps(static_cast<float>(x.sum[t]));
    const __m512 y = Divisor(x.scale[t]).divide(_mm512_sub_ps(acc, sum));
    _mm512_mask_storeu_ps(out + t * out_stride + row, mask, _mm512_mul_ps(y, scales));
  }
}

// Up to 32 tokens against one or two panels. The tiles are configured for n_tokens.
template <bool kTwoPanels>
void multiply_block(const int8_t* q, int64_t stride, int64_t n_tokens, const uint8_t* panels,
                    int32_t (*sums)[256]) {
  const bool second = n_tokens > kTile;
  const int8_t* q2 = q + kTile * stride;
  const uint8_t* panel1 = panels + kTile * stride;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t c = 0; c < stride; c += 64) {
    _tile_loadd(4, q + c, stride);
    _tile_loadd(6, panels + c * kTile, 64);
    _tile_dpbsud(0, 4, 6);
    if (kTwoPanels) {
      _tile_loadd(7, panel1 + c * kTile, 64);
      _tile_dpbsud(1, 4, 7);
    }
    if (second) {
      _tile_loadd(5, q2 + c, stride);
      _tile_dpbsud(2, 5, 6);
      if (kTwoPanels) _tile_dpbsud(3, 5, 7);
    }
  }
  _tile_stored(0, sums[0], 64);
  if (kTwoPanels) _tile_stored(1, sums[1], 64);
  if (second) _tile_stored(2, sums[2], 64);
  if (second && kTwoPanels) _tile_stored(3, sums[3], 64);
}

void amx_matmul(const TernaryMatrix& w, const QuantizedBatch& x, float* out, int64_t out_stride,
                int64_t begin, int64_t end, uint8_t* scratch) {
  if (x.n_tokens < x.tile_tokens || kTile * x.stride > kPanelScratch) {
    ternary_matmul(w, x, out, out_stride, begin, end, scratch);
    return;
  }
  const int64_t panel_rows = 2 * kTile * x.stride <= kPanelScratch ? 2 * kTile : kTile;
  alignas(64) int32_t sums[4][256];
  int64_t configured = 0;
  for (int64_t row = begin; row < end; row += panel_rows) {
    const int64_t n_rows = end - row < panel_rows ? end - row : panel_rows;
    const int64_t rows[2] = {n_rows < kTile ? n_rows : kTile, n_rows > kTile ? n_rows - kTile : 0};
    for (int p = 0; p < 2 && rows[p] > 0; ++p) {
      unpack_panel(w.data + (row + p * kTile) * w.row_bytes, w.row_bytes, rows[p],
                   scratch + p * kTile * x.stride);
    }
    for (int64_t token = 0; token < x.n_tokens; token += 2 * kTile) {
      const int64_t n = x.n_tokens - token < 2 * kTile ? x.n_tokens - token : 2 * kTile;
      if (n != configured) configure(configured = n);
      const int8_t* q = x.q + token * x.stride;
      if (rows[1] > 0) {
        multiply_block<true>(q, x.stride, n, scratch, sums);
      } else {
        multiply_block<false>(q, x.stride, n, scratch, sums);
      }
      for (int i = 0; i < 4; ++i) {
        const int64_t first = i / 2 * kTile, tokens = n - first < kTile ? n - first : kTile;
        if (tokens <= 0 || rows[i % 2] <= 0) continue;
        finish_tile(sums[i], w, x, out, out_stride, row + i % 2 * kTile, rows[i % 2], token + first,
                    tokens);
      }
    }
  }
  _tile_release();
}

int64_t int8_peak(int64_t iterations) {
  alignas(64) static constexpr uint8_t kZeros[kTileBytes] = {};
  configure(2 * kTile);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, kZeros, 64);
  _tile_loadd(5, kZeros, 64);
  _tile_loadd(6, kZeros, 64);
  _tile_loadd(7, kZeros, 64);
  for (int64_t n = 0; n < iterations; ++n) {
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
  }
  _tile_release();
  return iterations * 4 * (2 * kTile * kTile * 64);
}

constexpr auto packed_matmul = amx_matmul;
#include "kernels/panels.inl"
#include "kernels/trits.inl"
#include "kernels/x86_lut.inl"

}  // namespace

extern const Kernels kAmx = {"amx",
                             kCpuAvx2 | kCpuAvx512 | kCpuAvx512Vnni | kCpuAmx,
                             quantize,
                             amx_matmul,
                             trit_matmul,
                             lut_matmul,
                             lut_tables,
                             activation_index,
                             WeightLayout::kI2S,
                             float_matmul,
                             dot,
                             compress_row,
                             coarse_matvec,
                             block_matvec,
                             attention,
                             merge_attention,
                             rms_norm,
                             silu_mul,
                             relu2_mul,
                             add,
                             int8_peak};

}  // namespace bitnet
