#include "convert/random_weights.h"

#include <algorithm>

#include "convert/row_hash.h"

namespace bitnet {
namespace {

// xorshift64*: the same numbers everywhere.
class Random {
 public:
  Random(uint64_t seed, int64_t row)
      : state_(mix64(seed + mix64(static_cast<uint64_t>(row) + 1)) | 1) {}
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1d;
  }

 private:
  uint64_t state_;
};

}  // namespace

void random_codes(uint64_t seed, int64_t row, int64_t n, uint8_t* codes) {
  Random random(seed, row);
  for (int64_t i = 0; i < n; i += 8) {
    const uint64_t bits = random.next();
    for (int64_t j = 0; j < std::min<int64_t>(8, n - i); ++j) {
      codes[i + j] = static_cast<uint8_t>((bits >> (8 * j) & 255) * 3 >> 8);
    }
  }
}

// The sum of four uniform 16-bit numbers, exact on every machine.
void random_floats(uint64_t seed, float mean, float deviation, int64_t row, int64_t n, float* out) {
  constexpr float kUnit = 1 / 37837.22f;  // 65536 * sqrt(4 / 12)
  Random random(seed, row);
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t bits = random.next();
    const int64_t sum = static_cast<int64_t>((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                             (bits >> 32 & 0xffff) + (bits >> 48));
    out[i] = mean + deviation * (static_cast<float>(sum - 131070) * kUnit);
  }
}

}  // namespace bitnet
