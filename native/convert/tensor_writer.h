// One tensor on its way from its source to its place in the output file.
#pragma once

#include "base/file_writer.h"
#include "convert/plan.h"
#include "convert/row_loop.h"
#include "convert/source_rows.h"

namespace bitnet {

// Adds the written bytes to progress.done_bytes. Throws as convert() does.
ConvertResult write_tensor(const SourceRows& source, RowLoop& loop, FileWriter& file,
                           ConvertProgress& progress);

}  // namespace bitnet
