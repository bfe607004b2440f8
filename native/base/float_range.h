// Checks of a row of floats, on the bits of |x|: they order like the numbers, infinity above all of
// them and NaN above infinity.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace bitnet {

inline uint32_t largest_magnitude_bits(const float* x, int64_t n) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7fffffff);
  }
  return largest;
}

inline bool all_finite(const float* x, int64_t n) {
  constexpr uint32_t kInfinityBits = 0x7f800000;
  return largest_magnitude_bits(x, n) < kInfinityBits;
}

inline bool all_in_f16_range(const float* x, int64_t n) {
  constexpr float kMaxF16 = 65504;
  return largest_magnitude_bits(x, n) <= std::bit_cast<uint32_t>(kMaxF16);
}

}  // namespace bitnet
