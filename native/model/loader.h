// From the tensors of a file to the weights of a model.
#pragma once

#include "gguf/gguf.h"
#include "model/config.h"
#include "model/store.h"
#include "model/weights.h"

namespace bitnet {

// Checks the tensors (model/tensors.h) and lets the store place them. Throws as check_tensors(),
// and kBadFile for values that are not numbers.
Weights load_weights(const Gguf& gguf, const Config& config, WeightStore& store);

}  // namespace bitnet
