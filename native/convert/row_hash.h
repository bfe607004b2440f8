// A fingerprint of a tensor: the sum of its rows' hashes, which does not depend on the order in
// which threads finish them.
#pragma once

#include <cstdint>

namespace bitnet {

uint64_t mix64(uint64_t x);  // splitmix64's finisher

// data: n bytes. Equal rows at different places hash differently.
uint64_t hash_row(const uint8_t* data, uint64_t n, int64_t row);

}  // namespace bitnet
