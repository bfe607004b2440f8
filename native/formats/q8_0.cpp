// Q8_0 of ggml: blocks of 32 elements in 34 bytes, an f16 scale d and 32 int8; q d.
#include "formats/block.h"

namespace bitnet {
namespace {

void dequantize_block(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  for (int j = 0; j < 32; ++j) out[j] = static_cast<float>(static_cast<int8_t>(block[2 + j])) * d;
}

// Half away from zero, as floats, which compilers vectorize; |v| < 2^22.
float rounded_away(float v) {
  const float even = rounded_half_even(v);  // of two equally near ones, not always that away from 0
  const float away = std::copysign(1.0f, v);
  return v - even == 0.5f * away ? even + away : even;
}

void quantize_block(const float* x, uint8_t* block) {
  const float d = largest_magnitude(x, 32) / 127;
  const float inverse = inverse_of(d);
  store_scale(TensorType::kQ8_0, block, d);
  for (int j = 0; j < 32; ++j) {
    block[2 + j] = static_cast<uint8_t>(static_cast<int8_t>(rounded_away(x[j] * inverse)));
  }
}

}  // namespace

extern constinit const Format kQ8_0Format{
    .type = TensorType::kQ8_0,
    .name = "Q8_0",
    .block_elems = 32,
    .block_bytes = 34,
    .dequantize = dequantize_blocks<32, 34, dequantize_block>,
    .quantize = quantize_blocks<32, 34, quantize_block>,
    .is_finite = finite_blocks<32, 34, 0>,
    .matmul = Matmul::kIntegers,
    .substitute = TensorType::kF16,
};

}  // namespace bitnet
