// Models that are spread over several files, as llama-gguf-split writes them:
// NAME-00001-of-00003.gguf and so on in one folder. Every part has its own tensors; the first one
// has the metadata.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"

namespace bitnet {

inline constexpr std::string_view kSplitPrefix = "split.";  // of the keys about it

struct SplitPlace {
  uint32_t no = 0, count = 1;  // which part, from 0, of how many; an ordinary file is the only one
};

// What a file says of itself. Throws kBadFile for a place that is impossible, kUnsupported for more
// parts than are opened at once.
SplitPlace split_place(const Gguf& gguf);

// The paths of all parts, by the path of one. Throws kBadFile if its name is not that of the part.
std::vector<std::string> split_paths(const std::string& path, SplitPlace place);

}  // namespace bitnet
