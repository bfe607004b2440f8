// How far ahead of its loads a product with one token asks the memory for weights: measured, as no
// value is right everywhere.
#pragma once

#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "base/tuning.h"
#include "kernels/kernels.h"
#include "model/weights.h"

namespace bitnet {

// Tuning::prefetch_bytes for these weights on this machine, from the time that some layers take:
// some milliseconds. The given value stays unless another is clearly faster, and where nothing is
// to be learned: a model within the caches, another layout than I2_S.
int64_t choose_prefetch(const std::vector<Layer>& layers, const Kernels& kernels, ThreadPool& pool,
                        const Tuning& tuning);

}  // namespace bitnet
