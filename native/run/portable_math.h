// Functions whose results decide draws: the same bits on every platform, as long as the compiler
// does not fuse a*b+c (-ffp-contract=off). In a header, as they run for every candidate.
#pragma once

#include <bit>
#include <cstdint>

namespace bitnet {

// exp(x) for x <= 0 to about 1e-14, the same bits everywhere; libm's last bit differs by platform.
// Below -708 it stays at the smallest normal numbers, which are 0 as a float; so does NaN.
inline double portable_exp(double x) {
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  constexpr double kLn2High = 0x1.62e42fefa0000p-1;  // trailing zeros: n * kLn2High is exact
  constexpr double kLn2Low = 0x1.cf79abc9e3b3ap-40;
  constexpr double kRound = 0x1.8p52;  // adding it leaves round(x) in the low bits
  x = x > -708.0 ? x : -708.0;
  const double shifted = x * kLog2E + kRound;
  const double n = shifted - kRound;
  const double r = (x - n * kLn2High) - n * kLn2Low;  // |r| <= ln(2) / 2
  constexpr double kTaylor[] = {1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
                                1.0 / 720,     1.0 / 120,    1.0 / 24,    1.0 / 6,
                                0.5,           1.0,          1.0};
  double sum = 1.0 / 39916800;  // 1 / 11!, then 1 / 10! ... 1 / 0!
  for (const double coefficient : kTaylor) sum = sum * r + coefficient;
  return sum * std::bit_cast<double>((std::bit_cast<uint64_t>(shifted) + 1023) << 52);
}

// log(x) for a normal x > 0 to about 1e-16 times the larger of 1 and the result.
inline double portable_log(double x) {
  constexpr double kLn2 = 0x1.62e42fefa39efp-1;
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);  // [1, 2)
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  // log(m) = 2 atanh(s), a series in s^2 <= 0.03 with the coefficients 1, 1/3, 1/5, ...
  const double s = (m - 1.0) / (m + 1.0), square = s * s;
  double sum = 0.0;
  for (int k = 23; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
  return exponent * kLn2 + 2.0 * s * sum;
}

// base^n, infinity where it overflows.
inline double power(double base, int64_t n) {
  double result = 1.0;
  for (; n > 0; n >>= 1, base *= base) {
    if (n & 1) result *= base;
  }
  return result;
}

}  // namespace bitnet
