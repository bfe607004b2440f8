// A 64-bit checksum of bytes: finds accidents, not forgeries.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

namespace bitnet {

class Hash64 {
 public:
  // Eight bytes at a time; the last ones of a call are filled up with zeros.
  void add(std::span<const uint8_t> bytes) {
    add(static_cast<uint64_t>(bytes.size()));
    for (size_t i = 0; i < bytes.size(); i += 8) {
      uint64_t word = 0;
      std::memcpy(&word, bytes.data() + i, std::min<size_t>(8, bytes.size() - i));
      mix(word);
    }
  }
  void add(uint64_t value) { mix(value); }
  // The finalizer of SplitMix64 (Vigna, public domain).
  uint64_t value() const {
    uint64_t z = (state_ ^ (state_ >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  void mix(uint64_t word) {
    state_ = (state_ ^ word) * 0x9e3779b97f4a7c15u;
    state_ ^= state_ >> 32;
  }

  uint64_t state_ = 0x243f6a8885a308d3u;
};

}  // namespace bitnet
