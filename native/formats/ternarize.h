// Float weights -> ternary codes and one scale, in two passes over the rows of a matrix: measure
// every row, choose the rule for the matrix, turn every row into codes. Rows are independent and
// their results are combined in row order, so any number of threads gives the same bytes.
#pragma once

#include <cstdint>
#include <span>

namespace bitnet {

// Pass 1, one row.
struct RowMagnitude {
  double sum;  // of |w|
  double sum_squares;
  float smallest;  // of the |w| that are not 0; infinity if all are
  float largest;
  bool finite;  // no NaN, no infinity
};
RowMagnitude measure_row(const float* x, int64_t cols);

struct TernaryRule {
  float scale;           // what a code of +1 stands for
  bool already_ternary;  // one magnitude besides 0 (within 1e-6 of it): only signs are taken, scale
                         // is that magnitude
};
// Already ternary, or else BitNet's definition: scale = max(mean |w|, 1e-5) over the whole matrix.
// Throws kBadFile on a weight that is not finite, naming its row.
TernaryRule choose_ternary_rule(std::span<const RowMagnitude> rows, int64_t cols);

// Pass 2, one row: codes of clamp(round_half_even(w / scale), -1, 1), with w * (1 / scale) in f32
// as the model computes it; or of the signs.
struct RowError {
  int64_t n_negative, n_zero, n_positive;
  double squared_error;  // sum of (w - code * scale)^2
};
RowError ternarize_row(const TernaryRule& rule, const float* x, int64_t cols, uint8_t* codes);

struct TernaryStats {
  TernaryRule rule;
  int64_t n_negative, n_zero, n_positive;
  double relative_error;  // RMS(w - code * scale) / RMS(w); 0 for a matrix of zeros
};
TernaryStats ternary_stats(const TernaryRule& rule, std::span<const RowMagnitude> magnitudes,
                           std::span<const RowError> errors);

}  // namespace bitnet
