#include "model/check.h"

#include "model/config.h"
#include "model/tensors.h"

namespace bitnet {

void check_model(const Gguf& gguf, const TokenizerOptions& options) {
  const bool is_vocabulary = gguf.tensors().empty();
  if (!is_vocabulary)
    read_config(gguf, Purpose::kWrite);  // first, as it is the most useful to hear
  const Tokenizer tokenizer(gguf, options);
  if (!is_vocabulary) check_tensors(gguf, read_config(gguf, tokenizer, Purpose::kWrite));
}

}  // namespace bitnet
