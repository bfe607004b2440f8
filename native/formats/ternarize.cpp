#include "formats/ternarize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"

namespace bitnet {
namespace {

constexpr double kMinScale = 1e-5;       // of BitNet's weight quantization
constexpr float kSameMagnitude = 1e-6f;  // relative; more than rounding in any exporter leaves
constexpr int64_t kLanes = 8;            // partial sums of a row: fixed, so that SIMD adds alike

double total(const double (&lanes)[kLanes]) {
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
  double sum[kLanes] = {}, squares[kLanes] = {};
  float smallest[kLanes], largest[kLanes] = {};
  std::fill_n(smallest, kLanes, kInfinity);
  const auto add = [&](int64_t lane, float w) {
    const float magnitude = std::fabs(w);
    sum[lane] += double{magnitude};
    squares[lane] += double{w} * double{w};
    const float not_zero = magnitude == 0 ? kInfinity : magnitude;
    smallest[lane] = not_zero < smallest[lane] ? not_zero : smallest[lane];
    largest[lane] = magnitude > largest[lane] ? magnitude : largest[lane];
  };
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) add(lane, x[i + lane]);
  }
  for (; i < cols; ++i) add(i % kLanes, x[i]);
  // Magnitudes of f32 cannot overflow a sum in double.
  return {total(sum), total(squares), *std::min_element(smallest, smallest + kLanes),
          *std::max_element(largest, largest + kLanes), std::isfinite(total(sum))};
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
  for (int64_t i = 0; i < cols; ++i) {
    const float v = x[i] * factor;
    codes[i] = static_cast<uint8_t>(1 + (v > threshold) - (v < -threshold));
  }
  RowError row{0, 0, 0, 0};
  row.n_negative = std::count(codes, codes + cols, uint8_t{0});
  row.n_zero = std::count(codes, codes + cols, uint8_t{1});
  row.n_positive = cols - row.n_negative - row.n_zero;

  double squares[kLanes] = {};
  const auto add = [&, scale = double{rule.scale}](int64_t lane, float w, uint8_t code) {
    const double error = double{w} - scale * static_cast<double>(static_cast<int>(code) - 1);
    squares[lane] += error * error;
  };
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) add(lane, x[i + lane], codes[i + lane]);
  }
  for (; i < cols; ++i) add(i % kLanes, x[i], codes[i]);
  row.squared_error = total(squares);
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
