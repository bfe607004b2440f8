// Whether a file is a model, as far as its metadata and its list of tensors tell.
#pragma once

#include "gguf/gguf.h"
#include "tokenizer/tokenizer.h"

namespace bitnet {

// Refuses what Model::load() would refuse, weights aside; but takes families whose passes are still
// to come, and files with a vocabulary alone. Throws as Tokenizer, read_config() and
// check_tensors().
void check_model(const Gguf& gguf, const TokenizerOptions& options);

}  // namespace bitnet
