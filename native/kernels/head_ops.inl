// Products of int8 weights with int16 activations, for output heads that are not float. The
// including file defines, besides the primitives of float_ops.inl:
//   vi, a vector of kWidth int32; pair_dot(w, x): int8 x int16 products of 2 * kWidth neighbours,
//   summed in pairs; add_i32, zero_i32, sum_i32 and to_float; kByteVector, bytes of a vector.
//
// Integers are exact: |w| <= 128 and |x| <= kHeadRange, so a pair fits 24 bits and a whole row 32.

constexpr int kGroup = 16;               // weights that share a scale
constexpr int kPairs = kGroup / 2;       // int32 lanes of a group
constexpr int kBlockLanes = 2 * kPairs;  // two groups side by side
constexpr int kBlockVecs = kBlockLanes / kWidth;

void coarse_matvec(const int8_t* w, int64_t stride, const int16_t* x, int32_t* out, int64_t begin,
                   int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const int8_t* row = w + r * stride;
    vi acc[kBlockVecs];
    each<kBlockVecs>([&](auto j) BITNET_INLINE { acc[j] = zero_i32(); });
    for (int64_t c = 0; c < stride; c += 2 * kGroup) {
      if (c % 64 == 0) __builtin_prefetch(row + c + kPrefetchBytes);
      each<kBlockVecs>([&](auto j) BITNET_INLINE {
        const int64_t at = c + 2 * kWidth * j;
        acc[j] = add_i32(acc[j], pair_dot(row + at, x + at));
      });
    }
    int32_t total = 0;
    each<kBlockVecs>([&](auto j) BITNET_INLINE { total += sum_i32(acc[j]); });
    out[r] = total;
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
      const float shifted = x[j] * inverse + 12582912.0f;  // rounds as in quantize()
      int32_t bits;
      __builtin_memcpy(&bits, &shifted, 4);
      to[j] = static_cast<int8_t>((bits & 0x007fffff) - 0x00400000);
      const float d = x[j] - scale * (shifted - 12582912.0f);
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

// Vectors of bytes; their operators compile to this instruction set.
typedef uint8_t Bytes __attribute__((vector_size(kByteVector)));
inline Bytes load_u8(const uint8_t* p) {
  Bytes v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline void store_q(int8_t* to, Bytes v) { __builtin_memcpy(to, &v, sizeof v); }

// Each unpacks one block: the quants as int8 and one scale per group of 16.
// Layouts: formats/dequantize.cpp.

struct Q8Block {
  static constexpr int kElems = 32, kBytes = 34;
  static void unpack(const uint8_t* b, int8_t* q, float* scales) {
    scales[0] = scales[1] = F16Row::at(b, 0);
    __builtin_memcpy(q, b + 2, 32);
  }
};

struct Q4Block {
  static constexpr int kElems = 32, kBytes = 18;
  static void unpack(const uint8_t* b, int8_t* q, float* scales) {
    scales[0] = scales[1] = F16Row::at(b, 0);
    for (int i = 0; i < 16; ++i) {
      q[i] = static_cast<int8_t>((b[2 + i] & 15) - 8);
      q[i + 16] = static_cast<int8_t>((b[2 + i] >> 4) - 8);
    }
  }
};

struct Q5Block {
  static constexpr int kElems = 32, kBytes = 22;
  static void unpack(const uint8_t* b, int8_t* q, float* scales) {
    scales[0] = scales[1] = F16Row::at(b, 0);
    uint32_t high;
    __builtin_memcpy(&high, b + 2, 4);
    for (int i = 0; i < 16; ++i) {
      q[i] = static_cast<int8_t>(((b[6 + i] & 15) | ((high >> i & 1) << 4)) - 16);
      q[i + 16] = static_cast<int8_t>(((b[6 + i] >> 4) | ((high >> (i + 16) & 1) << 4)) - 16);
    }
  }
};

struct Q6Block {
  static constexpr int kElems = 256, kBytes = 210;
  static void unpack(const uint8_t* b, int8_t* q, float* scales) {
    __builtin_prefetch(b + kPrefetchBytes);
    __builtin_prefetch(b + kPrefetchBytes + 64);
    __builtin_prefetch(b + kPrefetchBytes + 128);
    for (int half = 0; half < 2; ++half, q += 128) {
      for (int i = 0; i < 32; i += kByteVector) {
        const Bytes low0 = load_u8(b + 64 * half + i), low1 = load_u8(b + 64 * half + 32 + i);
        const Bytes high = load_u8(b + 128 + 32 * half + i);
        store_q(q + i, ((low0 & 15) | ((high & 0x03) << 4)) - 32);
        store_q(q + 32 + i, ((low1 & 15) | ((high & 0x0c) << 2)) - 32);
        store_q(q + 64 + i, ((low0 >> 4) | (high & 0x30)) - 32);
        store_q(q + 96 + i, ((low1 >> 4) | ((high & 0xc0) >> 2)) - 32);
      }
    }
    const float d = F16Row::at(b + 208, 0);
    for (int i = 0; i < 16; i += kWidth) store(scales + i, set1(d) * load_i8(b + 192 + i));
  }
};

// Lane j of 16 sums scale * pair for pair j % 8 of the groups of one parity, in the order of the
// columns, whatever the width of a vector.
template <class Block>
void block_rows(const uint8_t* w, int64_t row_bytes, int64_t cols, const int16_t* x, float x_scale,
                float* out, int64_t begin, int64_t end) {
  alignas(64) int8_t q[Block::kElems];
  alignas(64) float scales[Block::kElems / kGroup];
  for (int64_t r = begin; r < end; ++r) {
    vf acc[kBlockVecs];
    each<kBlockVecs>([&](auto j) BITNET_INLINE { acc[j] = set1(0.0f); });
    const uint8_t* block = w + r * row_bytes;
    for (int64_t c = 0; c < cols; c += Block::kElems, block += Block::kBytes) {
      Block::unpack(block, q, scales);
      each<Block::kElems / (2 * kGroup)>([&](auto pair) BITNET_INLINE {
        each<kBlockVecs>([&](auto j) BITNET_INLINE {
          const int at = pair * 2 * kGroup + 2 * kWidth * j;
          const vf sums = to_float(pair_dot(q + at, x + c + at));
          acc[j] = fma(group_scales(scales + 2 * pair, j), sums, acc[j]);
        });
      });
    }
    float lanes[kLanes] = {};
    each<kBlockVecs>([&](auto j) BITNET_INLINE { store(lanes + j * kWidth, acc[j]); });
    out[r] = sum_lanes(lanes) * x_scale;
  }
}

void block_matvec(TensorType type, const uint8_t* w, int64_t row_bytes, int64_t cols,
                  const int16_t* x, float x_scale, float* out, int64_t begin, int64_t end) {
  switch (type) {
    case TensorType::kQ8_0:
      return block_rows<Q8Block>(w, row_bytes, cols, x, x_scale, out, begin, end);
    case TensorType::kQ6_K:
      return block_rows<Q6Block>(w, row_bytes, cols, x, x_scale, out, begin, end);
    case TensorType::kQ5_0:
      return block_rows<Q5Block>(w, row_bytes, cols, x, x_scale, out, begin, end);
    default:
      return block_rows<Q4Block>(w, row_bytes, cols, x, x_scale, out, begin, end);
  }
}
