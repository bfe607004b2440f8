// Rounding: of sizes to multiples, of floats to integers. Internal to each file that includes it,
// because files for one instruction set do: a copy compiled with their flags must not be shared.
#pragma once

#include <cstdint>
#include <type_traits>

namespace bitnet {
namespace {

// The least multiple of `to` that is not below n; n >= 0, to > 0.
template <class Int>
constexpr Int round_up(Int n, std::type_identity_t<Int> to) {
  return (n + to - 1) / to * to;
}

// 1.5 * 2^23. Floats of this size are 1 apart, so adding it rounds to the nearest integer, half to
// even, and the low bits of the sum's mantissa hold that integer.
constexpr float kHalfEven = 12582912.0f;

// v rounded half to even, |v| < 2^22. Of larger values and NaN the result is of no use, but defined
// and the same on every machine.
constexpr int32_t round_half_even(float v) {
  return (__builtin_bit_cast(int32_t, v + kHalfEven) & 0x007fffff) - 0x00400000;
}
// The same as a float.
constexpr float rounded_half_even(float v) { return (v + kHalfEven) - kHalfEven; }

}  // namespace
}  // namespace bitnet
