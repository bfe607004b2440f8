// Products of codes of up to 8 bits with 14-bit activations, for output heads that are not float.
// The including file defines, besides the primitives of float_ops.inl:
//   vi, a vector of kWidth int32; zero_i32, add_i32 and to_float;
//   Bytes, a vector of kByteVector, 16 or 32; Codes, 64 codes in registers; join(pieces), the codes
//   of 64 / kByteVector vectors of bytes;
//   quad_sums<kOffset>(codes, high, low, offset, sums): sums[j] = vector j of the quads of
//   (codes - kOffset) * x, x as in HeadInput;
//   quad_scales(scales, j): the scales of the quads in vector j, one for every four of them.
//
// 64 columns are multiplied at once, and their products summed by fours: 16 quads. Integers are
// exact: |code - offset| <= 128 and |x| <= kHeadRange, so a quad fits 24 bits and a whole row of
// quads 31.

constexpr int kGroup = 64;          // columns
constexpr int kQuads = kGroup / 4;  // sums
constexpr int kQuadVecs = kQuads / kWidth;
constexpr int kPieces = kGroup / kByteVector;  // vectors of bytes

// The activations of a row as x = 128 * high + low, both small enough that two products with bytes
// fit 16 bits; zero beyond the columns.
struct HeadInput {
  alignas(64) int8_t high[kHeadMaxCols], low[kHeadMaxCols];
  alignas(64) int32_t offset[kHeadMaxCols / 4];  // of each quad: sum of x * offset of the codes

  HeadInput(const int16_t* x, int64_t cols, int code_offset) {
    const int64_t padded = (cols + kGroup - 1) / kGroup * kGroup;
    for (int64_t i = 0; i < padded; ++i) {
      const int16_t value = i < cols ? x[i] : int16_t{0};
      high[i] = static_cast<int8_t>((value + 64) >> 7);
      low[i] = static_cast<int8_t>(value - 128 * high[i]);
    }
    for (int64_t i = 0; i < padded; i += 4) {
      int32_t sum = 0;
      for (int64_t j = i; j < i + 4; ++j) sum += 128 * high[j] + low[j];
      offset[i / 4] = sum * code_offset;
    }
  }
};

typedef uint16_t Words __attribute__((vector_size(kByteVector)));
typedef uint8_t Bytes16 __attribute__((vector_size(16)));
template <class V = Bytes>
inline V load_u8(const uint8_t* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

// The quads of a group of a block, whose first column is c.
template <class Block>
BITNET_INLINE inline void group_sums(const uint8_t* block, auto group, const HeadInput& x,
                                     int64_t c, vi (&sums)[kQuadVecs]) {
  Bytes pieces[kPieces];
  each<kPieces>([&](auto p) BITNET_INLINE { pieces[p] = Block::template piece<group, p>(block); });
  quad_sums<Block::kOffset>(join(pieces), x.high + c, x.low + c, x.offset + c / 4, sums);
}

// Signed bytes become codes by the offset 128.
struct Int8Group {
  static constexpr int kOffset = 128;
  template <int kIndex, int kPiece>
  static Bytes piece(const uint8_t* b) {
    return load_u8(b + kGroup * kIndex + kByteVector * kPiece) ^ 0x80;
  }
};

void coarse_matvec(const int8_t* w, int64_t stride, const int16_t* x, int64_t* out, int64_t begin,
                   int64_t end) {
  const HeadInput input(x, stride, Int8Group::kOffset);
  for (int64_t r = begin; r < end; ++r) {
    const uint8_t* row = reinterpret_cast<const uint8_t*>(w + r * stride);
    vi acc[kQuadVecs];
    each<kQuadVecs>([&](auto j) BITNET_INLINE { acc[j] = zero_i32(); });
    for (int64_t c = 0; c < stride; c += kGroup) {
      __builtin_prefetch(row + c + kPrefetchBytes);
      vi sums[kQuadVecs];
      group_sums<Int8Group>(row + c, Index<0>{}, input, c, sums);
      each<kQuadVecs>([&](auto j) BITNET_INLINE { acc[j] = add_i32(acc[j], sums[j]); });
    }
    int32_t lanes[kQuads];
    __builtin_memcpy(lanes, acc, sizeof lanes);
    out[r] = 0;
    for (const int32_t lane : lanes) out[r] += lane;
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
  static constexpr int kOffset = 128;
  template <int kIndex, int kPiece>
  static Bytes piece(const uint8_t* b) {
    constexpr int kFirst = kByteVector * kPiece;
    return load_u8(b + kFirst / 32 * 34 + 2 + kFirst % 32) ^ 0x80;
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
  static constexpr int kCols = 256, kBytes = 210, kUnitBytes = kBytes;
  static constexpr int kOffset = 32;
  BITNET_INLINE static void prefetch(const uint8_t* b) {
    prefetch_lines<kBytes>(b + kPrefetchBytes);
  }
  static void read_scales(const uint8_t* b, float* scales) {
    const float d = F16Row::at(b + 208, 0);
    for (int i = 0; i < 16; i += kWidth) store(scales + i, set1(d) * load_i8(b + 192 + i));
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

// R rows: lane j of 16 sums scale * quad for quad j of the groups, in the order of the columns,
// whatever the width of a vector.
template <class Block, int R>
inline void block_rows(const uint8_t* w, int64_t row_bytes, int64_t cols, const HeadInput& x,
                       float x_scale, float* out) {
  vf acc[R][kQuadVecs];
  each<R>([&](auto r) BITNET_INLINE {
    each<kQuadVecs>([&](auto j) BITNET_INLINE { acc[r][j] = set1(0.0f); });
  });
  const auto add_block = [&](const uint8_t* block, int64_t c, auto r) BITNET_INLINE {
    alignas(64) float scales[Block::kCols / 16];
    Block::read_scales(block, scales);
    each<Block::kCols / kGroup>([&](auto group) BITNET_INLINE {
      vi sums[kQuadVecs];
      group_sums<Block>(block, group, x, c + kGroup * group, sums);
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
  each<R>([&](auto r) BITNET_INLINE {
    float lanes[kLanes] = {};
    each<kQuadVecs>([&](auto j) BITNET_INLINE { store(lanes + j * kWidth, acc[r][j]); });
    out[r] = sum_lanes(lanes) * x_scale;
  });
}

template <class Block>
void block_matvec_of(const uint8_t* w, int64_t row_bytes, int64_t cols, const int16_t* x,
                     float x_scale, float* out, int64_t begin, int64_t end) {
  const HeadInput input(x, cols, Block::kOffset);
  int64_t r = begin;
  for (; r + 2 <= end; r += 2)
    block_rows<Block, 2>(w + r * row_bytes, row_bytes, cols, input, x_scale, out + r);
  if (r < end) block_rows<Block, 1>(w + r * row_bytes, row_bytes, cols, input, x_scale, out + r);
}

void block_matvec(TensorType type, const uint8_t* w, int64_t row_bytes, int64_t cols,
                  const int16_t* x, float x_scale, float* out, int64_t begin, int64_t end) {
  switch (type) {
    case TensorType::kQ8_0:
      return block_matvec_of<Q8Blocks>(w, row_bytes, cols, x, x_scale, out, begin, end);
    case TensorType::kQ6_K:
      return block_matvec_of<Q6Block>(w, row_bytes, cols, x, x_scale, out, begin, end);
    case TensorType::kQ5_0:
      return block_matvec_of<Q5Blocks>(w, row_bytes, cols, x, x_scale, out, begin, end);
    default:
      return block_matvec_of<Q4Blocks>(w, row_bytes, cols, x, x_scale, out, begin, end);
  }
}
