// Q4_0, Q4_1, Q5_0 and Q5_1 of ggml: blocks of 32 elements that begin with their f16 scale d.
//   Q4_0 (18 bytes): d, 16 bytes; low nibbles are elements 0-15, high nibbles 16-31; (q - 8) d
//   Q4_1 (20): d, f16 m, 16 bytes; q d + m
//   Q5_0 (22): d, u32 with the fifth bit of each element, 16 bytes; (q - 16) d
//   Q5_1 (24): d, m, u32, 16 bytes; q d + m
#include "formats/block.h"

namespace bitnet {
namespace {

// Q4 and Q5, symmetric (offset, no minimum) and not.
template <bool kFive, bool kMinimum>
void dequantize_block(const uint8_t* block, float* out) {
  constexpr int kHeader = kMinimum ? 4 : 2;
  constexpr int kOffset = kMinimum ? 0 : kFive ? 16 : 8;
  const float d = load_f16(block);
  const float m = kMinimum ? load_f16(block + 2) : 0.0f;
  const uint32_t fifth = kFive ? load_unaligned<uint32_t>(block + kHeader) : 0;
  const uint8_t* q = block + kHeader + (kFive ? 4 : 0);
  for (int j = 0; j < 16; ++j) {
    const int low = (q[j] & 15) | (kFive ? static_cast<int>(fifth >> j & 1) << 4 : 0);
    const int high = q[j] >> 4 | (kFive ? static_cast<int>(fifth >> (j + 16) & 1) << 4 : 0);
    out[j] = static_cast<float>(low - kOffset) * d + m;
    out[j + 16] = static_cast<float>(high - kOffset) * d + m;
  }
}

// Q4_0 (kLevels 16) and Q5_0 (32): the value of largest magnitude becomes the lowest level, so one
// end of the range is used in full; the opposite end is clipped.
template <TensorType kType, int kLevels>
void quantize_block(const float* x, uint8_t* block) {
  constexpr int kHalf = kLevels / 2;
  const float d = extreme(x, 32) / -kHalf;
  const float inverse = inverse_of(d);
  store_scale(kType, block, d);
  uint8_t* const nibbles = block + (kLevels == 32 ? 6 : 2);
  uint32_t fifth = 0;
  const auto level = [&](float v) {
    return static_cast<uint32_t>(
        std::min(kLevels - 1, static_cast<int>(v * inverse + (kHalf + 0.5f))));
  };
  for (int j = 0; j < 16; ++j) {
    const uint32_t low = level(x[j]), high = level(x[j + 16]);
    nibbles[j] = static_cast<uint8_t>((low & 15) | (high & 15) << 4);
    fifth |= (low >> 4) << j | (high >> 4) << (j + 16);
  }
  if (kLevels == 32) store_unaligned(block + 2, fifth);
}

}  // namespace

extern constinit const Format kQ4_0Format{
    .type = TensorType::kQ4_0,
    .name = "Q4_0",
    .block_elems = 32,
    .block_bytes = 18,
    .dequantize = dequantize_blocks<32, 18, dequantize_block<false, false>>,
    .quantize = quantize_blocks<32, 18, quantize_block<TensorType::kQ4_0, 16>>,
    .is_finite = finite_blocks<32, 18, 0>,
    .matmul = Matmul::kIntegers,
    .substitute = TensorType::kF16,
};

extern constinit const Format kQ4_1Format{
    .type = TensorType::kQ4_1,
    .name = "Q4_1",
    .block_elems = 32,
    .block_bytes = 20,
    .dequantize = dequantize_blocks<32, 20, dequantize_block<false, true>>,
    .is_finite = finite_blocks<32, 20, 0, 2>,
};

extern constinit const Format kQ5_0Format{
    .type = TensorType::kQ5_0,
    .name = "Q5_0",
    .block_elems = 32,
    .block_bytes = 22,
    .dequantize = dequantize_blocks<32, 22, dequantize_block<true, false>>,
    .quantize = quantize_blocks<32, 22, quantize_block<TensorType::kQ5_0, 32>>,
    .is_finite = finite_blocks<32, 22, 0>,
    .matmul = Matmul::kIntegers,
    .substitute = TensorType::kF16,
};

extern constinit const Format kQ5_1Format{
    .type = TensorType::kQ5_1,
    .name = "Q5_1",
    .block_elems = 32,
    .block_bytes = 24,
    .dequantize = dequantize_blocks<32, 24, dequantize_block<true, true>>,
    .is_finite = finite_blocks<32, 24, 0, 2>,
};

}  // namespace bitnet
