// Sums in f64 and largest values in a fixed order, with partial results side by side that compilers
// make vectors of.
#pragma once

#include <cstdint>

namespace bitnet {

constexpr int kSumLanes = 8;

// term(i) for i < n: term i goes to lane i % 8, the last few to lane 0, and lanes are added in
// order.
template <class Term>
double sum_terms(int64_t n, Term&& term) {
  double lanes[kSumLanes] = {};
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes)
    for (int j = 0; j < kSumLanes; ++j) lanes[j] += term(i + j);
  for (; i < n; ++i) lanes[0] += term(i);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

inline double sum_of(const float* x, int64_t n) {
  return sum_terms(n, [x](int64_t i) { return static_cast<double>(x[i]); });
}

inline double dot_of(const float* x, const float* y, int64_t n) {
  return sum_terms(
      n, [=](int64_t i) { return static_cast<double>(x[i]) * static_cast<double>(y[i]); });
}

// Of n numbers, n > 0.
inline float largest_of(const float* x, int64_t n) {
  float lanes[kSumLanes];
  for (float& lane : lanes) lane = x[0];
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes)
    for (int j = 0; j < kSumLanes; ++j) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  for (; i < n; ++i) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
  float most = lanes[0];
  for (const float lane : lanes) most = lane > most ? lane : most;
  return most;
}

}  // namespace bitnet
