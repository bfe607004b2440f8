// Splits text into the pieces inside which BPE merges. Hand-written matchers that equal the regular
// expressions of the models exactly; those are quoted above each one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bitnet {

enum class PreTokenizer { kDefault, kGpt2, kLlamaBpe, kQwen2, kFalcon, kFalcon3, kFalconE };

// By the name that a GGUF file has in tokenizer.ggml.pre; nullopt if unknown.
std::optional<PreTokenizer> find_pre_tokenizer(std::string_view name);
const char* pre_tokenizer_name(PreTokenizer pre);
// All names that find_pre_tokenizer knows, separated by commas, for messages.
std::string pre_tokenizer_names();

// The pieces, in order; joined they are `text`. None is empty. Views into `text`.
std::vector<std::string_view> pre_tokenize(PreTokenizer pre, std::string_view text);

}  // namespace bitnet
