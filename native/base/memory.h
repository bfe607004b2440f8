// How much memory the machine has.
#pragma once

#include <cstdint>

namespace bitnet {

// Bytes of physical memory; the largest number if the OS does not tell.
int64_t physical_memory();

}  // namespace bitnet
