// TQ1_0 and TQ2_0 of llama.cpp: blocks of 256 weights, each with its own f16 scale at its end.
// A BitNet tensor has one scale, so all blocks of a row must agree; a block of zeros has scale 0.
//
// TQ2_0, 66 bytes: 64 bytes of codes, two halves of 128 codes in 32 bytes; element 32n + m of a
// half is in byte m, bits (2n + 1, 2n).
// TQ1_0, 54 bytes: five codes (trits) per byte, the first the most significant, stored as the
// fraction ceil(256 idx / 243) so that multiplying by 3 brings one trit after the other into the
// top. Bytes 0-31: element 32n + m is trit n of byte m; bytes 32-47: element 160 + 16n + m; bytes
// 48-51 with four trits only: element 240 + 4n + m.
#include <algorithm>
#include <cmath>

#include "formats/dequantize.h"
#include "formats/layouts.h"

namespace bitnet {
namespace {

constexpr int kBlock = 256;
constexpr int kTq1Bytes = 54, kTq2Bytes = 66;

// n_trits trits of n_bytes bytes: trit n of byte m becomes codes[n_bytes * n + m].
template <int n_bytes, int n_trits>
void unpack_trits(const uint8_t* bytes, uint8_t* codes) {
  uint8_t fraction[n_bytes];
  std::memcpy(fraction, bytes, n_bytes);
  for (int n = 0; n < n_trits; ++n, codes += n_bytes) {
    for (int m = 0; m < n_bytes; ++m) {
      const uint32_t tripled = 3u * fraction[m];
      codes[m] = static_cast<uint8_t>(tripled >> 8);
      fraction[m] = static_cast<uint8_t>(tripled);
    }
  }
}

void unpack_tq1_0_block(const uint8_t* block, uint8_t* codes) {
  unpack_trits<32, 5>(block, codes);
  unpack_trits<16, 5>(block + 32, codes + 160);
  unpack_trits<4, 4>(block + 48, codes + 240);
}

// Returns a value with bit 0 set if there is a code 3.
uint8_t unpack_tq2_0_block(const uint8_t* block, uint8_t* codes) {
  uint8_t bad = 0;
  for (int half = 0; half < 2; ++half) {
    for (int n = 0; n < 4; ++n, codes += 32) {
      for (int m = 0; m < 32; ++m) {
        const uint8_t code = block[32 * half + m] >> 2 * n & 3;
        bad |= code & code >> 1;
        codes[m] = code;
      }
    }
  }
  return bad;
}

// Keeps the one scale of a row. Returns false for a block of zeros.
bool merge_scale(const TernaryTensor& tensor, int64_t row, const uint8_t* stored, float& scale) {
  const float block_scale = f16_to_f32(load_unaligned<uint16_t>(stored));
  if (block_scale == 0) return false;
  if (scale != 0 && block_scale != scale && !std::isnan(block_scale)) {
    throw Error(ErrorCode::kUnsupported,
                std::string(tensor_type_name(tensor.type)) + " row " + std::to_string(row) +
                    " has blocks of different scales: this is not a BitNet b1.58 tensor");
  }
  scale = block_scale;
  return true;
}

void pack_tq1_0_block(const uint8_t* codes, uint8_t* block) {
  for (int m = 0; m < 32; ++m) block[m] = pack_trits(codes + m, 32, 5);
  for (int m = 0; m < 16; ++m) block[32 + m] = pack_trits(codes + 160 + m, 16, 5);
  for (int m = 0; m < 4; ++m) block[48 + m] = pack_trits(codes + 240 + m, 4, 4);
}

void pack_tq2_0_block(const uint8_t* codes, uint8_t* block) {
  for (int half = 0; half < 2; ++half, codes += 128, block += 32) {
    for (int m = 0; m < 32; ++m) {
      block[m] = static_cast<uint8_t>(codes[m] | codes[32 + m] << 2 | codes[64 + m] << 4 |
                                      codes[96 + m] << 6);
    }
  }
}

// block_bytes per block, with the scale in its last two; a block of zero weights has scale 0.
template <class PackBlock>
void pack_blocks(const PackRange& range, int block_bytes, PackBlock&& pack_block) {
  const uint16_t scale = f16_scale(range.out.type, range.scale);
  const int64_t n_blocks = (range.end - range.begin) * (range.out.cols / kBlock);
  const uint8_t* codes = range.codes;
  uint8_t* block = range.data + range.begin * (range.out.cols / kBlock) * block_bytes;
  for (int64_t i = 0; i < n_blocks; ++i, codes += kBlock, block += block_bytes) {
    pack_block(codes, block);
    const bool zero = std::all_of(codes, codes + kBlock, [](uint8_t code) { return code == 1; });
    store_unaligned(block + block_bytes - 2, zero ? uint16_t{0} : scale);
  }
}

float unpack_tq1_0_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  const uint8_t* block = tensor.data + row * (tensor.cols / kBlock) * kTq1Bytes;
  float scale = 0;
  for (int64_t col = 0; col < tensor.cols; col += kBlock, block += kTq1Bytes, codes += kBlock) {
    if (merge_scale(tensor, row, block + kTq1Bytes - 2, scale)) {
      unpack_tq1_0_block(block, codes);
    } else {
      std::memset(codes, 1, kBlock);
    }
  }
  return scale;
}

float unpack_tq2_0_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  const uint8_t* block = tensor.data + row * (tensor.cols / kBlock) * kTq2Bytes;
  float scale = 0;
  uint8_t bad = 0;
  for (int64_t col = 0; col < tensor.cols; col += kBlock, block += kTq2Bytes, codes += kBlock) {
    if (merge_scale(tensor, row, block + kTq2Bytes - 2, scale)) {
      bad |= unpack_tq2_0_block(block, codes);
    } else {
      std::memset(codes, 1, kBlock);
    }
  }
  if (bad != 0) fail_code("TQ2_0", row);
  return scale;
}

void pack_tq1_0_rows(const PackRange& range) { pack_blocks(range, kTq1Bytes, pack_tq1_0_block); }

void pack_tq2_0_rows(const PackRange& range) { pack_blocks(range, kTq2Bytes, pack_tq2_0_block); }

constexpr TernaryFormat kTq1{.unpack_row = unpack_tq1_0_row, .pack_rows = pack_tq1_0_rows};
constexpr TernaryFormat kTq2{.unpack_row = unpack_tq2_0_row, .pack_rows = pack_tq2_0_rows};

}  // namespace

extern constinit const Format kTq1Format{
    .type = TensorType::kTQ1_0,
    .name = "TQ1_0",
    .block_elems = kBlock,
    .block_bytes = kTq1Bytes,
    .ternary = &kTq1,
    .file_type = 36,
};

extern constinit const Format kTq2Format{
    .type = TensorType::kTQ2_0,
    .name = "TQ2_0",
    .block_elems = kBlock,
    .block_bytes = kTq2Bytes,
    .ternary = &kTq2,
    .file_type = 37,
};

}  // namespace bitnet
