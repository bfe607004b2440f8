// Matrix-vector products by table look-up, without a multiplication: for each pair or triple of
// activations a table holds every sum that their weights can make, and a byte shuffle looks up 16
// or 32 rows at once. Lossless: a sum v is kept as 31 * high + low, each in a signed byte, so small
// that eight of either still fit a byte; bytes are added eight times before they are widened.
//
// The including file defines, in its unnamed namespace:
//   vb, a vector of kByteLanes bytes (they divide 32), and vw, as many bits in 16-bit lanes;
//   load_vb, set1_vb, load_table (16 entries, for each 16 lanes), look_up(table, indices < 16),
//   low_nibble, high_nibble, add_vb; sign_of<i>(signs), made for negate_if(v, sign): -v where bit
//   7 - i of the sign byte is set; zero_vw, add_even(w, v) and add_odd: w plus the unsigned bytes
//   at even or odd places; store_vw;
//   Pattern, 16 numbers of 16 bits: load_pattern, times(p, x) for p of -1, 0 and 1, add_products,
//   store_table(to, v): 16 low bytes and 16 high bytes, with kBy31 = 2^15 / 31.

void matmul_by_panels(const TernaryMatrix& w, const QuantizedBatch& x, float* out,
                      int64_t out_stride, int64_t begin, int64_t end,
                      uint8_t* scratch);  // panels.inl

struct LutPatterns {  // the weights that entry e of a table stands for, unused entries 0
  int16_t pairs[2][16] = {}, triples[3][16] = {};
  constexpr LutPatterns() {
    for (int e = 0; e < 9; ++e) {
      pairs[0][e] = static_cast<int16_t>(e / 3 - 1);
      pairs[1][e] = static_cast<int16_t>(e % 3 - 1);
    }
    for (int e = 0; e < 14; ++e) {
      triples[0][e] = static_cast<int16_t>((e + 13) / 9 - 1);
      triples[1][e] = static_cast<int16_t>((e + 13) / 3 % 3 - 1);
      triples[2][e] = static_cast<int16_t>((e + 13) % 3 - 1);
    }
  }
};
alignas(64) constexpr LutPatterns kLutPatterns;

// High is v / 31 rounded to nearest, as store_table computes it: (v * kBy31 + 2^14) / 2^15.
constexpr bool lut_fits() {
  for (int v = -381; v <= 381; ++v) {
    const int high = (v * kBy31 + 16384) >> 15, low = v - 31 * high;
    if (low < -15 || low > 15 || high < -15 || high > 15) return false;
  }
  return true;
}
static_assert(lut_fits(), "eight of 31 * high + low must fit bytes, negated or not");

void lut_tables(WeightLayout layout, const int8_t* q, int64_t stride, int64_t begin, int64_t end,
                uint8_t* tables) {
  if (layout == WeightLayout::kPairs) {
    const Pattern p0 = load_pattern(kLutPatterns.pairs[0]),
                  p1 = load_pattern(kLutPatterns.pairs[1]);
    for (int64_t i = 8 * begin; i < 8 * end; ++i) {
      store_table(tables + 32 * i, add_products(times(p0, q[2 * i]), times(p1, q[2 * i + 1])));
    }
    return;
  }
  const Pattern p0 = load_pattern(kLutPatterns.triples[0]),
                p1 = load_pattern(kLutPatterns.triples[1]),
                p2 = load_pattern(kLutPatterns.triples[2]);
  for (int64_t i = 8 * begin; i < 8 * end; ++i) {
    const int8_t* x = q + 3 * i;
    const int64_t n = stride - 3 * i;  // the last block may reach beyond the row
    const int8_t x0 = n > 0 ? x[0] : int8_t{0}, x1 = n > 1 ? x[1] : int8_t{0},
                 x2 = n > 2 ? x[2] : int8_t{0};
    const Pattern v01 = add_products(times(p0, x0), times(p1, x1));
    store_table(tables + 32 * i, add_products(v01, times(p2, x2)));
  }
}

// Running sums of kByteLanes rows: 16 bits for 256 blocks of 8 look-ups, biased by 128 per block.
struct LutSums {
  vw low_even, low_odd, high_even, high_odd;
};

constexpr int64_t kLutWiden = 256;  // 256 * 255 < 2^16

template <bool kIsTriples>
inline void lut_block(const uint8_t* w, const uint8_t* tables, LutSums& sums) {
  vb low = set1_vb(0x80), high = set1_vb(0x80);
  vb signs = low;
  if constexpr (kIsTriples) signs = load_vb(w + 4 * 32);
  each<4>([&](auto j) BITNET_INLINE {
    const vb packed = load_vb(w + 32 * j);
    __builtin_prefetch(w + 32 * j + kPrefetchBytes);
    each<2>([&](auto half) BITNET_INLINE {
      constexpr int i = 2 * j + half;
      const vb index = half == 0 ? high_nibble(packed) : low_nibble(packed);
      vb a = look_up(load_table(tables + 32 * i), index);
      vb b = look_up(load_table(tables + 32 * i + 16), index);
      if constexpr (kIsTriples) {
        const auto sign = sign_of<i>(signs);
        a = negate_if(a, sign);
        b = negate_if(b, sign);
      }
      low = add_vb(low, a);
      high = add_vb(high, b);
    });
  });
  sums.low_even = add_even(sums.low_even, low);
  sums.low_odd = add_odd(sums.low_odd, low);
  sums.high_even = add_even(sums.high_even, high);
  sums.high_odd = add_odd(sums.high_odd, high);
}

// acc[0, kByteLanes) += the sums of at most kLutWiden blocks.
inline void add_lut_sums(const LutSums& sums, int64_t n_blocks, int32_t* acc) {
  uint16_t part[4][kByteLanes / 2];
  store_vw(part[0], sums.low_even);
  store_vw(part[1], sums.low_odd);
  store_vw(part[2], sums.high_even);
  store_vw(part[3], sums.high_odd);
  const int32_t bias = static_cast<int32_t>(128 * n_blocks);
  for (int i = 0; i < kByteLanes / 2; ++i) {
    acc[2 * i] += 31 * (part[2][i] - bias) + part[0][i] - bias;
    acc[2 * i + 1] += 31 * (part[3][i] - bias) + part[1][i] - bias;
  }
}

// acc[r] = sum of weight * q for the 32 rows of a group.
template <bool kIsTriples>
void lut_group(const uint8_t* w, int64_t n_blocks, const uint8_t* tables, int32_t* acc) {
  constexpr int kBlockBytes = kIsTriples ? 5 * 32 : 4 * 32, kParts = 32 / kByteLanes;
  for (int r = 0; r < 32; ++r) acc[r] = 0;
  for (int64_t first = 0; first < n_blocks; first += kLutWiden) {
    const int64_t last = first + kLutWiden < n_blocks ? first + kLutWiden : n_blocks;
    LutSums sums[kParts];
    each<kParts>([&](auto p) BITNET_INLINE {
      sums[p].low_even = sums[p].low_odd = sums[p].high_even = sums[p].high_odd = zero_vw();
    });
    for (int64_t b = first; b < last; ++b) {
      each<kParts>([&](auto p) BITNET_INLINE {
        lut_block<kIsTriples>(w + b * kBlockBytes + p * kByteLanes, tables + b * 8 * 32, sums[p]);
      });
    }
    for (int p = 0; p < kParts; ++p) add_lut_sums(sums[p], last - first, acc + p * kByteLanes);
  }
}

void lut_matmul(const TernaryMatrix& w, const QuantizedBatch& x, float* out, int64_t out_stride,
                int64_t begin, int64_t end, uint8_t* scratch) {
  if (x.n_tokens > kFewTokens) {
    matmul_by_panels(w, x, out, out_stride, begin, end, scratch);
    return;
  }
  const bool triples = w.layout == WeightLayout::kTriples;
  const int64_t n_blocks = lut_blocks(w.layout, x.stride);
  for (int64_t row = begin; row < end; row = (row / 32 + 1) * 32) {
    const int64_t last = (row / 32 + 1) * 32 < end ? (row / 32 + 1) * 32 : end;
    const uint8_t* group = w.data + row / 32 * 32 * w.row_bytes;
    for (int64_t t = 0; t < x.n_tokens; ++t) {
      int32_t acc[32];
      const uint8_t* tables = x.tables + t * n_blocks * 8 * 32;
      triples ? lut_group<true>(group, n_blocks, tables, acc)
              : lut_group<false>(group, n_blocks, tables, acc);
      for (int64_t r = row; r < last; ++r) {
        const int32_t codes = acc[r % 32] + x.sum[t];
        out[t * out_stride + r] =
            finish_one(codes, x.sum[t], x.scale[t], w.row_scales ? w.row_scales[r] : w.scale);
      }
    }
  }
}
