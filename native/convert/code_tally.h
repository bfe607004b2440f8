// How often each ternary code occurs in a tensor, and the hash of all codes.
#pragma once

#include <cstdint>
#include <span>

namespace bitnet {

// One per thread, alone on its cache lines.
struct alignas(64) CodeTally {
  uint64_t hash = 0;  // sum of hash_row() of the rows' codes
  int64_t n_negative = 0, n_zero = 0, n_positive = 0;

  void add_row(const uint8_t* codes, int64_t cols, int64_t row);
};

CodeTally total(std::span<const CodeTally> tallies);

}  // namespace bitnet
