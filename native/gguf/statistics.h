// What the weights of one tensor are like: what tells a damaged or foreign file from a model, where
// names, types and shapes are right. A changed bit that gives another possible weight is not seen.
#pragma once

#include <cstdint>

#include "base/threads.h"
#include "gguf/gguf.h"

namespace bitnet {

struct TensorStatistics {
  bool readable = true;  // false: nothing here knows what its bytes mean, all else is 0
  bool ternary = false;
  int64_t n_bad_rows = 0;  // with an impossible code, or a scale or value that is not finite
  // Every weight is -1, or every one +1; of floats: every one is 0. What was never written of a
  // file looks like that.
  int64_t n_constant_rows = 0;
  // Of a ternary tensor: how many weights are -1, 0 and +1, and the range of |scale|.
  int64_t n_negative = 0, n_zero = 0, n_positive = 0;
  double least_scale = 0, most_scale = 0;
  // Of any other tensor.
  double least = 0, most = 0, rms = 0;
};

// Reads the whole tensor. Rows that are bad count in n_bad_rows alone. Throws kUnsupported for TL1
// and TL2 tensors whose tile sizes are not known.
TensorStatistics examine_tensor(const Gguf& gguf, const GgufTensor& tensor, ThreadPool& pool);

}  // namespace bitnet
