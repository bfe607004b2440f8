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

}  // namespace

float unpack_iq2_bn_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  const uint8_t* start = tensor.data + row * (4 + tensor.cols / kBlock * 16);
  const uint8_t* block = start + 4;
  uint8_t bad = 0;
  for (int64_t col = 0; col < tensor.cols; col += kBlock, block += 16) {
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
  const uint8_t* start = tensor.data + row * (2 + tensor.cols / kBlock * 13);
  const uint8_t* block = start + 2;
  for (int64_t col = 0; col < tensor.cols; col += kBlock, block += 13) {
    for (int i = 0; i < 4; ++i, codes += 16) {
      for (int k = 0; k < 3; ++k) std::memcpy(codes + 5 * k, kTrits[block[3 * i + k]].data(), 5);
      codes[15] = kTrits[block[12]][i];
    }
  }
  return f16_to_f32(load_unaligned<uint16_t>(start));
}

}  // namespace bitnet
