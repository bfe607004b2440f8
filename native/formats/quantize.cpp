// The layouts are described in dequantize.cpp. The arithmetic follows llama.cpp's reference
// quantizers (ggml-quants.c, MIT) operation by operation, in f32, because the bytes must be equal.
#include "formats/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/error.h"
#include "formats/dequantize.h"
#include "formats/layouts.h"

namespace bitnet {
namespace {

// f32 -> nearest int, half to even. Beyond +-2^22 the result is of no use, but the same as the
// reference's, and defined.
constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: floats near it are 1 apart
int round_even(float v) {
  return static_cast<int>(std::bit_cast<uint32_t>(v + kMagic) & 0x7fffff) - 0x400000;
}
// As floats, which compilers vectorize: the same for |v| < 2^22, and half away from zero.
float rounded_even(float v) { return (v + kMagic) - kMagic; }
float rounded_away(float v) {
  const float even = rounded_even(v);  // of two equally near ones, not always that away from 0
  const float away = std::copysign(1.0f, v);
  return v - even == 0.5f * away ? even + away : even;
}

// 1 / d, or 0 for values so small that d is 0 or its inverse overflows: they become zeros.
float inverse_of(float d) {
  const float inverse = 1 / d;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

float largest_magnitude(const float* x, int n) {
  float largest = 0;
  for (int i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  return largest;
}

// The first of the values of largest magnitude, with its sign; +0 if all are 0.
float extreme(const float* x, int n) {
  const float largest = largest_magnitude(x, n);
  if (largest == 0) return 0;
  return *std::find_if(x, x + n - 1, [=](float v) { return std::fabs(v) == largest; });
}

bool all_finite(const float* x, int64_t n) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) bad |= (std::bit_cast<uint32_t>(x[i]) & 0x7f800000) == 0x7f800000;
  return bad == 0;
}

[[noreturn]] void fail_large(TensorType type) {
  throw Error(ErrorCode::kUnsupported,
              std::string("weights are too large for ") + tensor_type_name(type));
}

void store_scale(TensorType type, uint8_t* p, float d) {
  const uint16_t stored = f32_to_f16(d);
  if ((stored & 0x7c00) == 0x7c00) fail_large(type);
  store_unaligned(p, stored);
}

// The scales that were fitted to 16 groups: the extreme one. Sums of cubes may have overflowed.
float extreme_scale(TensorType type, const float* scales) {
  if (!all_finite(scales, 16)) fail_large(type);
  return extreme(scales, 16);
}

void quantize_q8_0(const float* x, uint8_t* block) {
  const float d = largest_magnitude(x, 32) / 127;
  const float inverse = inverse_of(d);
  store_scale(TensorType::kQ8_0, block, d);
  for (int j = 0; j < 32; ++j) {
    block[2 + j] = static_cast<uint8_t>(static_cast<int8_t>(rounded_away(x[j] * inverse)));
  }
}

// Q4_0 (kLevels 16) and Q5_0 (32): the value of largest magnitude becomes the lowest level, so one
// end of the range is used in full; the opposite end is clipped.
template <int kLevels>
void quantize_nibbles(TensorType type, const float* x, uint8_t* block) {
  constexpr int kHalf = kLevels / 2;
  const float d = extreme(x, 32) / -kHalf;
  const float inverse = inverse_of(d);
  store_scale(type, block, d);
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

constexpr float kTiny = 1e-15f;  // groups of smaller values are zeros in the K types

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
  const auto level = [](float v) { return std::min(31.0f, std::max(-32.0f, rounded_even(v))); };
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
void store_q6_k_levels(const int8_t* levels, uint8_t* block) {
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
void quantize_q6_k(const float* x, uint8_t* block) {
  int8_t levels[256];
  float scales[16];
  for (int g = 0; g < 16; ++g) scales[g] = fit_levels(x + 16 * g, levels + 16 * g);
  const float largest = extreme_scale(TensorType::kQ6_K, scales);
  if (std::fabs(largest) < kTiny) {
    std::memset(block, 0, 210);
    return;
  }
  const float inverse = -128.0f / largest;
  store_scale(TensorType::kQ6_K, block + 208, 1 / inverse);
  const float d = f16_to_f32(load_unaligned<uint16_t>(block + 208));
  for (int g = 0; g < 16; ++g) {
    const int scale = std::min(127, round_even(inverse * scales[g]));
    block[192 + g] = static_cast<uint8_t>(scale);
    // Once more for the rounded scale; where it is 0 the levels of the fit stay.
    const float step = d * static_cast<float>(scale);
    for (int i = 16 * g; i < 16 * (g + 1); ++i) {
      if (step != 0) levels[i] = static_cast<int8_t>(std::clamp(round_even(x[i] / step), -32, 31));
      levels[i] = static_cast<int8_t>(levels[i] + 32);
    }
  }
  store_q6_k_levels(levels, block);
}

// Levels [-4, 3] for 16 values and their scale: starts from the levels that map the largest value
// to -4, then moves single levels to where the other 15 want them, while that makes the weighted
// fit (as in fit_levels) better, at most five times over.
float refine_levels(const float* x, int8_t* levels) {
  constexpr int kN = 16, kLimit = 4;
  const auto level = [](float v) { return std::clamp(round_even(v), -kLimit, kLimit - 1); };
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
void quantize_q3_k(const float* x, uint8_t* block) {
  int8_t levels[256];
  float scales[16];
  for (int g = 0; g < 16; ++g) scales[g] = refine_levels(x + 16 * g, levels + 16 * g);
  const float largest = extreme_scale(TensorType::kQ3_K, scales);
  std::memset(block, 0, 110);
  const float inverse = largest != 0 ? -32.0f / largest : 0.0f;
  store_scale(TensorType::kQ3_K, block + 108, largest != 0 ? 1 / inverse : 0.0f);
  const float d = f16_to_f32(load_unaligned<uint16_t>(block + 108));
  for (int g = 0; g < 16; ++g) {
    int scale = std::clamp(round_even(inverse * scales[g]), -32, 31);
    if (largest == 0) scale = -32;  // all bits 0, as the reference leaves them
    const int stored = scale + 32;
    block[96 + g % 8] |= static_cast<uint8_t>((stored & 15) << (g < 8 ? 0 : 4));
    block[104 + g % 4] |= static_cast<uint8_t>(stored >> 4 << 2 * (g / 4));
    const float step = d * static_cast<float>(scale);
    for (int i = 16 * g; i < 16 * (g + 1); ++i) {
      if (step != 0) levels[i] = static_cast<int8_t>(std::clamp(round_even(x[i] / step), -4, 3));
      const int q = levels[i] + 4;
      block[i % 32] |= static_cast<uint8_t>(q >> 2 << i / 32);
      block[32 + i / 128 * 32 + i % 32] |= static_cast<uint8_t>((q & 3) << 2 * (i % 128 / 32));
    }
  }
}

void quantize_block(TensorType type, const float* x, uint8_t* block) {
  switch (type) {
    case TensorType::kQ8_0:
      return quantize_q8_0(x, block);
    case TensorType::kQ6_K:
      return quantize_q6_k(x, block);
    case TensorType::kQ3_K:
      return quantize_q3_k(x, block);
    case TensorType::kQ5_0:
      return quantize_nibbles<32>(type, x, block);
    case TensorType::kQ4_0:
      return quantize_nibbles<16>(type, x, block);
    default:  // is_quantizable() and the caller leave no other
      return;
  }
}

template <typename Store>
void convert(const float* x, uint8_t* out, int64_t n, Store&& to_bits) {
  for (int64_t i = 0; i < n; ++i) store_unaligned(out + 2 * i, to_bits(x[i]));
}

}  // namespace

bool is_quantizable(TensorType type) {
  switch (type) {
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
    case TensorType::kQ8_0:
    case TensorType::kQ6_K:
    case TensorType::kQ5_0:
    case TensorType::kQ4_0:
    case TensorType::kQ3_K:
      return true;
    default:
      return false;
  }
}

void quantize_row(TensorType type, const float* x, uint8_t* out, int64_t n) {
  if (!is_quantizable(type)) {
    throw Error(ErrorCode::kUnsupported,
                std::string("floats cannot be turned into ") + tensor_type_name(type));
  }
  if (type == TensorType::kF32) {
    std::memcpy(out, x, static_cast<size_t>(n) * 4);
    return;
  }
  if (type == TensorType::kF16) return convert(x, out, n, f32_to_f16);
  if (type == TensorType::kBF16) return convert(x, out, n, f32_to_bf16);

  const TensorTypeInfo& info = *tensor_type_info(static_cast<uint32_t>(type));
  if (n % info.block_elems != 0) {
    throw Error(ErrorCode::kUnsupported, std::string(info.name) + " rows must be a multiple of " +
                                             std::to_string(info.block_elems) + " long, not " +
                                             std::to_string(n));
  }
  if (!all_finite(x, n)) {
    throw Error(ErrorCode::kUnsupported,
                std::string("a weight that is not finite cannot be ") + info.name);
  }
  for (int64_t i = 0; i < n; i += info.block_elems, out += info.block_bytes) {
    quantize_block(type, x + i, out);
  }
}

}  // namespace bitnet
