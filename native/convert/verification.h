// Reads a finished file back through the GGUF reader and compares it with what was meant.
#pragma once

#include <string>
#include <vector>

#include "convert/plan.h"
#include "convert/row_loop.h"

namespace bitnet {

// written: what became of plan.tensors. Adds the checked bytes to progress.done_bytes. Throws
// kBadFile.
void verify(const ConvertPlan& plan, const std::string& outfile,
            const std::vector<ConvertResult>& written, RowLoop& loop, ConvertProgress& progress);

}  // namespace bitnet
