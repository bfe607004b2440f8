#include "train/norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "train/sums.h"

namespace bitnet {

namespace {

constexpr int64_t kColumnGrain = 64;  // of weights, per chunk

// 1 / sqrt(mean(x^2) + eps)
double inverse_rms(const float* x, float eps, int64_t cols) {
  const double squares = dot_of(x, x, cols);
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

// With r = 1 / rms and g the weight: dx = r g dy - x r^3 mean(dy g x).
void norm_backward(Compute& compute, const float* x, const float* weight, float eps,
                   const float* dy, float* dx, bool adds, int64_t cols, int64_t n) {
  compute.each(n, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float *xt = x + t * cols, *dt = dy + t * cols;
      float* out = dx + t * cols;
      const double r = inverse_rms(xt, eps, cols);
      const double dot = sum_terms(cols, [=](int64_t i) {
        return static_cast<double>(dt[i]) * static_cast<double>(weight[i]) *
               static_cast<double>(xt[i]);
      });
      const float scale = static_cast<float>(r);
      const float pull = static_cast<float>(r * r * r * dot / static_cast<double>(cols));
      if (adds) {
        for (int64_t i = 0; i < cols; ++i) out[i] += scale * weight[i] * dt[i] - pull * xt[i];
      } else {
        for (int64_t i = 0; i < cols; ++i) out[i] = scale * weight[i] * dt[i] - pull * xt[i];
      }
    }
  });
}

void norm_weight_gradient(Compute& compute, const float* x, float eps, const float* dy,
                          std::span<const int64_t> ends, int64_t cols, float* gradient) {
  const int64_t n = ends.empty() ? 0 : ends.back();
  std::vector<double> inverse(static_cast<size_t>(n));
  compute.each(n, kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      inverse[static_cast<size_t>(t)] = inverse_rms(x + t * cols, eps, cols);
  });
  compute.each(cols, kColumnGrain, [&](int64_t begin, int64_t end, int) {
    double sums[kColumnGrain];
    for (; begin < end; begin += kColumnGrain) {
      const int64_t width = end - begin < kColumnGrain ? end - begin : kColumnGrain;
      int64_t t = 0;
      for (const int64_t last : ends) {
        std::fill_n(sums, width, 0.0);
        for (; t < last; ++t) {
          const float *xt = x + t * cols + begin, *dt = dy + t * cols + begin;
          const double r = inverse[static_cast<size_t>(t)];
          for (int64_t i = 0; i < width; ++i)
            sums[i] += static_cast<double>(dt[i]) * static_cast<double>(xt[i]) * r;
        }
        for (int64_t i = 0; i < width; ++i) gradient[begin + i] += static_cast<float>(sums[i]);
      }
    }
  });
}

}  // namespace bitnet
