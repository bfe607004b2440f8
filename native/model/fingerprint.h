// Tells models apart without reading all of them.
#pragma once

#include <cstdint>

#include "gguf/gguf.h"

namespace bitnet {

// Of the size of the file, of what it says of its tensors, and of some bytes of each: the same for
// the same file at any place, another one for other weights of the same shapes.
uint64_t fingerprint_of(const Gguf& gguf);

}  // namespace bitnet
