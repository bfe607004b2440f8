// The driver of conversion: tensors of mapped files (or random ones) -> the tensor data of a GGUF
// file whose header is already there, one tensor after the other, its rows on all threads. Memory:
// one packed ternary tensor, a few rows per thread, and the pages of the source that are being
// read; never a whole tensor as floats.
#pragma once

#include <vector>

#include "convert/plan.h"

namespace bitnet {

// Writes, flushes, and reads everything back through the GGUF reader: types, shapes, every code and
// scale, every byte of the float tensors. Throws kBadFile (NaN, damaged source, full disk,
// verification), kUnsupported (weights that are not ternary and not declared so), kAborted. The
// same bytes for any number of threads.
std::vector<ConvertResult> convert(const ConvertPlan& plan, ConvertProgress& progress);

}  // namespace bitnet
