#include "convert/code_tally.h"

#include "convert/row_hash.h"

namespace bitnet {

void CodeTally::add_row(const uint8_t* codes, int64_t cols, int64_t row) {
  hash += hash_row(codes, static_cast<uint64_t>(cols), row);
  int64_t ones = 0, twos = 0;
  for (int64_t i = 0; i < cols; ++i) {
    ones += codes[i] == 1;
    twos += codes[i] == 2;
  }
  n_zero += ones;
  n_positive += twos;
  n_negative += cols - ones - twos;
}

CodeTally total(std::span<const CodeTally> tallies) {
  CodeTally sum;
  for (const CodeTally& t : tallies) {
    sum.hash += t.hash;
    sum.n_negative += t.n_negative;
    sum.n_zero += t.n_zero;
    sum.n_positive += t.n_positive;
  }
  return sum;
}

}  // namespace bitnet
