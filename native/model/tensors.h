// Which tensors a model file holds: all that its family needs, and none that the passes would not
// read, as every weight of a model counts.
#pragma once

#include <cstdint>
#include <string>

#include "gguf/gguf.h"
#include "model/config.h"

namespace bitnet {

// The tensor of this name and shape, [rows, cols]. Throws kBadFile (missing, another shape).
const GgufTensor& require_tensor(const Gguf& gguf, const std::string& name, int64_t rows,
                                 int64_t cols);

// Checks names, shapes and types of all tensors. Throws kBadFile (missing, another shape),
// kUnsupported (a type that cannot be used there, a tensor that is none of the family's).
void check_tensors(const Gguf& gguf, const Config& config);

}  // namespace bitnet
