// Every ternary file format <-> plain codes. A code is t + 1: 0, 1, 2 for weights -1, 0, +1.
// One file per layout (i2_s, tl1, tl2, tq, iq_bn); this header is what the rest of the core sees of
// them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/tensor_type.h"

namespace bitnet {

// TL1 and TL2 lie in tiles whose sizes a reader must know.
bool is_tiled(TensorType type);

// Tile sizes of the TL1 and TL2 layouts for one matrix shape. bitnet.cpp keeps them in
// kernel_config.ini alone, and the sets of its setup_env.py are built in. This program writes
// others into the file, too (gguf/tiles.h).
struct TlConfig {
  uint32_t rows, cols;  // the shape it is for: M, K
  uint32_t BM, BK, bm;  // tile rows, tile columns, sub-tile rows

  bool operator==(const TlConfig&) const = default;
};

// Parses kernel_config.ini ([Kernels_i] sections with m, k, bm, bk, bmm). Throws kBadFile naming
// `name`.
std::vector<TlConfig> parse_tl_config(const std::string& text, const std::string& name);
// Of the functions below, `type` is kTL1 or kTL2.
// Whether it is one of bitnet.cpp's own.
bool is_builtin_tl_config(TensorType type, const TlConfig& config);
// To read with: the one of `configs` for the shape, else the built-in one. There is no third way:
// with wrong sizes a file gives other weights. Throws kUnsupported.
TlConfig known_tl_config(TensorType type, int64_t rows, int64_t cols,
                         const std::vector<TlConfig>& configs);
// To write with: the same, and for any other shape what the rule of the type says. Throws
// kUnsupported, saying why, if no tiles fit.
TlConfig choose_tl_config(TensorType type, int64_t rows, int64_t cols,
                          const std::vector<TlConfig>& configs);
// Throws kUnsupported if the tile sizes do not divide the shape as the layout needs.
void check_tl_config(TensorType type, const TlConfig& config);

// How the codes of an I2_S tensor lie. Nothing in a file says so: all published files are
// canonical, the others come from some builds of bitnet.cpp and must be named by whoever reads
// them.
enum class I2SLayout : uint8_t {
  kCanonical,   // blocks of 128 codes in 32 bytes
  kArm64,       // blocks of 64 codes in 16 bytes: 2026 builds for ARM
  kRowGroup,    // four rows in a byte: builds with ACT_PARALLEL off
  kSequential,  // four neighbours in a byte: llama-quantize of mid 2026
};

struct TernaryTensor {
  TensorType type;
  int64_t rows, cols;
  const uint8_t* data;
  uint64_t n_bytes;
  TlConfig tl;                            // used by TL1 and TL2 only
  I2SLayout i2s = I2SLayout::kCanonical;  // used by I2_S only
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

// TQ and IQ: every row, or every block of it, holds its own scale. The others hold one per tensor.
bool has_row_scales(TensorType type);
// The scale that a reader will find: TQ and IQ1_BN round it to f16.
float stored_scale(TensorType type, float scale);

// A whole tensor to write. I2_S is always canonical.
struct TernaryLayout {
  TensorType type;
  int64_t rows, cols;
  TlConfig tl = {};  // used by TL1 and TL2 only
};

// Throws kUnsupported, saying why, if the type cannot hold a matrix of this shape. The functions
// below assume that it can: check once per tensor.
void check_ternary_layout(const TernaryLayout& out);
// Ranges of rows that begin and end at multiples of this (or at the last row) share no byte: I2_S
// blocks may straddle rows, TL2 keeps the signs of two rows in one word.
int64_t ternary_row_granularity(const TernaryLayout& out);
// Writes rows [row_begin, row_end), a range as above, into the buffer of the whole tensor,
// tensor_bytes() long. Ranges may be written in any order and at the same time. codes: [row_end -
// row_begin, cols]. The types whose rows or blocks hold their own scale (TQ, IQ) store `scale`; TQ
// and IQ1_BN round it to f16 (kUnsupported if it is too large or too small for that). Throws
// kInternal on a range that is not as above or a code above 2, kBadFile on a scale that is not
// finite.
void pack_ternary_rows(const TernaryLayout& out, int64_t row_begin, int64_t row_end,
                       const uint8_t* codes, float scale, uint8_t* tensor_data);
// The bytes that belong to no row: the scale of I2_S, TL1 and TL2, and zeros for all padding. With
// it and all rows, every byte of the tensor is written: the buffer need not be zeroed.
void write_ternary_tail(const TernaryLayout& out, float scale, uint8_t* tensor_data);

// The weights of packed Hugging Face checkpoints (uint8, quant_method "bitnet"): bits 2i + 1, 2i of
// packed row r are the codes of row i * packed_rows + r, so there are 4 * packed_rows rows.
struct HfPackedMatrix {
  const uint8_t* data;  // [packed_rows, cols]
  uint64_t n_bytes;
  int64_t packed_rows, cols;
};
// Writes the `cols` codes of one row, 0 <= row < 4 * packed_rows. Throws kBadFile on code 3.
void unpack_hf_row(const HfPackedMatrix& matrix, int64_t row, uint8_t* codes);

}  // namespace bitnet
