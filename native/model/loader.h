// From the tensors of a file to the weights of a model.
#pragma once

#include "gguf/gguf.h"
#include "model/config.h"
#include "model/store.h"
#include "model/weights.h"

namespace bitnet {

// Finds the tensors that the family has, checks their types and shapes and lets the store place
// them. Throws kBadFile (missing, other shape, not a number), kUnsupported (type).
Weights load_weights(const Gguf& gguf, const Config& config, WeightStore& store);

}  // namespace bitnet
