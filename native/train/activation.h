// act(gate) * up of the feed-forward part, and its gradients.
#pragma once

#include <cstdint>

#include "model/family.h"
#include "train/compute.h"

namespace bitnet {

// out [n] = act(gate) * up. Activation::kSilu and kRelu2 only, likewise below.
void activation_forward(Compute& compute, Activation activation, const float* gate, const float* up,
                        float* out, int64_t n);

// Given dy, the gradient by the result: d_gate and d_up, the latter may be dy.
void activation_backward(Compute& compute, Activation activation, const float* gate,
                         const float* up, const float* dy, float* d_gate, float* d_up, int64_t n);

}  // namespace bitnet
