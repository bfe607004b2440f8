// Tells models apart without reading all of them.
#pragma once

#include <cstdint>

#include "gguf/gguf.h"
#include "model/model.h"

namespace bitnet {

// Of the size of the file, of what it says of its tensors, and of some bytes of each: the same for
// the same file at any place, another one for other weights of the same shapes.
uint64_t fingerprint_of(const Gguf& gguf);

// Of the shapes and the norms of a model, which every conversion keeps as they are: the same for
// all files of the same weights, whatever their types. For telling whether an adapter was made for
// them.
uint64_t base_hash_of(const Model& model);

}  // namespace bitnet
