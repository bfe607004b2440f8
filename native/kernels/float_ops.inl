// The floating-point operations, written once over a few vector primitives and compiled for each
// instruction set. The including file defines, in its unnamed namespace, before the include:
//   vf, a vector of kWidth floats with + - * /; load, store, set1, fma and fma1 (a * b + c, fused
//   where the CPU can), vmin, vmax, round_vf (half to even), scale_by_pow2(p, n) = p * 2^n,
//   zero_below(x, limit, v) = x < limit ? 0 : v, max_lane, sum_halves (of the lanes: i and i + n, n
//   = kWidth / 2, ..., 1), load_f16, load_bf16, load_i8 (kWidth int8), half_to_float (half.inl has
//   it); and kPairBlocks (see activation_index).
//
// Sums have a fixed order that does not depend on kWidth: element i of a dot product goes to lane i
// % 32, lanes are added by halves. So all instruction sets that fuse multiply-add give identical
// results.

constexpr int kLanes = 32;
constexpr int kVecs = kLanes / kWidth;  // vectors that make up the lanes
constexpr int kHalf = 16 / kWidth;      // vectors in 16 floats

typedef float Float8 __attribute__((vector_size(32)));
typedef double Double8 __attribute__((vector_size(64)));

BITNET_INLINE inline void load8(const float* p, Double8& out) {
  Float8 x;
  __builtin_memcpy(&x, p, sizeof x);
  out = __builtin_convertvector(x, Double8);
}

float sum_lanes(float* lanes) {
  for (int n = kLanes / 2; n >= 1; n /= 2) {
    for (int i = 0; i < n; ++i) lanes[i] += lanes[i + n];
  }
  return lanes[0];
}

// The same of lanes in vectors.
template <int N>
BITNET_INLINE inline float sum_vectors(vf (&v)[N]) {
  if constexpr (N == 1) {
    return sum_halves(v[0]);
  } else {
    vf half[N / 2];
    each<N / 2>([&](auto i) BITNET_INLINE { half[i] = v[i] + v[i + N / 2]; });
    return sum_vectors(half);
  }
}

struct F32Row {
  static constexpr int kElementBytes = 4;
  static vf load_at(const uint8_t* row, int64_t i) {
    return load(reinterpret_cast<const float*>(row) + i);
  }
  static float at(const uint8_t* row, int64_t i) {
    float x;
    __builtin_memcpy(&x, row + 4 * i, 4);
    return x;
  }
};
struct F16Row {
  static constexpr int kElementBytes = 2;
  static vf load_at(const uint8_t* row, int64_t i) {
    return load_f16(reinterpret_cast<const uint16_t*>(row) + i);
  }
  static float at(const uint8_t* row, int64_t i) {
    uint16_t h;
    __builtin_memcpy(&h, row + 2 * i, 2);
    return half_to_float(h);
  }
};
struct BF16Row {
  static constexpr int kElementBytes = 2;
  static vf load_at(const uint8_t* row, int64_t i) {
    return load_bf16(reinterpret_cast<const uint16_t*>(row) + i);
  }
  static float at(const uint8_t* row, int64_t i) {
    uint16_t h;
    __builtin_memcpy(&h, row + 2 * i, 2);
    const uint32_t bits = static_cast<uint32_t>(h) << 16;
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
  }
};

// The lanes of a dot product, once the columns after the last whole vectors are added to them.
template <class Row>
__attribute__((noinline)) float sum_with_tail(float* lanes, const uint8_t* w, const float* x,
                                              int64_t whole, int64_t cols) {
  for (int64_t i = whole; i < cols; ++i)
    lanes[i - whole] = fma1(Row::at(w, i), x[i], lanes[i - whole]);
  return sum_lanes(lanes);
}

// R rows by T tokens: every weight vector is converted once for T tokens, every activation loaded
// once for R rows. next: null for a token alone, whose rows are one stream of memory.
template <class Row, int R, int T>
inline void float_tile(const uint8_t* w, int64_t row_bytes, int64_t cols, const float* x,
                       int64_t x_stride, NextPanel* next, float* out, int64_t out_stride) {
  vf acc[R][T][kVecs];
  each<R>([&](auto r) BITNET_INLINE {
    each<T>([&](auto t) BITNET_INLINE {
      each<kVecs>([&](auto j) BITNET_INLINE { acc[r][t][j] = set1(0.0f); });
    });
  });
  const int64_t whole = cols / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    constexpr int kBytes = kLanes * Row::kElementBytes;
    if (next) {
      next->step<kBytes * R>(R * T);
    } else {
      each<R>([&](auto r) BITNET_INLINE {
        const uint8_t* at = w + r * row_bytes + i * Row::kElementBytes;
        prefetch_lines<kBytes>(at + kPrefetchBytes);
      });
    }
    each<kVecs>([&](auto j) BITNET_INLINE {
      vf a[T];
      each<T>([&](auto t) BITNET_INLINE { a[t] = load(x + t * x_stride + i + j * kWidth); });
      each<R>([&](auto r) BITNET_INLINE {
        const vf weights = Row::load_at(w + r * row_bytes, i + j * kWidth);
        each<T>([&](auto t) BITNET_INLINE { acc[r][t][j] = fma(weights, a[t], acc[r][t][j]); });
      });
    });
  }
  each<R>([&](auto r) BITNET_INLINE {
    each<T>([&](auto t) BITNET_INLINE {
      if (whole == cols) {
        out[t * out_stride + r] = sum_vectors(acc[r][t]);
        return;
      }
      float lanes[kLanes];
      each<kVecs>([&](auto j) BITNET_INLINE { store(lanes + j * kWidth, acc[r][t][j]); });
      out[t * out_stride + r] =
          sum_with_tail<Row>(lanes, w + r * row_bytes, x + t * x_stride, whole, cols);
    });
  });
}

// The tile that the registers can hold, for more than one token.
constexpr int kFloatRows = kWidth == 16 ? 2 : 1, kFloatTokens = kWidth == 16 ? 4 : 3;

template <class Row>
void float_rows(const uint8_t* w, int64_t row_bytes, int64_t cols, const float* x, int64_t x_stride,
                int64_t n_tokens, float* out, int64_t out_stride, int64_t begin, int64_t end) {
  if (n_tokens == 1) {
    in_tiles<2>(begin, end, [&](auto n, int64_t r) BITNET_INLINE {
      float_tile<Row, n, 1>(w + r * row_bytes, row_bytes, cols, x, x_stride, nullptr, out + r,
                            out_stride);
    });
    return;
  }
  for (int64_t first = begin; first < end; first += kSharedRows) {
    const int64_t last = end - first < kSharedRows ? end : first + kSharedRows;
    NextPanel next(w + last * row_bytes, kSharedRows * row_bytes,
                   kSharedRows * n_tokens * (cols / kLanes));
    in_tiles<kFloatTokens>(0, n_tokens, [&](auto n_of, int64_t t) BITNET_INLINE {
      in_tiles<n_of == 1 ? 2 : kFloatRows>(first, last, [&](auto n, int64_t r) BITNET_INLINE {
        float_tile<Row, n, n_of>(w + r * row_bytes, row_bytes, cols, x + t * x_stride, x_stride,
                                 &next, out + t * out_stride + r, out_stride);
      });
    });
  }
}

void float_matmul(TensorType type, const uint8_t* w, int64_t row_bytes, int64_t cols,
                  const float* x, int64_t x_stride, int64_t n_tokens, float* out,
                  int64_t out_stride, int64_t begin, int64_t end) {
  switch (type) {
    case TensorType::kF16:
      return float_rows<F16Row>(w, row_bytes, cols, x, x_stride, n_tokens, out, out_stride, begin,
                                end);
    case TensorType::kBF16:
      return float_rows<BF16Row>(w, row_bytes, cols, x, x_stride, n_tokens, out, out_stride, begin,
                                 end);
    default:
      return float_rows<F32Row>(w, row_bytes, cols, x, x_stride, n_tokens, out, out_stride, begin,
                                end);
  }
}

float dot(const float* a, const float* b, int64_t n) {
  float out;
  float_tile<F32Row, 1, 1>(reinterpret_cast<const uint8_t*>(a), 0, n, b, 0, nullptr, &out, 0);
  return out;
}

// Panels of an adapter's B, [rank, 16] each, and tokens whose sums the registers can hold.
constexpr int kLowRankPanels = kWidth == 16 ? 4 : 2, kLowRankTokens = kWidth == 16 ? 4 : 2;

// P panels by T tokens: every vector of weights is converted once for T tokens. The lanes are rows,
// so that each row sums over the rank in its order, whatever the tile.
template <class Row, int P, int T>
inline void low_rank_tile(const uint8_t* b, int64_t rank, const float* u, int64_t u_stride,
                          float* out, int64_t out_stride, int64_t n_rows) {
  vf acc[T][P][kHalf];
  each<T>([&](auto t) BITNET_INLINE {
    each<P>([&](auto p) BITNET_INLINE {
      each<kHalf>([&](auto h) BITNET_INLINE { acc[t][p][h] = set1(0.0f); });
    });
  });
  for (int64_t j = 0; j < rank; ++j) {
    each<P>([&](auto p) BITNET_INLINE {
      each<kHalf>([&](auto h) BITNET_INLINE {
        const vf weights = Row::load_at(b, (p * rank + j) * kLowRankRows + h * kWidth);
        each<T>([&](auto t) BITNET_INLINE {
          acc[t][p][h] = fma(weights, set1(u[t * u_stride + j]), acc[t][p][h]);
        });
      });
    });
  }
  each<T>([&](auto t) BITNET_INLINE {
    each<P>([&](auto p) BITNET_INLINE {
      float* to = out + t * out_stride + kLowRankRows * p;
      float sums[kLowRankRows];
      each<kHalf>([&](auto h) BITNET_INLINE { store(sums + h * kWidth, acc[t][p][h]); });
      const int64_t left = n_rows - kLowRankRows * p;
      for (int i = 0; i < kLowRankRows && i < left; ++i) to[i] += sums[i];
    });
  });
}

template <class Row>
void low_rank_rows(const uint8_t* b, int64_t rank, const float* u, int64_t u_stride,
                   int64_t n_tokens, float* out, int64_t out_stride, int64_t begin, int64_t end) {
  const int64_t panel_bytes = rank * kLowRankRows * Row::kElementBytes;
  in_tiles<kLowRankPanels>(
      begin / kLowRankRows, (end + kLowRankRows - 1) / kLowRankRows,
      [&](auto n_panels, int64_t p) BITNET_INLINE {
        in_tiles<kLowRankTokens>(0, n_tokens, [&](auto n, int64_t t) BITNET_INLINE {
          low_rank_tile<Row, n_panels, n>(b + p * panel_bytes, rank, u + t * u_stride, u_stride,
                                          out + t * out_stride + kLowRankRows * p, out_stride,
                                          end - kLowRankRows * p);
        });
      });
}

void add_low_rank(TensorType type, const uint8_t* b, int64_t rank, const float* u, int64_t u_stride,
                  int64_t n_tokens, float* out, int64_t out_stride, int64_t begin, int64_t end) {
  const auto rows = type == TensorType::kF16    ? low_rank_rows<F16Row>
                    : type == TensorType::kBF16 ? low_rank_rows<BF16Row>
                                                : low_rank_rows<F32Row>;
  rows(b, rank, u, u_stride, n_tokens, out, out_stride, begin, end);
}

// e^x to about 1 ulp for x <= 0 (softmax) and for |x| < 87 (silu): x = n ln 2 + r, a polynomial for
// e^r, then 2^n. Below -87 the result is 0. The coefficients are the Taylor series, which at |r| <=
// ln 2 / 2 suffices for f32.
inline vf exp_vf(vf x) {
  const vf clamped = vmin(vmax(x, set1(-87.0f)), set1(87.0f));
  const vf n = round_vf(clamped * set1(1.44269504088896341f));
  vf r = fma(n, set1(-0.693359375f), clamped);  // ln 2 in two parts, the first exact in few bits
  r = fma(n, set1(2.12194440e-4f), r);
  vf p = set1(1.0f / 5040);
  p = fma(p, r, set1(1.0f / 720));
  p = fma(p, r, set1(1.0f / 120));
  p = fma(p, r, set1(1.0f / 24));
  p = fma(p, r, set1(1.0f / 6));
  p = fma(p, r, set1(0.5f));
  p = fma(p, r, set1(1.0f));
  p = fma(p, r, set1(1.0f));
  return zero_below(x, set1(-87.0f), scale_by_pow2(p, n));
}

inline float exp_one(float x) {
  float lanes[kWidth];
  store(lanes, exp_vf(set1(x)));
  return lanes[0];
}

// Enough sums in flight to hide the latency of a multiply-add: with 16-lane vectors two blocks of
// 16 keys (or values) side by side, otherwise one.
constexpr int kBlocks = kWidth == 16 ? 2 : 1;
constexpr int kManyRows = kWidth == 16 ? 8 : 4;  // rows per tile that the registers can hold

// Elements of the cache as floats.
inline vf load_element(const uint16_t* p) { return load_f16(p); }
inline vf load_element(const int8_t* p) { return load_i8(reinterpret_cast<const uint8_t*>(p)); }

// scores[i][0..16 B) = q[i] . k for B blocks of 16 keys; Q query rows share each converted vector.
// key_scale: [16 B] or null. `next`: what is needed soon, as much as is read here; decoding is
// bound by the latency of the cache's memory otherwise.
template <int Q, int B, class T>
inline void score_tile(const float* const* q, const T* k, const float* key_scale, int head_dim,
                       float scale, const T* next, float* scores) {
  vf acc[Q][B][kHalf];
  each<Q>([&](auto i) BITNET_INLINE {
    each<B>([&](auto b) BITNET_INLINE {
      each<kHalf>([&](auto j) BITNET_INLINE { acc[i][b][j] = set1(0.0f); });
    });
  });
  const float* rows[Q];
  each<Q>([&](auto i) BITNET_INLINE { rows[i] = q[i]; });
  for (int d = 0; d < head_dim; ++d) {
    if (d * 16 * B * sizeof(T) % 64 == 0) __builtin_prefetch(next + d * 16 * B);
    each<B>([&](auto b) BITNET_INLINE {
      each<kHalf>([&](auto j) BITNET_INLINE {
        const vf keys = load_element(k + (b * head_dim + d) * 16 + j * kWidth);
        each<Q>([&](auto i)
                    BITNET_INLINE { acc[i][b][j] = fma(keys, set1(rows[i][d]), acc[i][b][j]); });
      });
    });
  }
  each<B>([&](auto b) BITNET_INLINE {
    each<kHalf>([&](auto j) BITNET_INLINE {
      constexpr bool kScaled = sizeof(T) == 1;
      vf factor = set1(scale);
      if constexpr (kScaled) factor = factor * load(key_scale + b * 16 + j * kWidth);
      each<Q>([&](auto i) BITNET_INLINE {
        store(scores + i * kAttentionChunk + b * 16 + j * kWidth, acc[i][b][j] * factor);
      });
    });
  });
}

// out[i][0..16 B) += p[i][key] * v[key][0..16 B) over n keys; Q rows share each converted vector.
template <int Q, int B, class T>
inline void value_tile(const float* p, const T* v, int v_stride, int n, const T* next, float* out,
                       int out_stride) {
  vf acc[Q][B][kHalf];
  each<Q>([&](auto i) BITNET_INLINE {
    each<B>([&](auto b) BITNET_INLINE {
      each<kHalf>([&](auto j) BITNET_INLINE {
        acc[i][b][j] = load(out + i * out_stride + b * 16 + j * kWidth);
      });
    });
  });
  for (int key = 0; key < n; ++key) {
    if (key * 16 * B * sizeof(T) % 64 == 0) __builtin_prefetch(next + key * 16 * B);
    each<B>([&](auto b) BITNET_INLINE {
      each<kHalf>([&](auto j) BITNET_INLINE {
        const vf values = load_element(v + key * v_stride + b * 16 + j * kWidth);
        each<Q>([&](auto i) BITNET_INLINE {
          acc[i][b][j] = fma(values, set1(p[i * kAttentionChunk + key]), acc[i][b][j]);
        });
      });
    });
  }
  each<Q>([&](auto i) BITNET_INLINE {
    each<B>([&](auto b) BITNET_INLINE {
      each<kHalf>([&](auto j) BITNET_INLINE {
        store(out + i * out_stride + b * 16 + j * kWidth, acc[i][b][j]);
      });
    });
  });
}

// All query rows against B blocks of 16 keys, or 16 B values.
template <int B, class T>
inline void score_rows(const AttentionTile& tile, const T* k, const float* key_scale, const T* next,
                       float* scores) {
  const auto rows = [&](auto n, int i) BITNET_INLINE {
    score_tile<n, B>(tile.q + i, k, key_scale, tile.head_dim, tile.scale, next,
                     scores + i * kAttentionChunk);
  };
  int i = 0;
  for (; i + kManyRows <= tile.n_q; i += kManyRows) rows(Index<kManyRows>{}, i);
  for (; i + 4 <= tile.n_q; i += 4) rows(Index<4>{}, i);
  for (; i < tile.n_q; ++i) rows(Index<1>{}, i);
}

template <int B, class T>
inline void value_rows(const AttentionTile& tile, const float* p, const T* v, int n, const T* next,
                       float* out, int out_stride) {
  const auto rows = [&](auto n_rows, int i) BITNET_INLINE {
    value_tile<n_rows, B>(p + i * kAttentionChunk, v, tile.v_stride, n, next, out + i * out_stride,
                          out_stride);
  };
  int i = 0;
  for (; i + kManyRows <= tile.n_q; i += kManyRows) rows(Index<kManyRows>{}, i);
  for (; i + 4 <= tile.n_q; i += 4) rows(Index<4>{}, i);
  for (; i < tile.n_q; ++i) rows(Index<1>{}, i);
}

// A row's running softmax over a segment. Keys from `valid` on get weight 0, which leaves every
// later sum unchanged.
struct RunningSoftmax {
  float top = -__builtin_inff();
  float lanes[kLanes] = {};  // of the sum of weights

  // Turns the scores of a chunk into weights, times value_scale if that is not null. Returns the
  // factor for what was summed before.
  float step(float* scores, int valid, const float* value_scale) {
    for (int i = valid; i < kAttentionChunk; ++i) scores[i] = -__builtin_inff();
    vf most = load(scores);
    for (int i = kWidth; i < kAttentionChunk; i += kWidth) most = vmax(load(scores + i), most);
    const float largest = max_lane(most), before = top;
    top = largest > top ? largest : top;
    const float correction = before == top ? 1.0f : exp_one(before - top);
    vf sums[kVecs];
    each<kVecs>([&](auto j) BITNET_INLINE { sums[j] = load(lanes + j * kWidth); });
    if (correction != 1.0f)
      each<kVecs>([&](auto j) BITNET_INLINE { sums[j] = sums[j] * set1(correction); });
    for (int i = 0; i < kAttentionChunk; i += kLanes) {
      each<kVecs>([&](auto j) BITNET_INLINE {
        const int at = i + j * kWidth;
        const vf p = exp_vf(load(scores + at) - set1(top));
        sums[j] = sums[j] + p;
        store(scores + at, value_scale ? p * load(value_scale + at) : p);
      });
    }
    each<kVecs>([&](auto j) BITNET_INLINE { store(lanes + j * kWidth, sums[j]); });
    return correction;
  }
};

inline int round_up_16(int n) { return (n + 15) / 16 * 16; }

// One segment for all rows of a tile that have keys in it, by chunks with a running softmax, so no
// score matrix is ever stored. partials: [n_q, attention_partial(v_stride)].
template <class T>
inline void attention_segment(const AttentionTile& tile, int segment, float* partials,
                              float* scores) {
  const int n_q = tile.n_q, width = tile.v_stride, stride = attention_partial(width);
  RunningSoftmax softmax[kAttentionRows];
  const int begin = segment * kAttentionSegment;
  int end = begin;
  for (int i = 0; i < n_q; ++i) {
    end = tile.n_keys[i] > end ? tile.n_keys[i] : end;
    for (int d = 0; d < width; ++d) partials[i * stride + d] = 0;
  }
  const int n_keys = end;  // of all segments
  end = end < begin + kAttentionSegment ? end : begin + kAttentionSegment;
  for (int first = begin; first < end; first += kAttentionChunk) {
    const int n = end - first < kAttentionChunk ? end - first : kAttentionChunk;
    const uint8_t* const* at = tile.blocks + first / kAttentionChunk;
    const T* k = reinterpret_cast<const T*>(*at + tile.k_offset);
    const T* v = reinterpret_cast<const T*>(*at + tile.v_offset);
    const float* k_scale = reinterpret_cast<const float*>(*at + tile.k_scale_offset);
    const float* v_scale = reinterpret_cast<const float*>(*at + tile.v_scale_offset);
    // The keys of the next chunk, to be asked for in time; this one again if it is the last.
    const T* next =
        reinterpret_cast<const T*>(at[first + kAttentionChunk < n_keys] + tile.k_offset);
    const auto score = [&](auto n_blocks, int block) BITNET_INLINE {
      score_rows<n_blocks>(tile, k + block * tile.head_dim,
                           sizeof(T) == 1 ? k_scale + block : nullptr, v + block * width,
                           scores + block);
    };
    int block = 0;  // whole blocks of 16 keys: the cache is padded, and the softmax masks the rest
    for (; block + 16 * kBlocks <= round_up_16(n); block += 16 * kBlocks)
      score(Index<kBlocks>{}, block);
    for (; block < n; block += 16) score(Index<1>{}, block);
    for (int i = 0; i < n_q; ++i) {
      int valid = tile.n_keys[i] - first;
      valid = valid < 0 ? 0 : valid > n ? n : valid;
      if (valid == 0) {  // all masked: weight 0 for every key, and nothing else changes
        for (int key = 0; key < kAttentionChunk; ++key) scores[i * kAttentionChunk + key] = 0;
        continue;
      }
      const float correction =
          softmax[i].step(scores + i * kAttentionChunk, valid, sizeof(T) == 1 ? v_scale : nullptr);
      if (correction != 1.0f)
        for (int d = 0; d < width; ++d) partials[i * stride + d] *= correction;
    }
    const auto add_values = [&](auto n_blocks, int d) BITNET_INLINE {
      value_rows<n_blocks>(tile, scores, v + d, n, next + d * kAttentionChunk, partials + d,
                           stride);
    };
    int d = 0;
    for (; d + 16 * kBlocks <= width; d += 16 * kBlocks) add_values(Index<kBlocks>{}, d);
    for (; d < width; d += 16) add_values(Index<1>{}, d);
  }
  for (int i = 0; i < n_q; ++i) {
    partials[i * stride + width] = softmax[i].top;
    partials[i * stride + width + 1] = sum_lanes(softmax[i].lanes);
  }
}

// total = what the softmax over the keys of both would have summed.
inline void merge_partial(float* total, const float* next, int width) {
  const float top = next[width] > total[width] ? next[width] : total[width];
  const float a = total[width] == top ? 1.0f : exp_one(total[width] - top);
  const float b = next[width] == top ? 1.0f : exp_one(next[width] - top);
  for (int d = 0; d < width; d += kWidth)
    store(total + d, fma(load(next + d), set1(b), load(total + d) * set1(a)));
  total[width] = top;
  total[width + 1] = fma1(next[width + 1], b, total[width + 1] * a);
}

// Every row does the same operations in the same order whatever tile it is in, and however the
// segments are divided among calls: results depend neither on the batch nor on the threads.
void attention(const AttentionTile& tile, int first_segment, int last_segment, float* partials,
               float* scratch) {
  const int stride = attention_partial(tile.v_stride);
  float *scores = scratch, *next = scratch + kAttentionRows * kAttentionChunk;
  const auto compute = tile.is_q8 ? attention_segment<int8_t> : attention_segment<uint16_t>;
  compute(tile, first_segment, partials, scores);
  for (int segment = first_segment + 1; segment < last_segment; ++segment) {
    compute(tile, segment, next, scores);
    for (int i = 0; i < tile.n_q; ++i) {
      if (tile.n_keys[i] > segment * kAttentionSegment)
        merge_partial(partials + i * stride, next + i * stride, tile.v_stride);
    }
  }
}

void merge_attention(float* partials, int64_t step, int n, int head_dim, int v_stride, float* out) {
  for (int i = 1; i < n; ++i) merge_partial(partials, partials + i * step, v_stride);
  const float inverse = 1.0f / partials[v_stride + 1];
  for (int d = 0; d < head_dim; ++d) out[d] = partials[d] * inverse;
}

void rms_norm(const float* x, const float* weight, float eps, float* out, int64_t n) {
  Double8 sums[kLanes / 8] = {};  // squares of floats are exact in double
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    each<kLanes / 8>([&](auto j) BITNET_INLINE {
      Double8 a;
      load8(x + i + 8 * j, a);
      sums[j] += a * a;
    });
  }
  double lanes[kLanes];
  __builtin_memcpy(lanes, sums, sizeof lanes);
  for (; i < n; ++i) lanes[i % kLanes] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  for (int half = kLanes / 2; half >= 1; half /= 2)
    for (int j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  const double sum = lanes[0];
  const float mean = static_cast<float>(sum / static_cast<double>(n));
  const float scale = 1.0f / __builtin_sqrtf(mean + eps);
  for (i = 0; i + kWidth <= n; i += kWidth)
    store(out + i, load(x + i) * set1(scale) * load(weight + i));
  for (; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

// Below -87 silu is 0 to within 1.5e-36; the quotient there would grow with the gate, as exp_vf
// stops growing at 87.
void silu_mul(float* gate, const float* up, int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const vf g = load(gate + i);
    const vf silu = zero_below(g, set1(-87.0f), g / (set1(1.0f) + exp_vf(set1(0.0f) - g)));
    store(gate + i, silu * load(up + i));
  }
  for (; i < n; ++i) {
    const float silu = gate[i] < -87.0f ? 0.0f : gate[i] / (1.0f + exp_one(-gate[i]));
    gate[i] = silu * up[i];
  }
}

void relu2_mul(float* gate, const float* up, int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const vf g = vmax(load(gate + i), set1(0.0f));  // 0 for NaN, too
    store(gate + i, g * g * load(up + i));
  }
  for (; i < n; ++i) {
    const float g = gate[i] > 0 ? gate[i] : 0;
    gate[i] = g * g * up[i];
  }
}

// x / 2 * (1 + tanh(z / 2)) = x / (1 + e^-z), z = 2 sqrt(2 / pi) * (x + 0.044715 x^3). As with
// silu, below -87 it is 0.
constexpr float kGeluLinear = 1.59576912160573f, kGeluCubic = 0.0713548162726f;

void gelu_mul(float* gate, const float* up, int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const vf g = load(gate + i);
    const vf z = g * fma(g * g, set1(kGeluCubic), set1(kGeluLinear));
    const vf gelu = zero_below(z, set1(-87.0f), g / (set1(1.0f) + exp_vf(set1(0.0f) - z)));
    store(gate + i, gelu * load(up + i));
  }
  for (; i < n; ++i) {
    const float g = gate[i], z = g * fma1(g * g, kGeluCubic, kGeluLinear);
    const float gelu = z < -87.0f ? 0.0f : g / (1.0f + exp_one(-z));
    gate[i] = gelu * up[i];
  }
}

void add(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}

// Where column c of a row lies among the quantized activations. A kernel whose vectors hold two
// blocks of 128 codes (64 bytes) wants the four column groups of both blocks side by side: [g0 a,
// g0 b, g1 a, g1 b, ...].
inline int64_t activation_index(int64_t c) {
  if (!kPairBlocks) return c;
  const int64_t in = c % 256, block = in / 128, group = in % 128 / 32;
  return c - in + group * 64 + block * 32 + in % 32;
}

void quantize(const float* x, int64_t cols, int64_t stride, int8_t* q, float* scale, int32_t* sum) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const float a = __builtin_fabsf(x[i + j]);
      lanes[j] = a > lanes[j] ? a : lanes[j];
    }
  }
  for (; i < cols; ++i) {
    const float a = __builtin_fabsf(x[i]);
    lanes[0] = a > lanes[0] ? a : lanes[0];
  }
  double most = 1e-5;
  for (int j = 0; j < kLanes; ++j) most = lanes[j] > most ? lanes[j] : most;
  const float s = static_cast<float>(127.0 / most);
  uint32_t total = 0;  // unsigned: what a NaN turns into may wrap around
  for (i = 0; i < stride; i += 32) {
    int8_t* to = q + activation_index(i);
    if (i + 32 <= cols) {
      for (int j = 0; j < 32; ++j) {
        const int32_t v = round_half_even(x[i + j] * s);
        to[j] = static_cast<int8_t>(v);
        total += static_cast<uint32_t>(v);
      }
    } else {
      for (int j = 0; j < 32; ++j) {
        const int32_t v = i + j < cols ? round_half_even(x[i + j] * s) : 0;
        to[j] = static_cast<int8_t>(v);
        total += static_cast<uint32_t>(v);
      }
    }
  }
  *scale = s;
  *sum = static_cast<int32_t>(total);
}
