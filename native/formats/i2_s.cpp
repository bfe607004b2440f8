// I2_S: 2-bit codes of the whole tensor as one flat array, row after row, in blocks of 128 codes
// in 32 bytes; then one f32 scale for all, at byte rows * cols / 4, and 28 bytes without meaning.
// Element 32g + p of a block is in byte p, bits (7 - 2g, 6 - 2g). A row whose length is not a
// multiple of 128 begins and ends inside a block that it shares with its neighbour.
#include <algorithm>

#include "formats/layouts.h"

namespace bitnet {
namespace {

constexpr int64_t kBlock = 128;  // codes
constexpr int64_t kGroup = 32;   // codes at one shift; also bytes per block

// Returns a value with bit 0 set if there is a code 3.
inline uint8_t unpack_group(const uint8_t* bytes, int64_t n, int shift, uint8_t* codes) {
  uint8_t bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint8_t code = bytes[i] >> shift & 3;
    bad |= code & code >> 1;
    codes[i] = code;
  }
  return bad;
}

}  // namespace

float unpack_i2_s_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  if (tensor.rows * tensor.cols % kBlock != 0) {
    // The packer of bitnet.cpp drops the last, partial block: those weights are not in the file.
    throw Error(ErrorCode::kUnsupported, "I2_S tensor of " + std::to_string(tensor.rows) + " x " +
                                             std::to_string(tensor.cols) +
                                             ": rows * columns must be a multiple of 128");
  }
  uint8_t bad = 0;
  int64_t flat = row * tensor.cols;
  for (const int64_t end = flat + tensor.cols; flat < end;) {
    const int64_t first = flat % kGroup;
    const int64_t n = std::min(kGroup - first, end - flat);
    const uint8_t* bytes = tensor.data + flat / kBlock * kGroup + first;
    const int shift = static_cast<int>(6 - 2 * (flat % kBlock / kGroup));
    if (n == kGroup) {
      bad |= unpack_group(bytes, kGroup, shift, codes);  // a length known to the compiler: SIMD
    } else {
      bad |= unpack_group(bytes, n, shift, codes);
    }
    codes += n;
    flat += n;
  }
  if (bad != 0) fail_code("I2_S", row);
  return load_unaligned<float>(tensor.data + tensor.rows * tensor.cols / 4);
}

void pack_i2_s_row(const uint8_t* codes, int64_t cols, uint8_t* out) {
  uint8_t padded[kBlock];
  for (int64_t col = 0; col < cols; col += kBlock, out += kGroup) {
    const uint8_t* block = codes + col;
    if (cols - col < kBlock) {
      std::fill(std::copy(block, codes + cols, padded), padded + kBlock, uint8_t{1});
      block = padded;
    }
    for (int64_t p = 0; p < kGroup; ++p) {
      out[p] = static_cast<uint8_t>(block[p] << 6 | block[p + kGroup] << 4 |
                                    block[p + 2 * kGroup] << 2 | block[p + 3 * kGroup]);
    }
  }
}

}  // namespace bitnet
