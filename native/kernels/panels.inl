// Batches in the denser layouts: some rows at a time are brought to I2_S in scratch, for all tokens
// at once, and multiplied from there. The including file defines, in its unnamed namespace:
//   i2s_matmul: the ternary_matmul to use; kPairBlocks: see activation_index.

// One row of trits -> codes, a multiple of 320 of them.
void unpack_trits(const TernaryMatrix& w, int64_t row, int64_t stride, uint8_t* codes) {
  const uint8_t* packed = w.data + row * w.row_bytes;
  for (int64_t c = 0; c < stride; c += 320, packed += 64, codes += 320) {
    uint8_t fraction[64];
    __builtin_memcpy(fraction, packed, 64);
    for (int n = 0; n < 5; ++n) {
      for (int m = 0; m < 64; ++m) {
        const uint16_t tripled = static_cast<uint16_t>(3 * fraction[m]);
        codes[64 * n + m] = static_cast<uint8_t>(tripled >> 8);
        fraction[m] = static_cast<uint8_t>(tripled);
      }
    }
  }
}

// [byte] -> the codes of two nibbles 3 c0 + c1.
struct PairCodes {
  uint8_t codes[256][4] = {};
  constexpr PairCodes() {
    for (int byte = 0; byte < 256; ++byte) {
      for (int half = 0; half < 2; ++half) {
        const int nibble = half == 0 ? byte >> 4 : byte & 15;
        codes[byte][2 * half] = static_cast<uint8_t>(nibble / 3);
        codes[byte][2 * half + 1] = static_cast<uint8_t>(nibble % 3);
      }
    }
  }
};
constexpr PairCodes kCodesOfPairs;

// [sign << 4 | magnitude] -> the codes of a triple: of v = 9 t0 + 3 t1 + t2 with digits -1, 0 and
// 1, v + 13 is the number that they make in base 3. Magnitudes 14 and 15 do not occur; + 27 and the
// last % only keep their entries in bounds.
struct TripleCodes {
  uint8_t codes[32][4] = {};
  constexpr TripleCodes() {
    for (int i = 0; i < 32; ++i) {
      const int v = (i < 16 ? i : 16 - i) + 13;
      codes[i][0] = static_cast<uint8_t>(v / 9 % 3);
      codes[i][1] = static_cast<uint8_t>((v + 27) / 3 % 3);
      codes[i][2] = static_cast<uint8_t>((v + 27) % 3);
    }
  }
};
constexpr TripleCodes kCodesOfTriples;

void unpack_pairs(const TernaryMatrix& w, int64_t row, int64_t stride, uint8_t* codes) {
  const uint8_t* packed = w.data + row / 32 * 32 * w.row_bytes + row % 32;
  for (int64_t c = 0; c < stride; c += 4, packed += 32)
    __builtin_memcpy(codes + c, kCodesOfPairs.codes[*packed], 4);
}

// Writes up to 24 bytes beyond the stride. The fourth byte of a triple is written over by the next.
void unpack_triples(const TernaryMatrix& w, int64_t row, int64_t stride, uint8_t* codes) {
  const uint8_t* packed = w.data + row / 32 * 32 * w.row_bytes + row % 32;
  for (int64_t c = 0; c < stride; c += 24, packed += 5 * 32) {
    const unsigned signs = packed[4 * 32];  // bit 7 - i, moved to bit 4 of the index
    for (int i = 0; i < 8; ++i, codes += 3) {
      const unsigned byte = packed[i / 2 * 32], nibble = i % 2 ? byte & 15 : byte >> 4;
      __builtin_memcpy(codes, kCodesOfTriples.codes[(signs << i >> 3 & 16) | nibble], 4);
    }
  }
}

// Codes in the order of the activations -> I2_S, whose blocks of 128 codes may come in pairs.
void pack_codes(const uint8_t* codes, int64_t stride, uint8_t* out) {
  constexpr int kBytes = kPairBlocks ? 64 : 32;
  for (int64_t c = 0; c < stride; c += 4 * kBytes, codes += 4 * kBytes, out += kBytes) {
    for (int i = 0; i < kBytes; ++i) {
      out[i] = static_cast<uint8_t>(codes[i] << 6 | codes[kBytes + i] << 4 |
                                    codes[2 * kBytes + i] << 2 | codes[3 * kBytes + i]);
    }
  }
}

void matmul_by_panels(const TernaryMatrix& w, const QuantizedBatch& x, float* out,
                      int64_t out_stride, int64_t begin, int64_t end, uint8_t* scratch) {
  const auto unpack = w.layout == WeightLayout::kTrits   ? unpack_trits
                      : w.layout == WeightLayout::kPairs ? unpack_pairs
                                                         : unpack_triples;
  uint8_t* rows = scratch + kPanelScratch;
  const int64_t row_bytes = x.stride / 4, fit = kRepackScratch / row_bytes;
  // 96 rows are whole panels of every kernel.
  const int64_t panel = fit >= 96 ? 96 : fit >= 16 ? fit / 16 * 16 : fit;
  for (int64_t row = begin; row < end; row += panel) {
    const int64_t n = end - row < panel ? end - row : panel;
    for (int64_t r = 0; r < n; ++r) {
      unpack(w, row + r, x.stride, scratch);
      pack_codes(scratch, x.stride, rows + r * row_bytes);
    }
    TernaryMatrix part = w;
    part.layout = WeightLayout::kI2S;
    part.data = rows;
    part.rows = n;
    part.row_bytes = row_bytes;
    if (w.row_scales) part.row_scales = w.row_scales + row;
    i2s_matmul(part, x, out + row, out_stride, 0, n, scratch);
  }
}
