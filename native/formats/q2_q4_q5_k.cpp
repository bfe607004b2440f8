// Q2_K, Q4_K and Q5_K of ggml: blocks of 256 weights in groups, each with a step and a minimum of
// its own in units of two f16, d and m; a weight is d * step * level - m * minimum.
//   Q2_K (84 bytes): 16 groups of 16; a byte per group, step in the low nibble, minimum in the
//     high one; 64 bytes of levels; d, m. Element 32s + l of a half of 128 (s = 0..3) has its level
//     in byte l of the half's 32, at bit 2s.
//   Q4_K (144): d, m; 8 groups of 32; 12 bytes of steps and minima of 6 bits; 128 bytes of levels.
//     Elements l and 32 + l of a quarter of 64 are the low and high nibble of byte l of its 32.
//   Q5_K (176): as Q4_K, with 32 bytes before the levels: the fifth bit of element 32g + l is bit g
//     of byte l.
#include <cstring>

#include "formats/block.h"

namespace bitnet {
namespace {

constexpr int kBlock = 256;

// ---- Steps and minima of 6 bits. Those of groups 0-3 are the low bits of bytes 0-3 and 4-7; of
// groups 4-7 the low four bits are the nibbles of bytes 8-11, the upper two the upper bits of bytes
// 0-3 (steps) and 4-7 (minima).

struct Group {
  int step, minimum;
};

Group load_group(const uint8_t* packed, int g) {
  if (g < 4) return {packed[g] & 63, packed[g + 4] & 63};
  return {(packed[g + 4] & 15) | packed[g - 4] >> 6 << 4, packed[g + 4] >> 4 | packed[g] >> 6 << 4};
}

// packed: zeros before the first group.
void store_group(uint8_t* packed, int g, Group group) {
  if (g < 4) {
    packed[g] |= static_cast<uint8_t>(group.step);
    packed[g + 4] |= static_cast<uint8_t>(group.minimum);
    return;
  }
  packed[g + 4] = static_cast<uint8_t>((group.step & 15) | (group.minimum & 15) << 4);
  packed[g - 4] |= static_cast<uint8_t>(group.step >> 4 << 6);
  packed[g] |= static_cast<uint8_t>(group.minimum >> 4 << 6);
}

// ---- Reading

void dequantize_q2_k(const uint8_t* block, float* out) {
  const float d = load_f16(block + 80), m = load_f16(block + 82);
  for (int i = 0; i < kBlock; ++i) {
    const uint8_t group = block[i / 16];
    const float step = d * static_cast<float>(group & 15);
    const float minimum = m * static_cast<float>(group >> 4);
    const int level = block[16 + i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3;
    out[i] = step * static_cast<float>(level) - minimum;
  }
}

template <bool kFive>
void dequantize_q45_k(const uint8_t* block, float* out) {
  const float d = load_f16(block), m = load_f16(block + 2);
  const uint8_t* const fifth = block + 16;
  for (int g = 0; g < 8; ++g, out += 32) {
    const Group group = load_group(block + 4, g);
    const float step = d * static_cast<float>(group.step);
    const float minimum = m * static_cast<float>(group.minimum);
    const uint8_t* nibbles = block + (kFive ? 48 : 16) + g / 2 * 32;
    for (int l = 0; l < 32; ++l) {
      const int level = (nibbles[l] >> 4 * (g % 2) & 15) | (kFive ? (fifth[l] >> g & 1) << 4 : 0);
      out[l] = step * static_cast<float>(level) - minimum;
    }
  }
}

// ---- Writing

// Numbers of steps that a fit tries around the highest level: highest + first + i * by, i < n.
struct Search {
  float first, by;
  int n;
  bool absolute;  // the error that counts: |e|, else e^2
};

struct Fit {
  float step, minimum;  // weight = step * level - minimum
};

// Levels [0, kHighest] for kN weights, which count by `importance`. The first levels divide the
// range from the least weight (0 if that is positive) to the largest evenly; the others divide it
// in a few more or less steps and are kept where step and minimum by least squares make the error
// smaller. Then the next ones begin at the minimum found.
template <int kN, int kHighest>
Fit fit_levels(const float* x, const float* importance, const Search& search, uint8_t* levels) {
  float low = x[0], high = x[0], sum_w = importance[0], sum_x = importance[0] * x[0];
  for (int i = 1; i < kN; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
    sum_w += importance[i];
    sum_x += importance[i] * x[i];
  }
  if (low > 0) low = 0;
  if (high == low) {
    std::fill_n(levels, kN, uint8_t{0});
    return {0, -low};
  }
  const auto divide = [&](float inverse, uint8_t* out) {
    for (int i = 0; i < kN; ++i) {
      out[i] =
          static_cast<uint8_t>(std::clamp(round_half_even(inverse * (x[i] - low)), 0, kHighest));
    }
  };
  const auto error_of = [&](float step, float from, const uint8_t* l) {
    float sum = 0;
    for (int i = 0; i < kN; ++i) {
      const float e = step * static_cast<float>(l[i]) + from - x[i];
      sum += importance[i] * (search.absolute ? std::fabs(e) : e * e);
    }
    return sum;
  };
  const float inverse = kHighest / (high - low);
  float best_step = 1 / inverse;
  divide(inverse, levels);
  float least_error = error_of(best_step, low, levels);
  for (int a = 0; a < search.n; ++a) {
    uint8_t tried[kN];
    divide((search.first + search.by * static_cast<float>(a) + kHighest) / (high - low), tried);
    float sum_l = 0, sum_ll = 0, sum_xl = 0;
    for (int i = 0; i < kN; ++i) {
      const float l = tried[i], wl = importance[i] * l;
      sum_l += wl;
      sum_ll += wl * l;
      sum_xl += wl * x[i];
    }
    const float determinant = sum_w * sum_ll - sum_l * sum_l;
    if (!(determinant > 0)) continue;
    float step = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    float from = (sum_ll * sum_x - sum_l * sum_xl) / determinant;
    if (from > 0) {  // minima are not negative
      from = 0;
      step = sum_xl / sum_ll;
    }
    const float error = error_of(step, from, tried);
    if (!(error < least_error)) continue;
    std::copy_n(tried, kN, levels);
    least_error = error;
    best_step = step;
    low = from;
  }
  return {best_step, -low};
}

// Steps and minima of n groups in units of the largest / highest, which are left in the f16 d and
// m.
template <TensorType kType, int kN>
struct Units {
  float d = 0, m = 0;           // what d and m are before they are rounded to f16
  float per_step, per_minimum;  // 1 / d, 1 / m; 0 if those are

  Units(const Fit (&fits)[kN], float highest, uint8_t* stored_d, uint8_t* stored_m) {
    for (const Fit& fit : fits) {
      d = fit.step > d ? fit.step : d;
      m = fit.minimum > m ? fit.minimum : m;
    }
    per_step = d > 0 ? highest / d : 0.0f;
    per_minimum = m > 0 ? highest / m : 0.0f;
    store_scale(kType, stored_d, d / highest);
    store_scale(kType, stored_m, m / highest);
  }
};

// Levels once more, for the rounded step and minimum; where the step is 0 those of the fit stay.
template <int kN, int kHighest>
void divide_again(const float* x, float step, float minimum, uint8_t* levels) {
  if (step == 0) return;
  for (int i = 0; i < kN; ++i) {
    levels[i] =
        static_cast<uint8_t>(std::clamp(round_half_even((x[i] + minimum) / step), 0, kHighest));
  }
}

void quantize_q2_k(const float* x, uint8_t* block) {
  constexpr Search kSearch{-0.5f, 0.1f, 16, true};
  uint8_t levels[kBlock];
  Fit fits[16];
  for (int g = 0; g < 16; ++g) {
    float importance[16];
    for (int i = 0; i < 16; ++i) importance[i] = std::fabs(x[16 * g + i]);
    fits[g] = fit_levels<16, 3>(x + 16 * g, importance, kSearch, levels + 16 * g);
  }
  const Units<TensorType::kQ2_K, 16> units(fits, 15, block + 80, block + 82);
  const float d = load_f16(block + 80), m = load_f16(block + 82);
  for (int g = 0; g < 16; ++g) {
    const int step = round_half_even(units.per_step * fits[g].step);
    const int minimum = round_half_even(units.per_minimum * fits[g].minimum);
    block[g] = static_cast<uint8_t>(step | minimum << 4);
    divide_again<16, 3>(x + 16 * g, d * static_cast<float>(block[g] & 15),
                        m * static_cast<float>(block[g] >> 4), levels + 16 * g);
  }
  for (int i = 0; i < 64; ++i) {
    const uint8_t* l = levels + i / 32 * 128 + i % 32;
    block[16 + i] = static_cast<uint8_t>(l[0] | l[32] << 2 | l[64] << 4 | l[96] << 6);
  }
}

template <TensorType kType, int kHighest>
void quantize_q45_k(const float* x, uint8_t* block) {
  constexpr bool kFive = kHighest > 15;
  constexpr Search kSearch =
      kFive ? Search{-0.5f, 0.1f, 16, false} : Search{-1.0f, 0.1f, 21, false};
  uint8_t levels[kBlock];
  Fit fits[8];
  for (int g = 0; g < 8; ++g) {
    const float* group = x + 32 * g;
    float squares = 0, importance[32];
    for (int i = 0; i < 32; ++i) squares += group[i] * group[i];
    const float typical = std::sqrt(squares / 32);
    for (int i = 0; i < 32; ++i) importance[i] = typical + std::fabs(group[i]);
    fits[g] = fit_levels<32, kHighest>(group, importance, kSearch, levels + 32 * g);
  }
  const Units<kType, 8> units(fits, 63, block, block + 2);
  const float d = load_f16(block), m = load_f16(block + 2);
  std::memset(block + 4, 0, kFive ? 44 : 12);
  const auto six_bits = [](float v) {  // a negative step of a bad fit becomes the highest
    return std::min<int>(63, static_cast<uint8_t>(round_half_even(v)));
  };
  for (int g = 0; g < 8; ++g) {
    const Group group{six_bits(units.per_step * fits[g].step),
                      six_bits(units.per_minimum * fits[g].minimum)};
    store_group(block + 4, g, group);
    divide_again<32, kHighest>(x + 32 * g, d * static_cast<float>(group.step),
                               m * static_cast<float>(group.minimum), levels + 32 * g);
  }
  for (int i = 0; i < 128; ++i) {
    const uint8_t* l = levels + i / 32 * 64 + i % 32;
    block[(kFive ? 48 : 16) + i] = static_cast<uint8_t>((l[0] & 15) | (l[32] & 15) << 4);
  }
  for (int i = 0; kFive && i < kBlock; ++i) {
    block[16 + i % 32] |= static_cast<uint8_t>(levels[i] >> 4 << i / 32);
  }
}

}  // namespace

extern constinit const Format kQ2KFormat{
    .type = TensorType::kQ2_K,
    .name = "Q2_K",
    .block_elems = kBlock,
    .block_bytes = 84,
    .dequantize = dequantize_blocks<kBlock, 84, dequantize_q2_k>,
    .quantize = quantize_blocks<kBlock, 84, quantize_q2_k>,
    .is_finite = finite_blocks<kBlock, 84, 80, 82>,
    .substitute = TensorType::kQ4_0,
};

extern constinit const Format kQ4KFormat{
    .type = TensorType::kQ4_K,
    .name = "Q4_K",
    .block_elems = kBlock,
    .block_bytes = 144,
    .dequantize = dequantize_blocks<kBlock, 144, dequantize_q45_k<false>>,
    .quantize = quantize_blocks<kBlock, 144, quantize_q45_k<TensorType::kQ4_K, 15>>,
    .is_finite = finite_blocks<kBlock, 144, 0, 2>,
    .substitute = TensorType::kQ5_0,
};

extern constinit const Format kQ5KFormat{
    .type = TensorType::kQ5_K,
    .name = "Q5_K",
    .block_elems = kBlock,
    .block_bytes = 176,
    .dequantize = dequantize_blocks<kBlock, 176, dequantize_q45_k<true>>,
    .quantize = quantize_blocks<kBlock, 176, quantize_q45_k<TensorType::kQ5_K, 31>>,
    .is_finite = finite_blocks<kBlock, 176, 0, 2>,
    .substitute = TensorType::kQ8_0,
};

}  // namespace bitnet
