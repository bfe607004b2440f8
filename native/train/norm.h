// RMSNorm and its gradients. Rows are those of [n, cols].
#pragma once

#include <cstdint>
#include <span>

#include "train/compute.h"

namespace bitnet {

// out = x / sqrt(mean(x^2) + eps) * weight
void norm_forward(Compute& compute, const float* x, const float* weight, float eps, float* out,
                  int64_t cols, int64_t n);

// dx = the gradient by x, given dy, that by the result; `adds`: dx += it. dx may be dy, unless it
// adds.
void norm_backward(Compute& compute, const float* x, const float* weight, float eps,
                   const float* dy, float* dx, bool adds, int64_t cols, int64_t n);

// gradient [cols] += that of the weight. ends: where documents end; each is summed in f64, in the
// order of its rows, before it is added.
void norm_weight_gradient(Compute& compute, const float* x, float eps, const float* dy,
                          std::span<const int64_t> ends, int64_t cols, float* gradient);

}  // namespace bitnet
