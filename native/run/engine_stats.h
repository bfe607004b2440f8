// What an engine has done since it began, and what it does now.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "run/kv_pool.h"

namespace bitnet {

// Counts of values by upper bounds, which are part of their class.
template <class Bounds>
struct Histogram {
  static constexpr auto kBounds = Bounds::kValues;   // ascending
  std::array<int64_t, kBounds.size() + 1> counts{};  // the last: above all bounds
  double sum = 0;

  void add(double value) {
    const auto at = std::lower_bound(kBounds.begin(), kBounds.end(), value) - kBounds.begin();
    ++counts[static_cast<size_t>(at)];
    sum += value;
  }
};

struct StepSeconds {
  static constexpr std::array kValues = {0.005, 0.01, 0.02, 0.03, 0.05, 0.075,
                                         0.1,   0.15, 0.2,  0.3,  0.5,  1.0};
};
struct StepRows {
  static constexpr std::array kValues = {1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0};
};
struct MaskSeconds {
  static constexpr std::array kValues = {1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 1e-1};
};

struct EngineCounters {
  // Now: operations that sample, that were admitted, that wait to be.
  int64_t decoding = 0, running = 0, waiting = 0;
  // Since the start.
  int64_t steps = 0, rows = 0;
  int64_t prompt_tokens = 0, reused_tokens = 0;  // asked for, found; once for each operation
  int64_t sampled_tokens = 0;
  int64_t preemptions = 0;
  Histogram<StepSeconds> step_seconds;
  Histogram<StepRows> step_rows;
  Histogram<MaskSeconds> mask_seconds;  // what a grammar took for a token
};

struct EngineStats : EngineCounters {
  KvPool::Usage cache[2];         // by CacheType
  double kv_usage;                // held blocks as a share of what they may take, 0 to 1
  double seconds_since_progress;  // of a layer; 0 if nothing runs
};

}  // namespace bitnet
