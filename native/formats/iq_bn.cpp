// IQ2_BN and IQ1_BN of ik_llama.cpp: every row begins with its own scale, then blocks of 64 codes.
//
// IQ2_BN: f32 scale, blocks of 16 bytes: element 16n + j is in byte j, bits (2n + 1, 2n).
// IQ1_BN: f16 scale, blocks of 13 bytes: five codes (trits) per byte, the first the least
// significant, stored as ceil(256 idx / 243). Elements 16i + 5k + j (k < 3, j < 5) are trit j of
// byte 3i + k; element 16i + 15 is trit i of byte 12.
#include "formats/dequantize.h"
#include "formats/layouts.h"

namespace bitnet {
namespace {

constexpr int kBlock = 64;
constexpr int kIq1Scale = 2, kIq1Bytes = 13;  // of a row; of a block
constexpr int kIq2Scale = 4, kIq2Bytes = 16;

template <int kScale, int kBytes, class Int>
constexpr Int row_bytes(Int cols) {
  return kScale + cols / kBlock * kBytes;
}

constexpr auto kTrits = [] {
  std::array<std::array<uint8_t, 5>, 256> table{};
  for (int byte = 0; byte < 256; ++byte) {
    int power = 81;  // moves the wanted trit to the top of the fraction
    for (int j = 0; j < 5; ++j, power /= 3) {
      table[byte][j] = static_cast<uint8_t>((byte * power & 255) * 3 >> 8);
    }
  }
  return table;
}();

// As pack_trits(), but the first code is the least significant digit.
uint8_t pack_trits_up(const uint8_t* codes, int step, int n_trits) {
  uint8_t five[5] = {};
  for (int n = 0; n < n_trits; ++n) five[4 - n] = codes[n * step];
  return pack_trits(five, 1, 5);
}

float unpack_iq2_bn_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  const uint8_t* start = tensor.data + row * row_bytes<kIq2Scale, kIq2Bytes>(tensor.cols);
  const uint8_t* block = start + kIq2Scale;
  uint8_t bad = 0;
  for (int64_t col = 0; col < tensor.cols; col += kBlock, block += kIq2Bytes) {
    for (int n = 0; n < 4; ++n, codes += 16) {
      for (int j = 0; j < 16; ++j) {
        const uint8_t code = block[j] >> 2 * n & 3;
        bad |= code & code >> 1;
        codes[j] = code;
      }
    }
  }
  if (bad != 0) fail_code("IQ2_BN", row);
  return load_unaligned<float>(start);
}

float unpack_iq1_bn_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  const uint8_t* start = tensor.data + row * row_bytes<kIq1Scale, kIq1Bytes>(tensor.cols);
  const uint8_t* block = start + kIq1Scale;
  for (int64_t col = 0; col < tensor.cols; col += kBlock, block += kIq1Bytes) {
    for (int i = 0; i < 4; ++i, codes += 16) {
      for (int k = 0; k < 3; ++k) std::memcpy(codes + 5 * k, kTrits[block[3 * i + k]].data(), 5);
      codes[15] = kTrits[block[12]][i];
    }
  }
  return f16_to_f32(load_unaligned<uint16_t>(start));
}

void pack_iq2_bn_rows(const PackRange& range) {
  const int64_t cols = range.out.cols;
  uint8_t* out = range.data + range.begin * row_bytes<kIq2Scale, kIq2Bytes>(cols);
  for (int64_t r = range.begin; r < range.end; ++r) {
    store_unaligned(out, range.scale);
    out += kIq2Scale;
    const uint8_t* end = range.row(r) + cols;
    for (const uint8_t* codes = end - cols; codes < end; codes += kBlock, out += kIq2Bytes) {
      for (int j = 0; j < 16; ++j) {
        out[j] = static_cast<uint8_t>(codes[j] | codes[16 + j] << 2 | codes[32 + j] << 4 |
                                      codes[48 + j] << 6);
      }
    }
  }
}

void pack_iq1_bn_rows(const PackRange& range) {
  const uint16_t scale = f16_scale(range.out.type, range.scale);
  const int64_t cols = range.out.cols;
  uint8_t* out = range.data + range.begin * row_bytes<kIq1Scale, kIq1Bytes>(cols);
  for (int64_t r = range.begin; r < range.end; ++r) {
    store_unaligned(out, scale);
    out += kIq1Scale;
    const uint8_t* end = range.row(r) + cols;
    for (const uint8_t* codes = end - cols; codes < end; codes += kBlock, out += kIq1Bytes) {
      out[12] = pack_trits_up(codes + 15, 16, 4);
      for (int i = 0; i < 12; ++i) out[i] = pack_trits_up(codes + i / 3 * 16 + i % 3 * 5, 1, 5);
    }
  }
}

template <int kScale, int kBytes>
std::optional<uint64_t> n_bytes(uint64_t cols, uint64_t rows) {
  return row_bytes<kScale, kBytes>(cols) * rows;
}

constexpr TernaryFormat kIq1{.unpack_row = unpack_iq1_bn_row, .pack_rows = pack_iq1_bn_rows};
constexpr TernaryFormat kIq2{
    .unpack_row = unpack_iq2_bn_row, .pack_rows = pack_iq2_bn_rows, .scale = ScalePlace::kRowF32};

}  // namespace

extern constinit const Format kIq1BnFormat{
    .type = TensorType::kIQ1_BN,
    .name = "IQ1_BN",
    .block_elems = kBlock,
    .block_bytes = 0,
    .n_bytes = n_bytes<kIq1Scale, kIq1Bytes>,
    .ternary = &kIq1,
    .file_type = 136,
};

extern constinit const Format kIq2BnFormat{
    .type = TensorType::kIQ2_BN,
    .name = "IQ2_BN",
    .block_elems = kBlock,
    .block_bytes = 0,
    .n_bytes = n_bytes<kIq2Scale, kIq2Bytes>,
    .ternary = &kIq2,
    .file_type = 137,
};

}  // namespace bitnet
