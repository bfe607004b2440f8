// The weights of dummy models: from a seed and the number of a row, so the same on every machine
// and for any number of threads.
#pragma once

#include <cstdint>

namespace bitnet {

// Codes of ternary weights, each of the three about as often.
void random_codes(uint64_t seed, int64_t row, int64_t n, uint8_t* codes);
// Close to normal with this mean and standard deviation.
void random_floats(uint64_t seed, float mean, float deviation, int64_t row, int64_t n, float* out);

}  // namespace bitnet
