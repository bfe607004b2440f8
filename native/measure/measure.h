// Measurements for `bitnet bench`: what the machine can do at most, what a model asks of it, and
// what the kernels and whole passes reach. Times are wall-clock seconds. Nothing is averaged here.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "model/model.h"
#include "run/batch.h"

namespace bitnet {

// The best rates that were sustained for a few milliseconds, on n threads at once.
struct MachineLimits {
  double read_bandwidth;  // bytes per second, from memory
  double int8_peak;       // operations per second, on registers; a multiply-add counts as two
};
// n_bytes: size of the buffer that is read again and again; beyond all caches. Takes about
// 2 * `seconds`.
MachineLimits measure_limits(const Kernels& kernels, int n_threads, int64_t n_bytes,
                             double seconds);

// What the parts of a model's arithmetic that grow with its size ask for.
struct ModelCost {
  int64_t weight_bytes;        // read once per batch, without the head
  int64_t head_bytes;          // read once per sampled token
  int64_t kv_bytes;            // read per decoded token for each position before it
  int64_t ternary_operations;  // per token; a multiply-add counts as two
  int64_t batch_tokens;        // tokens that share one reading of the weights in prefill
};
ModelCost model_cost(const Model& model, CacheType cache_type);

// A ternary matrix product on random weights.
struct KernelCase {
  WeightLayout layout = WeightLayout::kI2S;
  int64_t rows, cols, n_tokens;
  int n_threads;
  // Copies of the weights that take turns, at least this many bytes in all: 0 multiplies the same
  // ones again and again, from the caches if they fit.
  int64_t n_bytes;
  int repetitions;
  double seconds;  // of one repetition, about
};
struct KernelTimes {
  std::vector<double> seconds;  // of one product; one value per repetition
  int64_t weight_bytes;
  int64_t operations;
};
// Throws kInternal if the result differs from scalar's in one bit.
KernelTimes time_ternary_matmul(const Kernels& kernels, const KernelCase& test);

}  // namespace bitnet
