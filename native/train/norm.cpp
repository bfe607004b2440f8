#include "train/norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/numbers.h"

namespace bitnet {

namespace {

constexpr int64_t kMostColumns = 512;  // of weights, per chunk

// 1 / sqrt(mean(x^2) + eps)
double inverse_rms(const Kernels& kernels, const float* x, float eps, int64_t cols) {
  const double squares = kernels.dot_f64(x, x, cols);
  return 1.0 / std::sqrt(squares / static_cast<double>(cols) + static_cast<double>(eps));
}

}  // namespace

void norm_forward(Compute& compute, const float* x, const float* weight, float eps, float* out,
                  int64_t cols, int64_t n) {
  compute.each(n, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      compute.kernels.rms_norm(x + t * cols, weight, eps, out + t * cols, cols);
  });
}

void norm_backward(Compute& compute, const float* x, const float* weight, float eps,
                   const float* dy, float* dx, bool adds, int64_t cols, int64_t n) {
  compute.each(n, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      compute.kernels.norm_backward(x + t * cols, weight, eps, dy + t * cols, dx + t * cols, adds,
                                    cols);
  });
}

void norm_weight_gradient(Compute& compute, const float* x, float eps, const float* dy,
                          std::span<const int64_t> ends, int64_t cols, float* gradient) {
  const Kernels& kernels = compute.kernels;
  const int64_t n = ends.empty() ? 0 : ends.back();
  std::vector<double> inverse(static_cast<size_t>(n));
  compute.each(n, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      inverse[static_cast<size_t>(t)] = inverse_rms(kernels, x + t * cols, eps, cols);
  });
  // Threads share the columns out, in parts as wide as can be: memory is read row by row.
  const int64_t share = round_up((cols + compute.pool.size() - 1) / compute.pool.size(), 16);
  const int64_t width = std::min(share, kMostColumns);
  compute.each((cols + width - 1) / width, 1, [&](int64_t first, int64_t last, int) {
    double sums[kMostColumns];
    for (; first < last; ++first) {
      const int64_t column = first * width, n_columns = std::min(width, cols - column);
      int64_t t = 0;
      for (const int64_t end : ends) {
        std::fill_n(sums, n_columns, 0.0);
        for (; t < end; ++t) {
          const int64_t at = t * cols + column;
          kernels.norm_weight_backward(x + at, dy + at, inverse[static_cast<size_t>(t)], sums,
                                       n_columns);
        }
        for (int64_t i = 0; i < n_columns; ++i) gradient[column + i] += static_cast<float>(sums[i]);
      }
    }
  });
}

}  // namespace bitnet
