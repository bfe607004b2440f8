// What can be set to the machine without a rebuild. None of it changes a result, only the speed;
// `bitnet tune` finds the best values.
#pragma once

#include <cstdint>

namespace bitnet {

struct Tuning {
  // Rows that a thread takes at a time in a batch: their packed weights stay in its cache. Whole
  // panels of every kernel (8, 12 or 32 rows).
  int64_t batch_rows = 96;
  // Rows that a thread takes at a time of a product with one token: few are shared out more evenly.
  int64_t decode_rows = 64;
  // How far ahead of its loads such a product asks the memory for weights.
  int64_t prefetch_bytes = 8 * 1024;
  // Bytes of quantized activations that a panel of unpacked rows is multiplied with before the next
  // panel: within a level-2 cache.
  int64_t block_bytes = 384 * 1024;
  // Tokens from which kernels with AVX-512 take whole panels of rows; below, unpacking them weighs
  // more than they save.
  int64_t tile_tokens = 24;
  // How long an idle thread spins before it sleeps.
  int64_t spin_microseconds = 300;
};

struct TuningParameter {
  const char* name;  // in JavaScript and in tuning files
  int64_t Tuning::*field;
  int64_t least, most, step;  // values are multiples of step
};

constexpr TuningParameter kTuningParameters[] = {
    {"batchRows", &Tuning::batch_rows, 96, 96 * 64, 96},
    {"decodeRows", &Tuning::decode_rows, 32, 32 * 1024, 32},
    {"prefetchBytes", &Tuning::prefetch_bytes, 0, 64 * 1024, 64},
    {"blockBytes", &Tuning::block_bytes, 16 * 1024, 64 * 1024 * 1024, 1024},
    {"tileTokens", &Tuning::tile_tokens, 2, 1024, 1},
    {"spinMicroseconds", &Tuning::spin_microseconds, 0, 10'000, 1},
};

// Throws kUsage for a value outside of kTuningParameters.
void check_tuning(const Tuning& tuning);

}  // namespace bitnet
