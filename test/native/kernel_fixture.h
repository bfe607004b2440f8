// What the tests of the kernels share: which kernels run here, seeded random numbers, reports that
// name the case.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "kernels/kernels.h"

namespace bitnet {

// BITNET_TEST_QUICK, set where an emulator runs the tests: fewer and smaller shapes, but every code
// path.
inline bool quick() {
  const char* value = std::getenv("BITNET_TEST_QUICK");
  return value && *value && std::strcmp(value, "0") != 0;
}

// The kernels that this CPU can run, best first, scalar last; says once which are left out.
inline const std::vector<const Kernels*>& runnable_kernels() {
  static const std::vector<const Kernels*> list = [] {
    std::vector<const Kernels*> runnable;
    for (const Kernels* k : all_kernels()) {
      std::printf("%s %s\n",
                  supported(*k) ? "testing" : "skipped, not supported by this CPU:", k->name);
      if (supported(*k)) runnable.push_back(k);
    }
    return runnable;
  }();
  return list;
}
inline const Kernels& scalar() { return *all_kernels().back(); }
inline bool fuses_multiply_add(const Kernels& kernels) { return kernels.needs != 0; }

// Numerical Recipes' linear congruential generator; the upper bits are the good ones.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) { bits(); }
  uint32_t bits() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 32);
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }
  float between(float low, float high) {
    return low + (high - low) * (static_cast<float>(bits() >> 8) * 0x1p-24f);
  }

 private:
  uint64_t state_;
};

inline std::vector<float> random_floats(Random& random, int64_t n, float low = -1, float high = 1) {
  std::vector<float> x(n);
  for (float& value : x) value = random.between(low, high);
  return x;
}

// Scratch of exactly the promised size, aligned to 64 bytes: the sanitizer sees an access beyond
// it.
class Scratch {
 public:
  explicit Scratch(size_t n_bytes)
      : data_(static_cast<uint8_t*>(::operator new (n_bytes, std::align_val_t{64}))) {}
  ~Scratch() { ::operator delete (data_, std::align_val_t{64}); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  uint8_t* bytes() { return data_; }
  float* floats() { return reinterpret_cast<float*>(data_); }

 private:
  uint8_t* data_;
};

inline uint32_t float_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

// Every element must be the same bits; reports the first that is not.
inline void check_same_bits(const std::string& label, const std::vector<float>& got,
                            const std::vector<float>& want) {
  if (got.size() != want.size()) return check::fail(__FILE__, __LINE__, label + ": sizes differ");
  for (size_t i = 0; i < got.size(); ++i) {
    if (float_bits(got[i]) == float_bits(want[i])) continue;
    return check::fail(__FILE__, __LINE__,
                       label + ": element " + std::to_string(i) + " is " + std::to_string(got[i]) +
                           " instead of " + std::to_string(want[i]));
  }
}

// |got - want| <= tolerance, never true for a NaN.
inline void check_near(const std::string& label, double got, double want, double tolerance) {
  if (std::fabs(got - want) <= tolerance) return;
  char text[160];
  std::snprintf(text, sizeof text, ": %.9g instead of %.9g, tolerance %.3g", got, want, tolerance);
  check::fail(__FILE__, __LINE__, label + text);
}

}  // namespace bitnet
