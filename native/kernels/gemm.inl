// Products of floats for training, written once over the vector primitives of float_ops.inl. The
// including file defines, in its unnamed namespace, before the include:
//   kGemmRows (a multiple of 4) and kGemmVectors: the tile of C whose sums stay in registers,
//   kGemmRows rows by kGemmVectors vectors; sqrt_vf.
//
// Every element of C gets the same operations in the same order, whatever tile it is in: for each
// kGemmDepth of the summed dimension s = 0, s = fma(a, b, s) in ascending order, then c += s. So
// results depend neither on how C is divided among threads nor on the width of vectors.

constexpr int kGemmTileCols = kGemmVectors * kWidth;
constexpr int64_t kGemmBlockRows = 240, kGemmBlockCols = 768;
static_assert(kGemmBlockRows % kGemmRows == 0 && kGemmBlockCols % kGemmTileCols == 0);
static_assert(kGemmBlockCols % 128 == 0);  // whole blocks of codes
static_assert((kGemmBlockRows + kGemmBlockCols) * kGemmDepth + kGemmBlockCols <= kGemmScratch);

typedef float Float4 __attribute__((vector_size(16)));

// out[k * step + i] = p[i * stride + k] for 4 rows i and 4 columns k.
BITNET_INLINE inline void transpose4(const float* p, int64_t stride, float* out, int64_t step) {
  Float4 r[4];
  for (int i = 0; i < 4; ++i) __builtin_memcpy(&r[i], p + i * stride, sizeof r[i]);
  const Float4 a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
  const Float4 b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
  const Float4 c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
  const Float4 d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
  const Float4 columns[4] = {
      __builtin_shufflevector(a, b, 0, 1, 4, 5), __builtin_shufflevector(a, b, 2, 3, 6, 7),
      __builtin_shufflevector(c, d, 0, 1, 4, 5), __builtin_shufflevector(c, d, 2, 3, 6, 7)};
  for (int k = 0; k < 4; ++k) __builtin_memcpy(out + k * step, &columns[k], sizeof columns[k]);
}

// A panel of P lines side by side: out[k * P + i] = p[i * step + k * depth_step] for k < depth; one
// of the steps is 1. Lines from n on are zero.
template <int P>
void pack_panel(const float* p, int64_t step, int64_t depth_step, int64_t n, int64_t depth,
                float* out) {
  if (n < P) __builtin_memset(out, 0, static_cast<size_t>(P * depth) * sizeof(float));
  if (step == 1) {
    if (n == P) {  // a copy of a size that is known is a few moves
      for (int64_t k = 0; k < depth; ++k)
        __builtin_memcpy(out + k * P, p + k * depth_step, P * sizeof(float));
      return;
    }
    const size_t n_bytes = static_cast<size_t>(n) * sizeof(float);
    for (int64_t k = 0; k < depth; ++k) __builtin_memcpy(out + k * P, p + k * depth_step, n_bytes);
    return;
  }
  const int64_t fours = n / 4 * 4, deep = depth / 4 * 4;
  for (int64_t i = 0; i < fours; i += 4)
    for (int64_t k = 0; k < deep; k += 4) transpose4(p + i * step + k, step, out + k * P + i, P);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = i < fours ? deep : 0; k < depth; ++k) out[k * P + i] = p[i * step + k];
}

// n lines in panels of P, each panel [depth, P].
template <int P>
void pack_panels(const float* p, int64_t step, int64_t depth_step, int64_t n, int64_t depth,
                 float* out) {
  int64_t first = 0;
  // Lines side by side in memory: of as many panels at a time as make up whole cache lines.
  constexpr int kPanels = 4;
  for (; step == 1 && first + kPanels * P <= n; first += kPanels * P, out += kPanels * P * depth) {
    for (int64_t k = 0; k < depth; ++k) {
      for (int i = 0; i < kPanels; ++i)
        __builtin_memcpy(out + (i * depth + k) * P, p + first + i * P + k * depth_step,
                         P * sizeof(float));
    }
  }
  for (; first < n; first += P, out += P * depth) {
    const int64_t lines = n - first < P ? n - first : P;
    pack_panel<P>(p + first * step, step, depth_step, lines, depth, out);
  }
}

// c [rows, cols] += panel a times panel b. Compiled once: it is long when unrolled.
__attribute__((noinline)) void gemm_tile(const float* a, const float* b, int64_t depth, float* c,
                                         int64_t c_stride, int64_t rows, int64_t cols) {
  vf acc[kGemmRows][kGemmVectors];
  each<kGemmRows>([&](auto i) BITNET_INLINE {
    each<kGemmVectors>([&](auto j) BITNET_INLINE { acc[i][j] = set1(0.0f); });
  });
  for (int64_t k = 0; k < depth; ++k, a += kGemmRows, b += kGemmTileCols) {
    vf x[kGemmVectors];
    each<kGemmVectors>([&](auto j) BITNET_INLINE { x[j] = load(b + j * kWidth); });
    each<kGemmRows>([&](auto i) BITNET_INLINE {
      const vf y = set1(a[i]);
      each<kGemmVectors>([&](auto j) BITNET_INLINE { acc[i][j] = fma(y, x[j], acc[i][j]); });
    });
  }
  if (rows == kGemmRows && cols == kGemmTileCols) {
    each<kGemmRows>([&](auto i) BITNET_INLINE {
      each<kGemmVectors>([&](auto j) BITNET_INLINE {
        float* to = c + i * c_stride + j * kWidth;
        store(to, load(to) + acc[i][j]);
      });
    });
    return;
  }
  float sums[kGemmRows][kGemmTileCols];
  each<kGemmRows>([&](auto i) BITNET_INLINE {
    each<kGemmVectors>([&](auto j) BITNET_INLINE { store(sums[i] + j * kWidth, acc[i][j]); });
  });
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) c[i * c_stride + j] += sums[i][j];
}

// c [m, n] += A times packed panels of B; pack_rows(first, n, out) makes the panels of A.
template <class PackRows>
void gemm_block(PackRows&& pack_rows, const float* b, int64_t m, int64_t n, int64_t depth, float* c,
                int64_t c_stride, float* a) {
  for (int64_t row = 0; row < m; row += kGemmBlockRows) {
    const int64_t rows = m - row < kGemmBlockRows ? m - row : kGemmBlockRows;
    pack_rows(row, rows, a);
    for (int64_t j = 0; j < n; j += kGemmTileCols) {
      for (int64_t i = 0; i < rows; i += kGemmRows) {
        gemm_tile(a + i * depth, b + j * depth, depth, c + (row + i) * c_stride + j, c_stride,
                  rows - i < kGemmRows ? rows - i : kGemmRows,
                  n - j < kGemmTileCols ? n - j : kGemmTileCols);
      }
    }
  }
}

void gemm_floats(const GemmFactor& a, const GemmFactor& b, int64_t m, int64_t n, int64_t k,
                 float* c, int64_t c_stride, float* scratch) {
  float* panels = scratch + kGemmBlockRows * kGemmDepth;
  for (int64_t col = 0; col < n; col += kGemmBlockCols) {
    const int64_t cols = n - col < kGemmBlockCols ? n - col : kGemmBlockCols;
    for (int64_t first = 0; first < k; first += kGemmDepth) {
      const int64_t depth = k - first < kGemmDepth ? k - first : kGemmDepth;
      pack_panels<kGemmTileCols>(b.data + first * b.row_step + col * b.col_step, b.col_step,
                                 b.row_step, cols, depth, panels);
      const auto pack_rows = [&](int64_t row, int64_t rows, float* out) {
        pack_panels<kGemmRows>(a.data + row * a.row_step + first * a.col_step, a.row_step,
                               a.col_step, rows, depth, out);
      };
      gemm_block(pack_rows, panels, m, cols, depth, c + col, c_stride, scratch);
    }
  }
}

// out[0 .. cols) = the weights -1, 0 and 1 of columns from `col` on, a multiple of 128; writes
// whole blocks of 128.
inline void unpack_columns(const uint8_t* row, int64_t col, int64_t cols, float* out) {
  row += col / 4;
  for (int64_t c = 0; c < cols; c += 128, row += 32, out += 128) {
    for (int group = 0; group < 4; ++group) {
      for (int i = 0; i < 32; ++i)
        out[32 * group + i] = static_cast<float>((row[i] >> (6 - 2 * group) & 3) - 1);
    }
  }
}

void scale_floats(float* x, float factor, int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(x + i, load(x + i) * set1(factor));
  for (; i < n; ++i) x[i] *= factor;
}

void ternary_gemm_t(const GemmFactor& a, const TernaryMatrix& w, int64_t m, int64_t begin,
                    int64_t end, float* c, int64_t c_stride, float* scratch) {
  float* panels = scratch + kGemmBlockRows * kGemmDepth;
  float* row = panels + kGemmBlockCols * kGemmDepth;
  for (int64_t col = begin; col < end; col += kGemmBlockCols) {
    const int64_t cols = end - col < kGemmBlockCols ? end - col : kGemmBlockCols;
    for (int64_t first = 0; first < w.rows; first += kGemmDepth) {
      const int64_t depth = w.rows - first < kGemmDepth ? w.rows - first : kGemmDepth;
      for (int64_t k = 0; k < depth; ++k) {
        unpack_columns(w.data + (first + k) * w.row_bytes, col, cols, row);
        for (int64_t j = 0; j < cols; j += kGemmTileCols)
          __builtin_memcpy(panels + j * depth + k * kGemmTileCols, row + j,
                           kGemmTileCols * sizeof(float));
      }
      const auto pack_rows = [&](int64_t at, int64_t rows, float* out) {
        pack_panels<kGemmRows>(a.data + at * a.row_step + first * a.col_step, a.row_step,
                               a.col_step, rows, depth, out);
        const int64_t lines = (rows + kGemmRows - 1) / kGemmRows * kGemmRows;
        if (!w.row_scales) return scale_floats(out, w.scale, lines * depth);
        for (const float* end = out + lines * depth; out < end;) {
          for (int64_t k = 0; k < depth; ++k)
            for (int j = 0; j < kGemmRows; ++j) *out++ *= w.row_scales[first + k];
        }
      };
      gemm_block(pack_rows, panels, m, cols, depth, c + (col - begin), c_stride, scratch);
    }
  }
}

void exp_shifted(const float* x, float shift, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(out + i, exp_vf(load(x + i) - set1(shift)));
  for (; i < n; ++i) out[i] = exp_one(x[i] - shift);
}

// No operation is fused, so every kernel gives the same bits, scalar too.
void adamw(const AdamStep& step, float* w, float* m, float* v, const float* g, int64_t n) {
  const auto update = [&step](vf g_, vf& w_, vf& m_, vf& v_) BITNET_INLINE {
    const vf scaled = g_ * set1(step.gradient_scale);
    m_ = m_ * set1(step.beta1) + scaled * set1(1 - step.beta1);
    v_ = v_ * set1(step.beta2) + scaled * scaled * set1(1 - step.beta2);
    const vf root = sqrt_vf(v_ * set1(step.v_correction)) + set1(step.epsilon);
    w_ = w_ * set1(step.decay) - set1(step.lr) * (m_ * set1(step.m_correction)) / root;
  };
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    vf w_ = load(w + i), m_ = load(m + i), v_ = load(v + i);
    update(load(g + i), w_, m_, v_);
    store(w + i, w_);
    store(m + i, m_);
    store(v + i, v_);
  }
  float rest[4][kWidth] = {};
  const size_t n_bytes = static_cast<size_t>(n - i) * sizeof(float);
  const float* from[] = {w + i, m + i, v + i, g + i};
  for (int j = 0; j < 4; ++j) __builtin_memcpy(rest[j], from[j], n_bytes);
  vf w_ = load(rest[0]), m_ = load(rest[1]), v_ = load(rest[2]);
  update(load(rest[3]), w_, m_, v_);
  store(rest[0], w_);
  store(rest[1], m_);
  store(rest[2], v_);
  float* to[] = {w + i, m + i, v + i};
  for (int j = 0; j < 3; ++j) __builtin_memcpy(to[j], rest[j], n_bytes);
}
