// AMX int8 tiles on top of AVX-512 VNNI: batches multiply 16 tokens x 16 rows x 64 columns in one
// instruction. Single tokens take the AVX-512 path.
#include <immintrin.h>

#include <utility>

#include "kernels/kernels.h"

namespace bitnet {
namespace {

#include "kernels/avx512.inl"
#include "kernels/avx512_panel.inl"

constexpr int kTile = 16;  // tokens and rows of a tile
constexpr int64_t kTileBytes = 1024;

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
      unpack_panel(w.data + (row + p * kTile) * w.row_bytes, w.row_bytes, 0, w.row_bytes, rows[p],
                   scratch + p * kTile * x.stride, 64, [](__m512i&, __m512i&) {});
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
        const int64_t panel_row = row + i % 2 * kTile;
        const RowFinisher rows_of_panel(w, panel_row, rows[i % 2]);
        for (int64_t t = 0; t < tokens; ++t) {
          rows_of_panel.finish(_mm512_load_si512(sums[i] + 16 * t), x, token + first + t,
                               out + (token + first + t) * out_stride + panel_row);
        }
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

constexpr auto i2s_matmul = amx_matmul;
#include "kernels/panels.inl"
#include "kernels/trits.inl"
#include "kernels/x86_lut.inl"

constexpr WeightLayout kFastestTl2 = WeightLayout::kI2S;
#include "kernels/table.inl"

}  // namespace

extern constinit const Kernels kAmx =
    kernel_table("amx", kCpuAvx2 | kCpuAvx512 | kCpuAvx512Vnni | kCpuAmx);

}  // namespace bitnet
