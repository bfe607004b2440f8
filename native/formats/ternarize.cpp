#include "formats/ternarize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "error.h"

namespace bitnet {
namespace {

constexpr double kMinScale = 1e-5;       // of BitNet's weight quantization
constexpr float kSameMagnitude = 1e-6f;  // relative; more than rounding in any exporter leaves
constexpr int64_t kLanes = 8;            // partial sums of a row: fixed, so that SIMD adds alike

template <class Term>
double sum_lanes(int64_t n, Term&& term) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  for (; i < n; ++i) lanes[i % kLanes] += term(i);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

bool one_magnitude(float smallest, float largest) {
  return largest - smallest <= kSameMagnitude * largest;
}

}  // namespace

RowMagnitude measure_row(const float* x, int64_t cols) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  RowMagnitude row{0, 0, kInfinity, 0, true};
  row.sum = sum_lanes(cols, [x](int64_t i) { return std::fabs(double{x[i]}); });
  row.sum_squares = sum_lanes(cols, [x](int64_t i) { return double{x[i]} * x[i]; });
  row.finite = std::isfinite(row.sum);  // f32 magnitudes cannot overflow a double
  for (int64_t i = 0; i < cols; ++i) {
    const float magnitude = std::fabs(x[i]);
    row.smallest = std::min(row.smallest, magnitude == 0 ? kInfinity : magnitude);
    row.largest = std::max(row.largest, magnitude);
  }
  return row;
}

TernaryRule choose_ternary_rule(std::span<const RowMagnitude> rows, int64_t cols) {
  double sum = 0;
  float smallest = std::numeric_limits<float>::infinity(), largest = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    if (!rows[r].finite) {
      throw Error(ErrorCode::kBadFile,
                  "row " + std::to_string(r) + " has a weight that is not a number or infinite");
    }
    sum += rows[r].sum;
    smallest = std::min(smallest, rows[r].smallest);
    largest = std::max(largest, rows[r].largest);
  }
  if (largest > 0 && one_magnitude(smallest, largest)) return {largest, true};
  const double n = static_cast<double>(rows.size()) * static_cast<double>(cols);
  return {static_cast<float>(std::max(n > 0 ? sum / n : 0, kMinScale)), false};
}

RowError ternarize_row(const TernaryRule& rule, const float* x, int64_t cols, uint8_t* codes) {
  // Rounding half to even and clamping to +-1 leaves one threshold: |v| > 0.5 (0.5 rounds to 0).
  const float factor = rule.already_ternary ? 1.0f : 1.0f / rule.scale;
  const float threshold = rule.already_ternary ? 0.0f : 0.5f;
  RowError row{0, 0, 0, 0};
  for (int64_t i = 0; i < cols; ++i) {
    const float v = x[i] * factor;
    const int positive = v > threshold, negative = v < -threshold;
    codes[i] = static_cast<uint8_t>(1 + positive - negative);
    row.n_positive += positive;
    row.n_negative += negative;
  }
  row.n_zero = cols - row.n_positive - row.n_negative;
  row.squared_error = sum_lanes(cols, [&](int64_t i) {
    const double error = double{x[i]} - double{rule.scale} * (codes[i] - 1);
    return error * error;
  });
  return row;
}

TernaryStats ternary_stats(const TernaryRule& rule, std::span<const RowMagnitude> magnitudes,
                           std::span<const RowError> errors) {
  TernaryStats stats{rule, 0, 0, 0, 0};
  double squares = 0, squared_error = 0;
  for (const RowMagnitude& row : magnitudes) squares += row.sum_squares;
  for (const RowError& row : errors) {
    stats.n_negative += row.n_negative;
    stats.n_zero += row.n_zero;
    stats.n_positive += row.n_positive;
    squared_error += row.squared_error;
  }
  stats.relative_error = squares > 0 ? std::sqrt(squared_error / squares) : 0;
  return stats;
}

}  // namespace bitnet
