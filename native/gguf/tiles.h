// Tile sizes of TL1 and TL2 tensors in a file's own metadata: "bitnet.tl1.tiles" and
// "bitnet.tl2.tiles", arrays of i32 with M, K, BM, BK and bm of each matrix shape, M x K. Other
// programs do not know the keys; a file without them has the sizes of bitnet.cpp, or those of the
// kernel_config.ini that it was made with.
#pragma once

#include <string_view>
#include <vector>

#include "formats/ternary.h"
#include "gguf/gguf.h"
#include "gguf/writer.h"

namespace bitnet {

bool is_tiles_key(std::string_view key);
// Empty if the file has none for the type (kTL1 or kTL2; for others always). Throws kBadFile.
std::vector<TlConfig> stored_tiles(const Gguf& gguf, TensorType type);
void store_tiles(GgufWriter& file, TensorType type, const std::vector<TlConfig>& tiles);

}  // namespace bitnet
