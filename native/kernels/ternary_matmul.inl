// The loops around the ternary kernels, written once. The including file defines, in its unnamed
// namespace:
//   kTileRows, kTileTokens: the register tile
//   gemv<R>(w, row_bytes, n_blocks, q, ahead, acc): acc[r] = sum of code * q for R rows of packed
//   weights, one token; may ask the memory for what lies `ahead` bytes further on
//   kDirectTokens: up to so many tokens are multiplied straight from the packed weights
//   kDirectTile: ... so many of them at a time, by gemv_tokens<R, T> if more than one
//   unpack_row(w, n_blocks, codes): packed weights to one byte per code, in the order of
//   the activations tile<R, T>(codes, q, stride, n, acc): acc[t * R + r] over n columns of R
//   unpacked rows and T tokens
// One token takes gemv straight from the packed weights; so do a few, while the rows are in the
// first-level cache. A batch unpacks a panel of rows once into
// scratch and uses it for all tokens of a block, so unpacking costs almost nothing per token.

constexpr int kPanelRows = kTileRows * (kTileRows >= 4 ? 2 : 4);
// Columns that are multiplied at a time, so that panel and tokens stay in the first-level cache.
constexpr int64_t kTileCols = 2560;

// The contract of the format: int to float is exact (|acc| < 2^24), then subtract, divide,
// multiply, in this order. A token may be negated as a whole (Kernels::find_pairs); the addition
// keeps 0 divided by its negative scale from becoming -0.
inline float finish_one(int32_t acc, int32_t sum, float act_scale, float weight_scale) {
  return ((static_cast<float>(acc) - static_cast<float>(sum)) / act_scale + 0.0f) * weight_scale;
}

template <int R>
inline void finish(const int32_t* acc, int32_t sum, float act_scale, const float* weight_scales,
                   float* out) {
  for (int r = 0; r < R; ++r) out[r] = finish_one(acc[r], sum, act_scale, weight_scales[r]);
}

template <int R>
struct RowScales {
  float s[R];
  RowScales(const TernaryMatrix& w, int64_t row) {
    for (int r = 0; r < R; ++r) s[r] = w.row_scales ? w.row_scales[row + r] : w.scale;
  }
};

// acc[t * R + r] = sum of code * q for R rows of packed weights and T tokens, `stride` bytes apart.
template <int R, int T>
inline void gemv_tokens(const uint8_t* w, int64_t row_bytes, int64_t n_blocks, const int8_t* q,
                        int64_t stride, int64_t ahead, int32_t* acc);

// Tokens [first, first + T) with R rows. Only the first ones ask the memory for later rows.
template <int R, int T>
inline void direct_tile(const TernaryMatrix& w, const QuantizedBatch& x, float* out,
                        int64_t out_stride, int64_t row, int64_t first) {
  int32_t acc[R * T];
  const uint8_t* data = w.data + row * w.row_bytes;
  const int8_t* q = x.q + first * x.stride;
  const int64_t ahead = first == 0 ? x.prefetch_bytes : 0;
  if constexpr (T == 1) {
    gemv<R>(data, w.row_bytes, w.row_bytes / 32, q, ahead, acc);
  } else {
    gemv_tokens<R, T>(data, w.row_bytes, w.row_bytes / 32, q, x.stride, ahead, acc);
  }
  const RowScales<R> scales(w, row);
  for (int t = 0; t < T; ++t) {
    finish<R>(acc + t * R, x.sum[first + t], x.scale[first + t], scales.s,
              out + (first + t) * out_stride + row);
  }
}

template <int R>
inline void direct_rows(const TernaryMatrix& w, const QuantizedBatch& x, float* out,
                        int64_t out_stride, int64_t row) {
  int64_t t = 0;
  for (; t + kDirectTile <= x.n_tokens; t += kDirectTile)
    direct_tile<R, kDirectTile>(w, x, out, out_stride, row, t);
  if constexpr (kDirectTile > 1)
    for (; t + 2 <= x.n_tokens; t += 2) direct_tile<R, 2>(w, x, out, out_stride, row, t);
  for (; t < x.n_tokens; ++t) direct_tile<R, 1>(w, x, out, out_stride, row, t);
}

// T tokens against a panel of n rows (n <= kPanelRows); the sums of the whole panel are finished
// together.
template <int T>
inline void run_panel(const TernaryMatrix& w, const QuantizedBatch& x, const uint8_t* codes,
                      int64_t n, float* out, int64_t out_stride, int64_t row, int64_t token) {
  int32_t sums[T][kPanelRows] = {};  // zero beyond n, so that whole panels can be finished
  const int64_t n_blocks = (x.stride + kTileCols - 1) / kTileCols;
  const int64_t block =
      (x.stride / n_blocks + kActivationPad - 1) / kActivationPad * kActivationPad;
  for (int64_t col = 0; col < x.stride; col += block) {
    const int64_t n_cols = x.stride - col < block ? x.stride - col : block;
    const int8_t* q = x.q + token * x.stride + col;
    int64_t r = 0;
    for (; r + kTileRows <= n; r += kTileRows) {
      int32_t acc[kTileRows * T];
      tile<kTileRows, T>(codes + r * x.stride + col, q, x.stride, n_cols, acc);
      for (int t = 0; t < T; ++t)
        for (int i = 0; i < kTileRows; ++i) sums[t][r + i] += acc[t * kTileRows + i];
    }
    for (; r < n; ++r) {
      int32_t acc[T];
      tile<1, T>(codes + r * x.stride + col, q, x.stride, n_cols, acc);
      for (int t = 0; t < T; ++t) sums[t][r] += acc[t];
    }
  }
  float scales[kPanelRows], y[kPanelRows];
  for (int64_t r = 0; r < kPanelRows; ++r)
    scales[r] = !w.row_scales ? w.scale : r < n ? w.row_scales[row + r] : 0;
  for (int t = 0; t < T; ++t) {
    finish<kPanelRows>(sums[t], x.sum[token + t], x.scale[token + t], scales, y);
    float* to = out + (token + t) * out_stride + row;
    for (int64_t r = 0; r < n; ++r) to[r] = y[r];
  }
}

void ternary_matmul(const TernaryMatrix& w, const QuantizedBatch& x, float* out, int64_t out_stride,
                    int64_t begin, int64_t end, uint8_t* scratch) {
  int64_t row = begin;
  if (x.n_tokens <= kDirectTokens) {
    for (; row + 4 <= end; row += 4) direct_rows<4>(w, x, out, out_stride, row);
    for (; row < end; ++row) direct_rows<1>(w, x, out, out_stride, row);
    return;
  }
  // Rows of a panel: whole register tiles, as many as the scratch can hold. Tokens of a block: what
  // block_bytes holds, but enough to make up for unpacking the panel again.
  const int64_t fit = kPanelScratch / x.stride;
  const int64_t panel = fit >= kPanelRows ? kPanelRows : fit >= kTileRows ? kTileRows : 1;
  int64_t block = x.block_bytes / x.stride / kTileTokens * kTileTokens;
  if (block < 4 * kTileTokens) block = 4 * kTileTokens;
  for (int64_t first = 0; first < x.n_tokens; first += block) {
    const int64_t last = first + block < x.n_tokens ? first + block : x.n_tokens;
    for (row = begin; row < end; row += panel) {
      const int64_t n = end - row < panel ? end - row : panel;
      for (int64_t r = 0; r < n; ++r) {
        unpack_row(w.data + (row + r) * w.row_bytes, w.row_bytes / 32, scratch + r * x.stride);
      }
      int64_t t = first;
      Ahead next(w.data + (row + n) * w.row_bytes, panel * w.row_bytes,
                 (last - first) / kTileTokens + 1);
      for (; t + kTileTokens <= last; t += kTileTokens) {
        next.prefetch_part();
        run_panel<kTileTokens>(w, x, scratch, n, out, out_stride, row, t);
      }
      next.prefetch_part();
      for (; t + 2 <= last; t += 2) run_panel<2>(w, x, scratch, n, out, out_stride, row, t);
      if (t < last) run_panel<1>(w, x, scratch, n, out, out_stride, row, t);
    }
  }
}
