// Products of weights of up to 8 bits with 14-bit activations, for output heads: the int8 copy of a
// float head, and heads that are block-quantized. The including file defines, besides the
// primitives of float_ops.inl:
//   vi, a vector of kWidth int32; zero_i32 and to_float; store_sums(v, out): out[i] = the sum of
//   the lanes of v[i]; Bytes, a vector of kByteVector, 16 or 32; Codes, 64 bytes in registers;
//   make_codes<kOffset> (pieces): the weights piece - kOffset of 64 / kByteVector vectors, each
//   kCodeBias, 128 or 0, larger; load_codes64 and store_codes64, of aligned memory;
//   add_products(sums, codes, x): sums + the products of codes with bytes |x| <= 64, in any lanes;
//   quad_sums(codes, x, sums): sums[j] = vector j of the quads of weight * x, x a HeadGroup;
//   quad_scales(scales, j): the scales of the quads in vector j, one for every four of them;
//   Words32, 32 int16 in registers; load_words32 and store_words32, of aligned memory;
//   scaled_codes<kOffset, kFirstScale>(pieces, scales): 32 columns, (piece - kOffset) * the scale
//   of 16 columns, of two from scales[kFirstScale] on; add_pairs<j>(sums, w, x): adds the products
//   of columns 2 i and 2 i + 1 of 32 to lane i of 16, of which sums is vector j; kCoarseRows,
//   kCoarseTokens, kQuadRows, kQuadTokens, kPairRows, kPairTokens: register tiles.
//
// 64 columns are multiplied at once. Sums of integers are exact, so their order does not matter.
// The scaled sums of block types are floats: products are summed by fours to 16 quads, and lane j
// of 16 sums scale * quad for quad j of the groups, in the order of the columns, whatever the width
// of a vector and however many rows and tokens are taken at once. Where the scales are integers
// with one factor for 256 columns, products with them are: lane j of 16 sums the pairs j, j + 16,
// ... of a block exactly, then factor * sum over the blocks.

constexpr int kGroup = 64;          // columns
constexpr int kQuads = kGroup / 4;  // sums
constexpr int kQuadVecs = kQuads / kWidth;
constexpr int kPieces = kGroup / kByteVector;  // vectors of bytes

typedef uint16_t Words __attribute__((vector_size(kByteVector)));
typedef uint8_t Bytes16 __attribute__((vector_size(16)));
template <class V = Bytes>
inline V load_u8(const uint8_t* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

// The codes of a group of a block.
template <class Block>
BITNET_INLINE inline Codes read_codes(const uint8_t* block, auto group) {
  Bytes pieces[kPieces];
  each<kPieces>([&](auto p) BITNET_INLINE { pieces[p] = Block::template piece<group, p>(block); });
  return make_codes<Block::kOffset>(pieces);
}

struct Int8Group {
  static constexpr int kOffset = 0;
  template <int kIndex, int kPiece>
  static Bytes piece(const uint8_t* b) {
    return load_u8(b + kByteVector * kPiece);
  }
};

template <int R, int T>
BITNET_INLINE inline void coarse_tile(const uint8_t* w, const HeadBatch& x, int64_t token,
                                      NextPanel* next, float* out, int64_t out_stride) {
  const int64_t n = x.n_groups, stride = kGroup * n;
  const HeadGroup* groups = x.groups + token * n;
  vi sums[2 * R * T];  // of high and low
  each<2 * R * T>([&](auto i) BITNET_INLINE { sums[i] = zero_i32(); });
  for (int64_t g = 0; g < n; ++g) {
    if (next) {
      next->step<kGroup * R>(R * T);
    } else {
      prefetch_lines<kGroup * R>(w + R * kGroup * g + kPrefetchBytes);
    }
    Codes codes[R];
    each<R>([&](auto r) BITNET_INLINE {
      codes[r] = read_codes<Int8Group>(w + r * stride + kGroup * g, Index<0>{});
    });
    each<T>([&](auto t) BITNET_INLINE {
      const HeadGroup& group = groups[t * n + g];
      each<R>([&](auto r) BITNET_INLINE {
        constexpr int i = 2 * (t * R + r);
        sums[i] = add_products(sums[i], codes[r], group.high);
        sums[i + 1] = add_products(sums[i + 1], codes[r], group.low);
      });
    });
  }
  int32_t totals[2 * R * T];
  store_sums(sums, totals);
  for (int t = 0; t < T; ++t) {
    for (int r = 0; r < R; ++r) {
      const int32_t* of = totals + 2 * (t * R + r);
      const int64_t sum = 128 * int64_t{of[0]} + of[1] - kCodeBias * int64_t{x.sums[token + t]};
      out[t * out_stride + r] = static_cast<float>(sum);
    }
  }
}

void coarse_matmul(const int8_t* w, const HeadBatch& x, float* out, int64_t out_stride,
                   int64_t begin, int64_t end) {
  const int64_t stride = kGroup * x.n_groups;
  const uint8_t* rows = reinterpret_cast<const uint8_t*>(w);
  if (x.n_tokens == 1) {  // rows one by one: as one stream the memory is faster than as several
    for (int64_t r = begin; r < end; ++r)
      coarse_tile<1, 1>(rows + r * stride, x, 0, nullptr, out + r, out_stride);
    return;
  }
  for (int64_t first = begin; first < end; first += kSharedRows) {
    const int64_t last = end - first < kSharedRows ? end : first + kSharedRows;
    NextPanel next(rows + last * stride, kSharedRows * stride,
                   kSharedRows * x.n_tokens * x.n_groups);
    in_tiles<kCoarseTokens>(0, x.n_tokens, [&](auto n_tokens, int64_t t) BITNET_INLINE {
      in_tiles<kCoarseRows>(first, last, [&](auto n, int64_t r) BITNET_INLINE {
        coarse_tile<n, n_tokens>(rows + r * stride, x, t, &next, out + t * out_stride + r,
                                 out_stride);
      });
    });
  }
}

// 32 elements of a row as floats.
template <class Row>
inline void load_lanes(const uint8_t* row, int64_t i, float* x) {
  each<kVecs>([&](auto j)
                  BITNET_INLINE { store(x + j * kWidth, Row::load_at(row, i + j * kWidth)); });
}

template <class Row>
void compress(const uint8_t* row, int64_t cols, int8_t* q, CoarseRow* out) {
  float x[kLanes], most[kLanes] = {}, error[kLanes] = {}, norm[kLanes] = {};
  const int64_t whole = cols / kLanes * kLanes;
  const auto tail = [&] {
    for (int j = 0; j < kLanes; ++j) x[j] = whole + j < cols ? Row::at(row, whole + j) : 0;
  };
  const auto widen = [&] {
    for (int j = 0; j < kLanes; ++j) {
      const float a = __builtin_fabsf(x[j]);
      most[j] = a > most[j] ? a : most[j];
    }
  };
  for (int64_t i = 0; i < whole; i += kLanes) {
    load_lanes<Row>(row, i, x);
    widen();
  }
  if (whole < cols) {
    tail();
    widen();
  }
  float top = 0;
  for (int j = 0; j < kLanes; ++j) top = most[j] > top ? most[j] : top;
  const float scale = top / 127, inverse = top > 0 ? 127 / top : 0;
  const auto round = [&](int8_t* to) {
    for (int j = 0; j < kLanes; ++j) {
      const float q = x[j] * inverse;
      to[j] = static_cast<int8_t>(round_half_even(q));
      const float d = x[j] - scale * rounded_half_even(q);
      error[j] += d * d;
      norm[j] += x[j] * x[j];
    }
  };
  for (int64_t i = 0; i < whole; i += kLanes) {
    load_lanes<Row>(row, i, x);
    round(q + i);
  }
  if (whole < cols) {
    tail();
    round(q + whole);
  }
  // Sums of squares: relative error below cols * 2^-24, which the lengths are rounded up by.
  const float up = 1 + static_cast<float>(cols) * 0x1p-23f;
  *out = {scale, __builtin_sqrtf(sum_lanes(error)) * up, __builtin_sqrtf(sum_lanes(norm)) * up};
}

void compress_row(TensorType type, const uint8_t* row, int64_t cols, int8_t* q, CoarseRow* out) {
  switch (type) {
    case TensorType::kF16:
      return compress<F16Row>(row, cols, q, out);
    case TensorType::kBF16:
      return compress<BF16Row>(row, cols, q, out);
    default:
      return compress<F32Row>(row, cols, q, out);
  }
}

// Block types, so many at a time that whole groups come out of them. piece<group, p>: vector p of a
// group's codes; read_scales: one for every 16 columns. Layouts: formats/dequantize.cpp.

// a, then b; through memory the store would have to end before the load.
template <class V = Bytes>
BITNET_INLINE inline V concat(Bytes16 a, Bytes16 b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,
                                 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
}

// Two blocks of 32 columns with one f16 scale each at their beginning.
template <class Block, int kBlockBytes>
struct PairOfBlocks {
  static constexpr int kCols = 64, kBytes = 2 * kBlockBytes, kUnitBytes = kBlockBytes;
  BITNET_INLINE static void prefetch(const uint8_t* b) {
    prefetch_lines<kBytes>(b + kPrefetchBytes);
  }
  static void read_scales(const uint8_t* b, float* scales) {
    scales[0] = scales[1] = F16Row::at(b, 0);
    scales[2] = scales[3] = F16Row::at(b + kBlockBytes, 0);
  }
  // From Block::sixteen<i>(block): codes 16 i to 16 i + 15.
  template <int kIndex, int kPiece>
  static Bytes piece(const uint8_t* b) {
    constexpr int kFirst = kByteVector * kPiece;
    const uint8_t* block = b + kFirst / 32 * kBlockBytes;
    if constexpr (kByteVector == 16) {
      return Block::template sixteen<kFirst % 32 / 16>(block);
    } else {
      return concat(Block::template sixteen<0>(block), Block::template sixteen<1>(block));
    }
  }
};

struct Q8Blocks : PairOfBlocks<Q8Blocks, 34> {
  static constexpr int kOffset = 0;
  template <int kIndex, int kPiece>
  static Bytes piece(const uint8_t* b) {
    constexpr int kFirst = kByteVector * kPiece;
    return load_u8(b + kFirst / 32 * 34 + 2 + kFirst % 32);
  }
};

struct Q4Blocks : PairOfBlocks<Q4Blocks, 18> {
  static constexpr int kOffset = 8;
  template <int i>
  static Bytes16 sixteen(const uint8_t* block) {
    return (load_u8<Bytes16>(block + 2) >> (4 * i)) & 15;
  }
};

struct Q5Blocks : PairOfBlocks<Q5Blocks, 22> {
  static constexpr int kOffset = 16;
  template <int i>
  static Bytes16 sixteen(const uint8_t* block) {
    // Bit k of the high bits is in byte k / 8 of them.
    const Bytes16 bytes = load_u8<Bytes16>(block + 2),
                  bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    constexpr int a = 2 * i, b = 2 * i + 1;
    const Bytes16 spread =
        __builtin_shufflevector(bytes, bytes, a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b);
    const Bytes16 high = reinterpret_cast<Bytes16>((spread & bit) != 0) & 16;
    return ((load_u8<Bytes16>(block + 6) >> (4 * i)) & 15) | high;
  }
};

struct Q6Block {
  static constexpr int kCols = 256, kBytes = 210;
  static constexpr int kOffset = 32;  // |code * scale| <= 32 * 128
  BITNET_INLINE static void prefetch(const uint8_t* b) {
    prefetch_lines<kBytes>(b + kPrefetchBytes);
  }
  static float factor(const uint8_t* b) { return F16Row::at(b + 208, 0); }
  static void read_scales(const uint8_t* b, int16_t* scales) {
    for (int i = 0; i < kCols / 16; ++i) scales[i] = static_cast<int8_t>(b[192 + i]);
  }
  // Halves of 128 columns: 64 bytes with the low nibbles of columns c and c + 64, 32 bytes with the
  // two high bits of c, c + 32, c + 64 and c + 96.
  template <int kIndex, int kPiece>
  static Bytes piece(const uint8_t* b) {
    constexpr int kHalf = kIndex / 2, kUpper = kIndex % 2, kFirst = kByteVector * kPiece;
    constexpr int kShift = 4 * kUpper + 2 * (kFirst / 32);
    constexpr uint8_t kMask = 3 << kShift;
    const Bytes low = load_u8(b + 64 * kHalf + kFirst);
    const Bytes high = load_u8(b + 128 + 32 * kHalf + kFirst % 32) & kMask;
    const Bytes four = kUpper ? low >> 4 : low & 15;
    // No bit leaves its byte, so that lanes of 16 bits do; there are no shifts of bytes.
    const Words words = reinterpret_cast<Words>(high);
    if constexpr (kShift < 4) return four | reinterpret_cast<Bytes>(words << (4 - kShift));
    return four | reinterpret_cast<Bytes>(words >> (kShift < 4 ? 0 : kShift - 4));
  }
};

// As the sum of 32 lanes, of which the upper 16 are zero: adding them makes 0 of -0.
BITNET_INLINE inline float sum_quads(vf (&acc)[kQuadVecs]) {
  each<kQuadVecs>([&](auto j) BITNET_INLINE { acc[j] = acc[j] + set1(0.0f); });
  return sum_vectors(acc);
}

// One token, R rows straight from their blocks.
template <class Block, int R>
inline void block_rows(const uint8_t* w, int64_t row_bytes, int64_t cols, const HeadBatch& x,
                       float* out) {
  vf acc[R][kQuadVecs];
  each<R>([&](auto r) BITNET_INLINE {
    each<kQuadVecs>([&](auto j) BITNET_INLINE { acc[r][j] = set1(0.0f); });
  });
  const auto add_block = [&](const uint8_t* block, int64_t c, auto r) BITNET_INLINE {
    alignas(64) float scales[Block::kCols / 16];
    Block::read_scales(block, scales);
    each<Block::kCols / kGroup>([&](auto group) BITNET_INLINE {
      vi sums[kQuadVecs];
      quad_sums(read_codes<Block>(block, group), x.groups[c / kGroup + group], sums);
      each<kQuadVecs>([&](auto j) BITNET_INLINE {
        acc[r][j] = fma(quad_scales(scales + 4 * group, j), to_float(sums[j]), acc[r][j]);
      });
    });
  };
  int64_t c = 0;
  const uint8_t* block = w;
  for (; c + Block::kCols <= cols; c += Block::kCols, block += Block::kBytes) {
    each<R>([&](auto r) BITNET_INLINE {
      Block::prefetch(block + r * row_bytes);
      add_block(block + r * row_bytes, c, r);
    });
  }
  if (c < cols) {  // one block of two: nothing is read beyond the row
    each<R>([&](auto r) BITNET_INLINE {
      uint8_t padded[Block::kBytes] = {};
      __builtin_memcpy(padded, block + r * row_bytes, Block::kUnitBytes);
      add_block(padded, c, r);
    });
  }
  each<R>([&](auto r) BITNET_INLINE { out[r] = sum_quads(acc[r]) * x.units[0]; });
}

// A row as codes [64 n_groups] and the scales of every 16 of them. Costs as much as its products
// with some tokens.
constexpr int kUnpackUnits = 3;
template <class Block>
void unpack_blocks(const uint8_t* block, int64_t cols, NextPanel& next, uint8_t* codes,
                   float* scales) {
  const auto unpack = [&](const uint8_t* from) BITNET_INLINE {
    next.step<Block::kBytes>(kUnpackUnits * Block::kCols / kGroup);
    Block::read_scales(from, scales);
    each<Block::kCols / kGroup>([&](auto group) BITNET_INLINE {
      store_codes64(codes + kGroup * group, read_codes<Block>(from, group));
    });
    codes += Block::kCols;
    scales += Block::kCols / 16;
  };
  for (; cols >= Block::kCols; cols -= Block::kCols, block += Block::kBytes) unpack(block);
  if (cols > 0) {
    uint8_t padded[Block::kBytes] = {};
    __builtin_memcpy(padded, block, Block::kUnitBytes);
    unpack(padded);
  }
}

// R unpacked rows by T tokens.
template <int R, int T>
BITNET_INLINE inline void block_tile(const uint8_t* codes, const float* scales, const HeadBatch& x,
                                     int64_t token, NextPanel& next, float* out,
                                     int64_t out_stride) {
  const int64_t n = x.n_groups;
  const HeadGroup* groups = x.groups + token * n;
  vf acc[T][R][kQuadVecs];
  each<T>([&](auto t) BITNET_INLINE {
    each<R>([&](auto r) BITNET_INLINE {
      each<kQuadVecs>([&](auto j) BITNET_INLINE { acc[t][r][j] = set1(0.0f); });
    });
  });
  for (int64_t g = 0; g < n; ++g) {
    next.step<kGroup * R>(R * T);
    Codes weights[R];
    vf factors[R][kQuadVecs];
    each<R>([&](auto r) BITNET_INLINE {
      weights[r] = load_codes64(codes + kGroup * (r * n + g));
      each<kQuadVecs>(
          [&](auto j) BITNET_INLINE { factors[r][j] = quad_scales(scales + 4 * (r * n + g), j); });
    });
    each<T>([&](auto t) BITNET_INLINE {
      each<R>([&](auto r) BITNET_INLINE {
        vi sums[kQuadVecs];
        quad_sums(weights[r], groups[t * n + g], sums);
        each<kQuadVecs>([&](auto j) BITNET_INLINE {
          acc[t][r][j] = fma(factors[r][j], to_float(sums[j]), acc[t][r][j]);
        });
      });
    });
  }
  each<T>([&](auto t) BITNET_INLINE {
    each<R>([&](auto r) BITNET_INLINE {
      out[t * out_stride + r] = sum_quads(acc[t][r]) * x.units[token + t];
    });
  });
}

// A panel of unpacked rows by all tokens.
void multiply_unpacked(const uint8_t* codes, const float* scales, int64_t n_rows,
                       const HeadBatch& x, NextPanel next, float* out, int64_t out_stride) {
  const int64_t stride = kGroup * x.n_groups;
  in_tiles<kQuadTokens>(0, x.n_tokens, [&](auto n_tokens, int64_t t) BITNET_INLINE {
    in_tiles<kQuadRows>(0, n_rows, [&](auto n, int64_t r) BITNET_INLINE {
      block_tile<n, n_tokens>(codes + r * stride, scales + r * stride / 16, x, t, next,
                              out + t * out_stride + r, out_stride);
    });
  });
}

template <class Block>
void block_matmul_of(const uint8_t* w, int64_t row_bytes, int64_t cols, const HeadBatch& x,
                     float* out, int64_t out_stride, int64_t begin, int64_t end, uint8_t* scratch) {
  if (x.n_tokens == 1) {
    in_tiles<2>(begin, end, [&](auto n, int64_t r) BITNET_INLINE {
      block_rows<Block, n>(w + r * row_bytes, row_bytes, cols, x, out + r);
    });
    return;
  }
  const int64_t stride = kGroup * x.n_groups;
  uint8_t* codes = scratch;
  float* scales = reinterpret_cast<float*>(scratch + kSharedRows * stride);
  static_assert(kSharedRows * (kHeadMaxCols + kHeadMaxCols / 16 * 4) <= kMatmulScratch);
  for (int64_t first = begin; first < end; first += kSharedRows) {
    const int64_t n_rows = end - first < kSharedRows ? end - first : kSharedRows;
    NextPanel next(w + (first + n_rows) * row_bytes, kSharedRows * row_bytes,
                   kSharedRows * x.n_groups * (x.n_tokens + kUnpackUnits));
    for (int64_t r = 0; r < n_rows; ++r) {
      unpack_blocks<Block>(w + (first + r) * row_bytes, cols, next, codes + r * stride,
                           scales + r * stride / 16);
    }
    multiply_unpacked(codes, scales, n_rows, x, next, out + first, out_stride);
  }
}

// Codes times their scales of a block: use(column, words), a multiple of 32 and what it begins.
template <class Block>
BITNET_INLINE inline void scale_block(const uint8_t* block, auto use) {
  constexpr int kPairPieces = kPieces / 2;  // vectors of bytes of 32 columns
  alignas(64) int16_t scales[Block::kCols / 16];
  Block::read_scales(block, scales);
  each<Block::kCols / 32>([&](auto i) BITNET_INLINE {
    Bytes pieces[kPairPieces];
    each<kPairPieces>([&](auto p) BITNET_INLINE {
      pieces[p] = Block::template piece<i / 2, i % 2 * kPairPieces + p>(block);
    });
    use(Index<32 * i>{}, scaled_codes<Block::kOffset, 2 * i>(pieces, scales));
  });
}

// acc += factor * the pairs of one block, R rows by T tokens. words: [R, kCols], factors: [R],
// x: [T, x_stride], acc: [T, acc_stride] of [R, kQuads]. 16 products of |w| <= 2^12 and |x| <= 2^13
// fit a lane.
template <class Block, int R, int T>
inline void add_scaled_block(const int16_t* words, const float* factors, const int16_t* x,
                             int64_t x_stride, float* acc, int64_t acc_stride) {
  vi sums[T][R][kQuadVecs];
  each<T>([&](auto t) BITNET_INLINE {
    each<R>([&](auto r) BITNET_INLINE {
      each<kQuadVecs>([&](auto j) BITNET_INLINE { sums[t][r][j] = zero_i32(); });
    });
  });
  for (int64_t c = 0; c < Block::kCols; c += 2 * kQuads) {
    Words32 w[R];
    each<R>([&](auto r) BITNET_INLINE { w[r] = load_words32(words + r * Block::kCols + c); });
    each<T>([&](auto t) BITNET_INLINE {
      const Words32 of_token = load_words32(x + t * x_stride + c);
      each<R>([&](auto r) BITNET_INLINE {
        each<kQuadVecs>([&](auto j) BITNET_INLINE {
          sums[t][r][j] = add_pairs<j>(sums[t][r][j], w[r], of_token);
        });
      });
    });
  }
  each<R>([&](auto r) BITNET_INLINE {
    const vf factor = set1(factors[r]);
    each<T>([&](auto t) BITNET_INLINE {
      each<kQuadVecs>([&](auto j) BITNET_INLINE {
        float* lanes = acc + t * acc_stride + r * kQuads + j * kWidth;
        store(lanes, fma(factor, to_float(sums[t][r][j]), load(lanes)));
      });
    });
  });
}

BITNET_INLINE inline float sum_lanes16(const float* lanes) {
  vf acc[kQuadVecs];
  each<kQuadVecs>([&](auto j) BITNET_INLINE { acc[j] = load(lanes + j * kWidth); });
  return sum_quads(acc);
}

// One token, R rows straight from their blocks.
template <class Block, int R>
inline void scaled_rows(const uint8_t* block, int64_t row_bytes, const HeadBatch& x, float* out) {
  vf acc[R][kQuadVecs];
  each<R>([&](auto r) BITNET_INLINE {
    each<kQuadVecs>([&](auto j) BITNET_INLINE { acc[r][j] = set1(0.0f); });
  });
  const int64_t n_blocks = kGroup * x.n_groups / Block::kCols;
  const int16_t* words = x.words->x;
  for (int64_t b = 0; b < n_blocks; ++b, block += Block::kBytes, words += Block::kCols) {
    each<R>([&](auto r) BITNET_INLINE {
      const uint8_t* of_row = block + r * row_bytes;
      Block::prefetch(of_row);
      vi sums[kQuadVecs];
      each<kQuadVecs>([&](auto j) BITNET_INLINE { sums[j] = zero_i32(); });
      scale_block<Block>(of_row, [&](auto column, const Words32& w) BITNET_INLINE {
        const Words32 of_token = load_words32(words + column);
        each<kQuadVecs>([&](auto j)
                            BITNET_INLINE { sums[j] = add_pairs<j>(sums[j], w, of_token); });
      });
      const vf factor = set1(Block::factor(of_row));
      each<kQuadVecs>([&](auto j)
                          BITNET_INLINE { acc[r][j] = fma(factor, to_float(sums[j]), acc[r][j]); });
    });
  }
  each<R>([&](auto r) BITNET_INLINE { out[r] = sum_quads(acc[r]) * x.units[0]; });
}

// A panel of n_rows <= kScaledRows rows by n_tokens <= kScaledTokens, block by block: what a block
// needs stays in the level-1 cache.
constexpr int kScaledRows = 8, kScaledTokens = 16;
constexpr int kScaleBlockUnits = 4;  // scale_block costs as much as its products with some tokens
template <class Block>
void scaled_panel(const uint8_t* w, int64_t row_bytes, int64_t n_rows, const HeadBatch& x,
                  int64_t token, int64_t n_tokens, NextPanel& next, float* out,
                  int64_t out_stride) {
  constexpr int64_t kAccStride = kScaledRows * kQuads;
  alignas(64) float acc[kScaledTokens * kAccStride] = {};
  alignas(64) int16_t words[kScaledRows * Block::kCols];
  const int64_t cols = kGroup * x.n_groups;
  const int16_t* tokens = x.words->x + token * cols;
  for (int64_t c = 0; c < cols; c += Block::kCols, w += Block::kBytes) {
    float factors[kScaledRows];
    for (int64_t r = 0; r < n_rows; ++r) {
      next.step<Block::kBytes>(kScaleBlockUnits);
      int16_t* of_row = words + r * Block::kCols;
      scale_block<Block>(w + r * row_bytes, [&](auto column, const Words32& scaled) BITNET_INLINE {
        store_words32(of_row + column, scaled);
      });
      factors[r] = Block::factor(w + r * row_bytes);
    }
    in_tiles<kPairTokens>(0, n_tokens, [&](auto T, int64_t t) BITNET_INLINE {
      in_tiles<kPairRows>(0, n_rows, [&](auto R, int64_t r) BITNET_INLINE {
        next.step<Block::kBytes * R / 2>(R * T);
        add_scaled_block<Block, R, T>(words + r * Block::kCols, factors + r, tokens + t * cols + c,
                                      cols, acc + t * kAccStride + r * kQuads, kAccStride);
      });
    });
  }
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t r = 0; r < n_rows; ++r) {
      out[t * out_stride + r] = sum_lanes16(acc + t * kAccStride + r * kQuads) * x.units[token + t];
    }
  }
}

template <class Block>
void scaled_matmul_of(const uint8_t* w, int64_t row_bytes, const HeadBatch& x, float* out,
                      int64_t out_stride, int64_t begin, int64_t end) {
  if (x.n_tokens == 1) {
    in_tiles<2>(begin, end, [&](auto n, int64_t r) BITNET_INLINE {
      scaled_rows<Block, n>(w + r * row_bytes, row_bytes, x, out + r);
    });
    return;
  }
  const int64_t n_blocks = kGroup * x.n_groups / Block::kCols;
  for (int64_t first = begin; first < end; first += kScaledRows) {
    const int64_t n_rows = end - first < kScaledRows ? end - first : kScaledRows;
    NextPanel next(w + (first + n_rows) * row_bytes, kScaledRows * row_bytes,
                   kScaledRows * n_blocks * (x.n_tokens + kScaleBlockUnits));
    for (int64_t t = 0; t < x.n_tokens; t += kScaledTokens) {
      const int64_t n_tokens = x.n_tokens - t < kScaledTokens ? x.n_tokens - t : kScaledTokens;
      scaled_panel<Block>(w + first * row_bytes, row_bytes, n_rows, x, t, n_tokens, next,
                          out + first + t * out_stride, out_stride);
    }
  }
}

void block_matmul(TensorType type, const uint8_t* w, int64_t row_bytes, int64_t cols,
                  const HeadBatch& x, float* out, int64_t out_stride, int64_t begin, int64_t end,
                  uint8_t* scratch) {
  if (type == TensorType::kQ6_K) {
    scaled_matmul_of<Q6Block>(w, row_bytes, x, out, out_stride, begin, end);
    return;
  }
  const auto multiply = type == TensorType::kQ8_0   ? block_matmul_of<Q8Blocks>
                        : type == TensorType::kQ5_0 ? block_matmul_of<Q5Blocks>
                                                    : block_matmul_of<Q4Blocks>;
  multiply(w, row_bytes, cols, x, out, out_stride, begin, end, scratch);
}
