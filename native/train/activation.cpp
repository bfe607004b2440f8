#include "train/activation.h"

#include <algorithm>

namespace bitnet {

namespace {

constexpr int64_t kGrain = 8192, kBlock = 1024;  // elements; the latter stay in the nearest cache

}  // namespace

void activation_forward(Compute& compute, Activation activation, const float* gate, const float* up,
                        float* out, int64_t n) {
  const Kernels& kernels = compute.kernels;
  const auto act = activation == Activation::kSilu ? kernels.silu_mul : kernels.relu2_mul;
  compute.each(n, kGrain, [&](int64_t begin, int64_t end, int) {
    for (; begin < end; begin += kBlock) {
      const int64_t block = std::min(kBlock, end - begin);
      std::copy(gate + begin, gate + begin + block, out + begin);
      act(out + begin, up + begin, block);
    }
  });
}

void activation_backward(Compute& compute, Activation activation, const float* gate,
                         const float* up, const float* dy, float* d_gate, float* d_up, int64_t n) {
  const Kernels& kernels = compute.kernels;
  const auto act = activation == Activation::kSilu ? kernels.silu_backward : kernels.relu2_backward;
  compute.each(n, kGrain, [&](int64_t begin, int64_t end, int) {
    act(gate + begin, up + begin, dy + begin, d_gate + begin, d_up + begin, end - begin);
  });
}

}  // namespace bitnet
