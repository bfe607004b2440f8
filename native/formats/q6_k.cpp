// Q6_K of ggml: blocks of 256 elements in 210 bytes: 128 bytes of low nibbles, 64 bytes of upper
// bit pairs, 16 int8 scales, f16 d.
#include <cstring>

#include "formats/block.h"

namespace bitnet {
namespace {

// Two halves of 128 elements. Element 32s + l of a half (s = 0..3) has its low nibble in
// ql[32 (s & 1) + l], low half of the byte for s < 2, its upper bits in qh[l] at bit 2s, and the
// scale sc[2s + l / 16].
void dequantize_block(const uint8_t* block, float* out) {
  const float d = load_f16(block + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* ql = block + 64 * half;
    const uint8_t* qh = block + 128 + 32 * half;
    const uint8_t* sc = block + 192 + 8 * half;
    for (int s = 0; s < 4; ++s, out += 32) {
      for (int l = 0; l < 32; ++l) {
        const int low = ql[32 * (s & 1) + l] >> (s < 2 ? 0 : 4) & 15;
        const int q = (low | (qh[l] >> 2 * s & 3) << 4) - 32;
        const float scale = d * static_cast<float>(static_cast<int8_t>(sc[2 * s + l / 16]));
        out[l] = scale * static_cast<float>(q);
      }
    }
  }
}

// Levels [-32, 31] for 16 values and the scale for them: the best, by squared error weighted by
// x^2, of 19 scales around the one that maps the largest value to -32. For given levels l the best
// scale is sum(w x l) / sum(w l l), and the error it leaves falls with sum(w x l)^2 / sum(w l l).
float fit_levels(const float* x, int8_t* levels) {
  constexpr int kN = 16, kAttempts = 19;
  const float largest = extreme(x, kN);
  if (std::fabs(largest) < kTiny) {
    std::fill_n(levels, kN, int8_t{-32});  // what the reference leaves there, under a scale of 0
    return 0;
  }
  float inverse[kAttempts] = {-32.0f / largest};  // the first wins ties, then -9, -8, ... 9
  for (int a = 1, step = -9; a < kAttempts; ++a, ++step) {
    if (step == 0) ++step;
    inverse[a] = -(32.0f + 0.1f * static_cast<float>(step)) / largest;
  }
  const auto level = [](float v) {
    return std::min(31.0f, std::max(-32.0f, rounded_half_even(v)));
  };
  float sum_xl[kAttempts] = {}, sum_ll[kAttempts] = {};
  for (int i = 0; i < kN; ++i) {
    const float w = x[i] * x[i], wx = w * x[i];
    for (int a = 0; a < kAttempts; ++a) {  // SIMD over attempts: each sum keeps its order
      const float l = level(inverse[a] * x[i]);
      sum_xl[a] += wx * l;
      sum_ll[a] += w * l * l;
    }
  }
  int chosen = 0;
  float scale = sum_ll[0] != 0 ? sum_xl[0] / sum_ll[0] : 0.0f;
  for (int a = 1; a < kAttempts; ++a) {
    const float best = scale * sum_xl[chosen];
    if (!(sum_ll[a] > 0 && sum_xl[a] * sum_xl[a] > best * sum_ll[a])) continue;
    chosen = a;
    scale = sum_xl[a] / sum_ll[a];
  }
  for (int i = 0; i < kN; ++i) levels[i] = static_cast<int8_t>(level(inverse[chosen] * x[i]));
  return scale;
}

// Lays out 256 levels of 0..63.
void store_levels(const int8_t* levels, uint8_t* block) {
  for (int half = 0; half < 2; ++half, levels += 128) {
    uint8_t* ql = block + 64 * half;
    uint8_t* qh = block + 128 + 32 * half;
    for (int l = 0; l < 32; ++l) {
      const int a = levels[l], b = levels[l + 32], c = levels[l + 64], d = levels[l + 96];
      ql[l] = static_cast<uint8_t>((a & 15) | (c & 15) << 4);
      ql[l + 32] = static_cast<uint8_t>((b & 15) | (d & 15) << 4);
      qh[l] = static_cast<uint8_t>(a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6);
    }
  }
}

// 16 groups of 16 values, each with an int8 scale in units of d.
void quantize_block(const float* x, uint8_t* block) {
  int8_t levels[256];
  float scales[16];
  for (int g = 0; g < 16; ++g) scales[g] = fit_levels(x + 16 * g, levels + 16 * g);
  const float largest = extreme_scale(TensorType::kQ6_K, scales, 16);
  if (std::fabs(largest) < kTiny) {
    std::memset(block, 0, 210);
    return;
  }
  const float inverse = -128.0f / largest;
  store_scale(TensorType::kQ6_K, block + 208, 1 / inverse);
  const float d = f16_to_f32(load_unaligned<uint16_t>(block + 208));
  for (int g = 0; g < 16; ++g) {
    const int scale = std::min(127, round_half_even(inverse * scales[g]));
    block[192 + g] = static_cast<uint8_t>(scale);
    // Once more for the rounded scale; where it is 0 the levels of the fit stay.
    const float step = d * static_cast<float>(scale);
    for (int i = 16 * g; i < 16 * (g + 1); ++i) {
      if (step != 0)
        levels[i] = static_cast<int8_t>(std::clamp(round_half_even(x[i] / step), -32, 31));
      levels[i] = static_cast<int8_t>(levels[i] + 32);
    }
  }
  store_levels(levels, block);
}

}  // namespace

extern constinit const Format kQ6KFormat{
    .type = TensorType::kQ6_K,
    .name = "Q6_K",
    .block_elems = 256,
    .block_bytes = 210,
    .dequantize = dequantize_blocks<256, 210, dequantize_block>,
    .quantize = quantize_blocks<256, 210, quantize_block>,
    .is_finite = finite_blocks<256, 210, 208>,
    .matmul = Matmul::kIntegers,
    .substitute = TensorType::kQ8_0,
};

}  // namespace bitnet
