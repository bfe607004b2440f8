// Random numbers that are functions of what they are for: no state, so they depend neither on the
// order in which they are asked for nor on what was asked before.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace bitnet {

// The finalizer of SplitMix64 (Vigna, public domain).
inline uint64_t mix_bits(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// The numbers of one key: at(i) is uniform in [0, 1), a multiple of 2^-24.
class KeyedRandom {
 public:
  explicit KeyedRandom(std::initializer_list<uint64_t> key) {
    for (const uint64_t part : key) state_ = mix_bits(state_ + kGamma + part);
  }
  float at(uint64_t i) const {
    return static_cast<float>(mix_bits(state_ + kGamma * (i + 1)) >> 40) * 0x1p-24f;
  }

 private:
  static constexpr uint64_t kGamma = 0x9e3779b97f4a7c15u;
  uint64_t state_ = 0;
};

}  // namespace bitnet
