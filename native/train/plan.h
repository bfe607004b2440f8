// What a training will hold in memory, before any of it is allocated.
#pragma once

#include <cstdint>

#include "train/model.h"

namespace bitnet {

// Bytes.
struct MemoryPlan {
  int64_t weights = 0;  // frozen, and the ternary weights of a master
  int64_t master = 0;   // trained parameters
  int64_t gradients = 0;
  int64_t optimizer = 0;    // moments
  int64_t activations = 0;  // kept for the backward pass
  int64_t scratch = 0;      // of the passes and of all threads
  int64_t logits = 0;       // of a chunk of positions, and rows of the head as floats

  int64_t total() const {
    return weights + master + gradients + optimizer + activations + scratch + logits;
  }
};

// Throws as check_options() and select_kernels().
MemoryPlan plan_memory(const TrainSource& source, const TrainOptions& options);

}  // namespace bitnet
