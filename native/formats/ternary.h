// Every ternary file format -> plain codes. A code is t + 1: 0, 1, 2 for weights -1, 0, +1.
// One file per layout (i2_s, tl1, tl2, tq, iq_bn); this header is what the rest of the core sees of
// them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/tensor_type.h"

namespace bitnet {

// Tile sizes of the TL1 and TL2 layouts for one matrix shape. They are not stored in a GGUF file:
// bitnet.cpp keeps them in kernel_config.ini, and the sets of its setup_env.py are built in.
struct TlConfig {
  uint32_t rows, cols;  // the shape it is for: M, K
  uint32_t BM, BK, bm;  // tile rows, tile columns, sub-tile rows
};

// Parses kernel_config.ini ([Kernels_i] sections with m, k, bm, bk, bmm). Throws kBadFile naming
// `name`.
std::vector<TlConfig> parse_tl_config(const std::string& text, const std::string& name);
// The built-in config for a shape; throws kUnsupported if no model of bitnet.cpp has it. type:
// kTL1, kTL2, kTL2_V2.
TlConfig builtin_tl_config(TensorType type, uint32_t rows, uint32_t cols);
// Throws kUnsupported if the tile sizes do not divide the shape as the layout needs.
void check_tl_config(TensorType type, const TlConfig& config);

struct TernaryTensor {
  TensorType type;
  int64_t rows, cols;
  const uint8_t* data;
  uint64_t n_bytes;
  TlConfig tl;  // used by TL1 and TL2 only
};

// Writes the `cols` codes of one row and returns the scale that multiplies them. Thread-safe.
// Throws kUnsupported if the row has no single scale (TQ blocks that differ), kBadFile on an
// impossible code.
float unpack_ternary_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);

// The canonical I2_S layout of one row, which all kernels read: blocks of 128 codes in 32 bytes,
// element 32g + p of a block in byte p, bits (7 - 2g, 6 - 2g). The row is padded to a multiple of
// 128 columns with code 1 (weight 0). out: padded_cols / 4 bytes, padded_cols = cols rounded up to
// 128.
void pack_i2_s_row(const uint8_t* codes, int64_t cols, uint8_t* out);

}  // namespace bitnet
