// Batches by AVX-512: tiles of 48 rows side by side (avx512_panel.inl) by some tokens, whose sums
// stay in registers. The including file defines, in its unnamed namespace:
//   kWinograd: whether to multiply by Winograd's inner product.
//
// Winograd's inner product (1968) takes two columns with one multiplication: of the pair of
// activations (a, b) and the pair of weights (v, w),
//   a v + b w = (a + w) (b + v) - a b - v w,
// where the last two terms belong to the token and to the row alone. Two additions of bytes take
// the place of a product, which pays where a core adds faster than it multiplies. The pairs are
// columns c and c + 4 of each 8. With codes, u = a + w + 127 is to fit an unsigned byte and s = b +
// v - 1 a signed one: 127 and -1 are added to the codes beforehand. Both fit but for activations of
// +127 with code 2. As 127 is the largest magnitude of a token there are such; find_pairs() negates
// tokens that have more of +127 than of -127. Where one is left, a byte wraps around, and what this
// takes from the sum is given back for each such pair (TokenPairs::top).

constexpr int kTilePanels = 3, kSideRows = 16 * kTilePanels;
constexpr int kSideTokens = kWinograd ? 7 : 8;  // 21 or 24 sums
constexpr int64_t kBlockCols = 1024;            // of a panel in the level-2 cache
constexpr int64_t kBlockTokens = 336;           // whose sums wait for the next block of columns
static_assert(kBlockTokens % 7 == 0 && kBlockTokens % 8 == 0);
static_assert(kSideRows * (kBlockCols + kBlockTokens * 4) <= kPanelScratch);
// |u s| <= 2^15 and there are cols / 2 of them.
constexpr int64_t kWinogradMostCols = 1 << 16;

inline __m512i broadcast4(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}

// sums [T, kSideRows] (+)= products of R panels and T tokens over n columns.
template <int R, int T>
void multiply_tile(const uint8_t* panels, const int8_t* q, int64_t stride, int64_t n, bool add,
                   int32_t* sums) {
  __m512i acc[T * R];
  each<T * R>([&](auto i) BITNET_INLINE { acc[i] = _mm512_setzero_si512(); });
  for (int64_t c = 0; c < n; c += 8, panels += 2 * 64 * R) {
    __m512i even[R], odd[R];
    each<R>([&](auto r) BITNET_INLINE {
      even[r] = _mm512_load_si512(panels + 64 * r);
      odd[r] = _mm512_load_si512(panels + 64 * (R + r));
    });
    each<T>([&](auto t) BITNET_INLINE {
      const __m512i a = broadcast4(q + t * stride + c), b = broadcast4(q + t * stride + c + 4);
      each<R>([&](auto r) BITNET_INLINE {
        if constexpr (kWinograd) {
          acc[t * R + r] =
              dpbusd(acc[t * R + r], _mm512_add_epi8(a, odd[r]), _mm512_add_epi8(b, even[r]));
        } else {
          acc[t * R + r] = dpbusd(acc[t * R + r], even[r], a);
          acc[t * R + r] = dpbusd(acc[t * R + r], odd[r], b);
        }
      });
    });
  }
  each<T>([&](auto t) BITNET_INLINE {
    each<R>([&](auto r) BITNET_INLINE {
      int32_t* to = sums + t * kSideRows + 16 * r;
      const __m512i before = add ? _mm512_load_si512(to) : _mm512_setzero_si512();
      _mm512_store_si512(to, _mm512_add_epi32(before, acc[t * R + r]));
    });
  });
}

// The last tokens: fewer than kSideTokens of them.
template <int R, int T = kSideTokens - 1>
void multiply_rest(int64_t n_tokens, const uint8_t* panels, const int8_t* q, int64_t stride,
                   int64_t n, bool add, int32_t* sums) {
  if (n_tokens == T) return multiply_tile<R, T>(panels, q, stride, n, add, sums);
  if constexpr (T > 1) multiply_rest<R, T - 1>(n_tokens, panels, q, stride, n, add, sums);
}

// What was lost by wrapping around in the pair of columns col and col + 4, [R, 16] sums.
template <int R>
void restore_pair(const uint8_t* panels, const int8_t* q, int64_t col, int32_t* sums) {
  const uint8_t* pair = panels + col / 4 * 64 * R;
  const __m128i up = _mm_cvtsi32_si128(static_cast<int>(24 - 8 * (col % 4)));
  const __m512i a = _mm512_set1_epi32(q[col]), b = _mm512_set1_epi32(q[col + 4]);
  const __m512i u_most = _mm512_set1_epi32(256), s_most = _mm512_set1_epi32(128);
  each<R>([&](auto r) BITNET_INLINE {
    const __m512i even = _mm512_sll_epi32(_mm512_load_si512(pair + 64 * r), up);
    const __m512i odd = _mm512_sll_epi32(_mm512_load_si512(pair + 64 * (R + r)), up);
    const __m512i s = _mm512_add_epi32(b, _mm512_srai_epi32(even, 24));  // as they should be
    const __m512i u = _mm512_add_epi32(a, _mm512_srli_epi32(odd, 24));
    // u = 256 became 0, and 256 s is lost; or else s = 128 became -128, and 256 u is lost.
    const __m512i lost =
        _mm512_mask_mov_epi32(_mm512_maskz_mov_epi32(_mm512_cmpeq_epi32_mask(s, s_most), u),
                              _mm512_cmpeq_epi32_mask(u, u_most), s);
    int32_t* to = sums + 16 * r;
    const __m512i sum = _mm512_load_si512(to);
    _mm512_store_si512(to, _mm512_add_epi32(sum, _mm512_slli_epi32(lost, 8)));
  });
}

// R panels from `row` by tokens [first, last), at most kBlockTokens.
template <int R>
void multiply_panels(const TernaryMatrix& w, const QuantizedBatch& x, float* out,
                     int64_t out_stride, int64_t row, int64_t n_rows, int64_t first, int64_t last,
                     uint8_t* scratch) {
  int32_t* sums = reinterpret_cast<int32_t*>(scratch + kSideRows * kBlockCols);
  __m512i row_terms[R];  // sums of the products of the weights of each pair
  each<R>([&](auto r) BITNET_INLINE { row_terms[r] = _mm512_setzero_si512(); });
  const int64_t n_blocks = (x.stride + kBlockCols - 1) / kBlockCols;
  const int64_t block = (x.stride / n_blocks + 255) / 256 * 256;
  for (int64_t col = 0; col < x.stride; col += block) {
    const int64_t n = x.stride - col < block ? x.stride - col : block;
    each<R>([&](auto r) BITNET_INLINE {
      const int64_t end = (col + n) / 4 < w.row_bytes ? (col + n) / 4 : w.row_bytes;
      unpack_panel(w.data + (row + 16 * r) * w.row_bytes, w.row_bytes, col / 4, end,
                   n_rows - 16 * r < 16 ? n_rows - 16 * r : 16, scratch + 64 * r, 64 * R,
                   [&](__m512i& even, __m512i& odd) BITNET_INLINE {
                     if constexpr (kWinograd) {
                       even = _mm512_sub_epi8(even, _mm512_set1_epi8(1));
                       odd = _mm512_add_epi8(odd, _mm512_set1_epi8(127));
                       row_terms[r] = dpbusd(row_terms[r], odd, even);
                     }
                   });
    });
    int64_t t = first;
    Ahead next(w.data + (row + n_rows) * w.row_bytes + col / 4 * kSideRows, n / 4 * kSideRows,
               (last - first) / kSideTokens + 1);
    for (; t + kSideTokens <= last; t += kSideTokens) {
      next.prefetch_part();
      multiply_tile<R, kSideTokens>(scratch, x.q + t * x.stride + col, x.stride, n, col > 0,
                                    sums + (t - first) * kSideRows);
    }
    next.prefetch_part();
    multiply_rest<R>(last - t, scratch, x.q + t * x.stride + col, x.stride, n, col > 0,
                     sums + (t - first) * kSideRows);
    for (t = first; kWinograd && t < last; ++t) {
      for (int i = 0; i < x.pairs[t].n_top; ++i) {
        const int64_t at = x.pairs[t].top[i] - col;
        if (at < 0 || at >= n) continue;
        restore_pair<R>(scratch, x.q + t * x.stride + col, at, sums + (t - first) * kSideRows);
      }
    }
  }
  each<R>([&](auto r) BITNET_INLINE {
    const RowFinisher rows(w, row + 16 * r, n_rows - 16 * r < 16 ? n_rows - 16 * r : 16);
    for (int64_t t = first; t < last; ++t) {
      __m512i sum = _mm512_load_si512(sums + (t - first) * kSideRows + 16 * r);
      if constexpr (kWinograd) {
        const __m512i token_term = _mm512_set1_epi32(x.pairs[t].products);
        sum = _mm512_sub_epi32(sum, _mm512_add_epi32(row_terms[r], token_term));
      }
      rows.finish(sum, x, t, out + t * out_stride + row + 16 * r);
    }
  });
}

// Few tokens do not repay the unpacking of whole panels.
bool takes_panels(const QuantizedBatch& x) {
  if (x.n_tokens < x.tile_tokens) return false;
  if (!kWinograd) return true;
  if (!x.pairs || x.stride > kWinogradMostCols) return false;
  for (int64_t t = 0; t < x.n_tokens; ++t)
    if (x.pairs[t].n_top > kMostTop) return false;
  return true;
}

void gemm(const TernaryMatrix& w, const QuantizedBatch& x, float* out, int64_t out_stride,
          int64_t begin, int64_t end, uint8_t* scratch) {
  if (!takes_panels(x)) return ternary_matmul(w, x, out, out_stride, begin, end, scratch);
  for (int64_t first = 0; first < x.n_tokens; first += kBlockTokens) {
    const int64_t last = first + kBlockTokens < x.n_tokens ? first + kBlockTokens : x.n_tokens;
    for (int64_t row = begin; row < end; row += kSideRows) {
      const int64_t n_rows = end - row < kSideRows ? end - row : kSideRows;
      const auto multiply = n_rows > 32   ? multiply_panels<3>
                            : n_rows > 16 ? multiply_panels<2>
                                          : multiply_panels<1>;
      multiply(w, x, out, out_stride, row, n_rows, first, last, scratch);
    }
  }
}
