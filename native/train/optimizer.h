// AdamW with clipping by the global norm.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "train/compute.h"
#include "train/parameter.h"

namespace bitnet {

struct OptimizerStep {
  double lr, weight_decay;  // the latter of parameters that decay
  double beta1, beta2, epsilon;
  double clip;  // largest norm of the gradients together; 0: no limit
};

using Parameters = std::vector<std::unique_ptr<Parameter>>;

// The norm of all gradients, in f64, the tensors in their order. *bad = the first one that holds a
// value that is not finite, or null.
double gradient_norm(Compute& compute, const Parameters& parameters, const Parameter** bad);

// Step number t, from 1, given the norm of the gradients.
void optimize(Compute& compute, const Parameters& parameters, const OptimizerStep& step,
              double norm, int64_t t);

void clear_gradients(Compute& compute, const Parameters& parameters);

}  // namespace bitnet
