#include "convert/row_hash.h"

#include <cstring>

namespace bitnet {

uint64_t mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Four lanes: multiplications need not wait for each other.
uint64_t hash_row(const uint8_t* data, uint64_t n, int64_t row) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
  uint64_t lanes[4] = {mix64(static_cast<uint64_t>(row) + kMultiplier), n, 1, 2};
  const auto absorb = [&](const uint8_t* p) {
    for (int i = 0; i < 4; ++i) {
      uint64_t word;
      std::memcpy(&word, p + 8 * i, 8);
      lanes[i] = (lanes[i] ^ word) * kMultiplier;
      lanes[i] ^= lanes[i] >> 29;
    }
  };
  for (; n >= 32; n -= 32, data += 32) absorb(data);
  uint8_t rest[32] = {};
  std::memcpy(rest, data, n);
  absorb(rest);
  return mix64(lanes[0] + mix64(lanes[1] + mix64(lanes[2] + mix64(lanes[3]))));
}

}  // namespace bitnet
