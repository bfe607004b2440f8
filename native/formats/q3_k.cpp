// Q3_K of ggml: blocks of 256 elements in 110 bytes: 32 bytes of upper bits, 64 bytes of lower bit
// pairs, 16 scales of 6 bits, f16 d.
#include <cstring>

#include "formats/block.h"

namespace bitnet {
namespace {

// Element i has its upper bit in byte i % 32, bit i / 32, and its lower two in byte i % 32 of its
// half of 128, at bit 2 (i % 128 / 32). Scale g, of elements 16g to 16g + 15, has its lower four
// bits in byte g % 8, low nibble for g < 8, its upper two in byte 8 + g % 4 at bit 2 (g / 4).
void dequantize_block(const uint8_t* block, float* out) {
  const uint8_t* sc = block + 96;
  const float d = load_f16(block + 108);
  for (int g = 0; g < 16; ++g) {
    const int low = sc[g % 8] >> (g < 8 ? 0 : 4) & 15;
    const int scale = (low | (sc[8 + g % 4] >> 2 * (g / 4) & 3) << 4) - 32;
    const float step = d * static_cast<float>(scale);
    for (int i = 16 * g; i < 16 * (g + 1); ++i) {
      const int pair = block[32 + i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3;
      const int q = (pair | (block[i % 32] >> i / 32 & 1) << 2) - 4;
      out[i] = step * static_cast<float>(q);
    }
  }
}

// Levels [-4, 3] for 16 values and their scale: starts from the levels that map the largest value
// to -4, then moves single levels to where the other 15 want them, while that makes the weighted
// fit by squared error weighted by x^2 better, at most five times over.
float refine_levels(const float* x, int8_t* levels) {
  constexpr int kN = 16, kLimit = 4;
  const auto level = [](float v) { return std::clamp(round_half_even(v), -kLimit, kLimit - 1); };
  const float largest = extreme(x, kN);
  if (std::fabs(largest) < kTiny) {
    std::fill_n(levels, kN, int8_t{-kLimit});
    return 0;
  }
  const float inverse = -kLimit / largest;
  float sum_xl = 0, sum_ll = 0;
  const auto xl = [x](int i, int l) { return x[i] * x[i] * x[i] * static_cast<float>(l); };
  const auto ll = [x](int i, int l) {
    return x[i] * x[i] * static_cast<float>(l) * static_cast<float>(l);
  };
  for (int i = 0; i < kN; ++i) {
    levels[i] = static_cast<int8_t>(level(inverse * x[i]));
    sum_xl += xl(i, levels[i]);
    sum_ll += ll(i, levels[i]);
  }
  bool changed = true;
  for (int round = 0; round < 5 && changed; ++round) {
    changed = false;
    for (int i = 0; i < kN; ++i) {
      float new_xl = sum_xl - xl(i, levels[i]);
      if (!(new_xl > 0)) continue;
      float new_ll = sum_ll - ll(i, levels[i]);
      const int l = level(x[i] * new_ll / new_xl);
      if (l == levels[i]) continue;
      new_xl += xl(i, l);
      new_ll += ll(i, l);
      if (!(new_ll > 0 && new_xl * new_xl * sum_ll > sum_xl * sum_xl * new_ll)) continue;
      levels[i] = static_cast<int8_t>(l);
      sum_xl = new_xl;
      sum_ll = new_ll;
      changed = true;
    }
  }
  return sum_ll > 0 ? sum_xl / sum_ll : 0.0f;
}

// 16 groups of 16 values, each with a 6-bit scale, -32..31 in units of d, stored with 32 added.
void quantize_block(const float* x, uint8_t* block) {
  int8_t levels[256];
  float scales[16];
  for (int g = 0; g < 16; ++g) scales[g] = refine_levels(x + 16 * g, levels + 16 * g);
  const float largest = extreme_scale(TensorType::kQ3_K, scales, 16);
  std::memset(block, 0, 110);
  const float inverse = largest != 0 ? -32.0f / largest : 0.0f;
  store_scale(TensorType::kQ3_K, block + 108, largest != 0 ? 1 / inverse : 0.0f);
  const float d = f16_to_f32(load_unaligned<uint16_t>(block + 108));
  for (int g = 0; g < 16; ++g) {
    int scale = std::clamp(round_half_even(inverse * scales[g]), -32, 31);
    if (largest == 0) scale = -32;  // all bits 0, as the reference leaves them
    const int stored = scale + 32;
    block[96 + g % 8] |= static_cast<uint8_t>((stored & 15) << (g < 8 ? 0 : 4));
    block[104 + g % 4] |= static_cast<uint8_t>(stored >> 4 << 2 * (g / 4));
    const float step = d * static_cast<float>(scale);
    for (int i = 16 * g; i < 16 * (g + 1); ++i) {
      if (step != 0)
        levels[i] = static_cast<int8_t>(std::clamp(round_half_even(x[i] / step), -4, 3));
      const int q = levels[i] + 4;
      block[i % 32] |= static_cast<uint8_t>(q >> 2 << i / 32);
      block[32 + i / 128 * 32 + i % 32] |= static_cast<uint8_t>((q & 3) << 2 * (i % 128 / 32));
    }
  }
}

}  // namespace

extern constinit const Format kQ3KFormat{
    .type = TensorType::kQ3_K,
    .name = "Q3_K",
    .block_elems = 256,
    .block_bytes = 110,
    .dequantize = dequantize_blocks<256, 110, dequantize_block>,
    .quantize = quantize_blocks<256, 110, quantize_block>,
    .is_finite = finite_blocks<256, 110, 108>,
    .substitute = TensorType::kQ4_0,
};

}  // namespace bitnet
