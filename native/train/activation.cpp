#include "train/activation.h"

#include <algorithm>

namespace bitnet {

namespace {

constexpr int64_t kGrain = 8192, kBlock = 256;  // elements; the latter stay in the nearest cache

// With s = 1 / (1 + e^-g): silu = g s, its derivative s (1 + g (1 - s)).
void silu_block(const Kernels& kernels, const float* gate, const float* up, const float* dy,
                float* d_gate, float* d_up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) d_gate[i] = -gate[i];
  kernels.exp_shifted(d_gate, 0, d_gate, n);
  for (int64_t i = 0; i < n; ++i) {
    const float g = gate[i], d = dy[i], s = 1.0f / (1.0f + d_gate[i]);
    d_gate[i] = d * up[i] * (s * (1.0f + g * (1.0f - s)));
    d_up[i] = d * (g * s);
  }
}

void relu2_block(const float* gate, const float* up, const float* dy, float* d_gate, float* d_up,
                 int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = gate[i] > 0 ? gate[i] : 0, d = dy[i];
    d_gate[i] = d * up[i] * (2.0f * g);
    d_up[i] = d * (g * g);
  }
}

}  // namespace

void activation_forward(Compute& compute, Activation activation, const float* gate, const float* up,
                        float* out, int64_t n) {
  const Kernels& kernels = compute.kernels;
  const auto act = activation == Activation::kSilu ? kernels.silu_mul : kernels.relu2_mul;
  compute.each(n, kGrain, [&](int64_t begin, int64_t end, int) {
    std::copy(gate + begin, gate + end, out + begin);
    act(out + begin, up + begin, end - begin);
  });
}

void activation_backward(Compute& compute, Activation activation, const float* gate,
                         const float* up, const float* dy, float* d_gate, float* d_up, int64_t n) {
  compute.each(n, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t width = std::min(kBlock, end - i);
      if (activation == Activation::kSilu) {
        silu_block(compute.kernels, gate + i, up + i, dy + i, d_gate + i, d_up + i, width);
      } else {
        relu2_block(gate + i, up + i, dy + i, d_gate + i, d_up + i, width);
      }
    }
  });
}

}  // namespace bitnet
