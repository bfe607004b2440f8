// I2_S: 2-bit codes of the whole tensor as one flat array, row after row, in blocks of 128 codes
// in 32 bytes; then one f32 scale for all, at byte rows * cols / 4, and 28 bytes without meaning.
// Element 32g + p of a block is in byte p, bits (7 - 2g, 6 - 2g). A row whose length is not a
// multiple of 128 begins and ends inside a block that it shares with its neighbour.
//
// Layouts that are only read, with the same size and scale:
//   kArm64       blocks of 64 codes in 16 bytes: element 16g + p is in byte p, bits as above
//   kRowGroup    [rows / 4][cols] bytes: row 4i + g is in bits (7 - 2g, 6 - 2g)
//   kSequential  flat element i is in byte i / 4, g = i % 4
#include <algorithm>
#include <numeric>

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

// Elements [flat, end) of blocks of 4 * group codes in `group` bytes.
template <int64_t group>
uint8_t unpack_interleaved(const uint8_t* data, int64_t flat, int64_t end, uint8_t* codes) {
  uint8_t bad = 0;
  while (flat < end) {
    const int64_t first = flat % group;
    const int64_t n = std::min(group - first, end - flat);
    const uint8_t* bytes = data + flat / (4 * group) * group + first;
    const int shift = static_cast<int>(6 - 2 * (flat % (4 * group) / group));
    if (n == group) {
      bad |= unpack_group(bytes, group, shift, codes);  // a length known to the compiler: SIMD
    } else {
      bad |= unpack_group(bytes, n, shift, codes);
    }
    codes += n;
    flat += n;
  }
  return bad;
}

// The packers drop a last, partial block (a partial group of rows): those weights are not in the
// file.
void need_whole_blocks(const TernaryTensor& tensor) {
  const int64_t n = tensor.rows * tensor.cols;
  const char* problem = nullptr;
  switch (tensor.i2s) {
    case I2SLayout::kCanonical:
      if (n % kBlock != 0) problem = "rows * columns must be a multiple of 128";
      break;
    case I2SLayout::kArm64:
      if (n % 64 != 0) problem = "rows * columns must be a multiple of 64 in the ARM layout";
      break;
    case I2SLayout::kRowGroup:
      if (tensor.rows % 4 != 0) problem = "rows must be a multiple of 4 in the row-group layout";
      break;
    case I2SLayout::kSequential:  // a size that tensor_bytes() knows is a multiple of 4
      break;
  }
  if (problem == nullptr) return;
  throw Error(ErrorCode::kUnsupported, "I2_S tensor of " + std::to_string(tensor.rows) + " x " +
                                           std::to_string(tensor.cols) + ": " + problem);
}

uint8_t unpack_sequential(const uint8_t* data, int64_t flat, int64_t end, uint8_t* codes) {
  uint8_t bad = 0;
  for (; flat < end; ++flat) {
    bad |= unpack_group(data + flat / 4, 1, static_cast<int>(6 - 2 * (flat % 4)), codes++);
  }
  return bad;
}

float unpack_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  need_whole_blocks(tensor);
  const int64_t flat = row * tensor.cols, end = flat + tensor.cols;
  uint8_t bad = 0;
  switch (tensor.i2s) {
    case I2SLayout::kCanonical:
      bad = unpack_interleaved<kGroup>(tensor.data, flat, end, codes);
      break;
    case I2SLayout::kArm64:
      bad = unpack_interleaved<16>(tensor.data, flat, end, codes);
      break;
    case I2SLayout::kRowGroup:
      bad = unpack_group(tensor.data + row / 4 * tensor.cols, tensor.cols,
                         static_cast<int>(6 - 2 * (row % 4)), codes);
      break;
    case I2SLayout::kSequential:
      bad = unpack_sequential(tensor.data, flat, end, codes);
      break;
  }
  if (bad != 0) fail_code("I2_S", row);
  return load_unaligned<float>(tensor.data + tensor.rows * tensor.cols / 4);
}

void pack_rows(const PackRange& range) {
  const int64_t cols = range.out.cols;  // the range begins and ends between blocks
  pack_i2_s_row(range.codes, (range.end - range.begin) * cols, range.data + range.begin * cols / 4);
}

std::optional<uint64_t> n_bytes(uint64_t cols, uint64_t rows) {
  if (cols * rows % 4 != 0) return std::nullopt;
  return cols * rows / 4 + kScaleTail;
}

// The partial block at the end would reach into the scale, and other programs drop it.
const char* shape_problem(int64_t rows, int64_t cols) {
  return rows * cols % kBlock != 0 ? "rows * columns must be a multiple of 128" : nullptr;
}

constexpr TernaryFormat kTernary{
    .unpack_row = unpack_row,
    .pack_rows = pack_rows,
    .scale = ScalePlace::kTail,
    .packed_bytes = [](const TernaryLayout& out) { return out.rows * out.cols / 4; },
    .granularity = [](int64_t cols) { return kBlock / std::gcd(cols, kBlock); },
    .shape_problem = shape_problem,
};

}  // namespace

extern constinit const Format kI2SFormat{
    .type = TensorType::kI2_S,
    .name = "I2_S",
    .block_elems = 1,
    .block_bytes = 0,
    .n_bytes = n_bytes,
    .ternary = &kTernary,
    .file_type = 40,
};

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
