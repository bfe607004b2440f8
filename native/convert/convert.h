// The driver of conversion: tensors of mapped files (or random ones) -> a GGUF file, one tensor
// after the other, its rows on all threads. Memory: one packed ternary tensor, a few rows per
// thread, and the pages of the source that are being read; never a whole tensor as floats.
#pragma once

#include <string>
#include <vector>

#include "convert/plan.h"

namespace bitnet {

// Writes `outfile`, flushes, and reads everything back through the GGUF reader: types, shapes,
// every code and scale, every byte of the float tensors. One result per tensor; the same bytes for
// any number of threads. Throws kNotFound (a source, the output's folder), kBadFile (NaN, damaged
// source, verification), kUnsupported (weights that are not ternary and not declared so), kNoSpace,
// kAborted; what is written by then stays, for the caller to remove.
std::vector<ConvertResult> convert(const ConvertPlan& plan, const std::string& outfile,
                                   ConvertProgress& progress);

}  // namespace bitnet
