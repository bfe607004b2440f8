// The weight layouts that are made at load for one kernel, besides I2_S. `codes` are the codes
// (weight + 1) of a row in the order of the kernel's activations (Kernels::activation_index),
// `stride` of them: cols rounded up to kActivationPad, code 1 where there is no column.
//
// Trits: blocks of 64 bytes for 320 codes; digit n of byte m is code 64 n + m. A byte is the
// fraction 0.d0 d1 d2 d3 d4 in base 3, as ceil(256 idx / 243): multiplying by 3 brings one digit
// after the other above the point (TQ1_0 of llama.cpp has the same bytes in another order).
//
// Pairs: groups of 32 rows. For each 4 codes 32 bytes, one for each row: high nibble 3 c0 + c1, low
// nibble 3 c2 + c3.
// Triples: groups of 32 rows. For each 24 codes 4 x 32 bytes of two nibbles, high nibble first: the
// magnitude of v = 9 t0 + 3 t1 + t2; then 32 bytes, one for each row, with the sign of triple i in
// bit 7 - i. Codes beyond the stride are 1. A last group of fewer rows is filled with code 1.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace bitnet {

constexpr int64_t kLutRows = 32;

// Bytes of a whole matrix in a layout made here, and TernaryMatrix::row_bytes.
int64_t packed_row_bytes(WeightLayout layout, int64_t cols);
int64_t packed_bytes(WeightLayout layout, int64_t rows, int64_t cols);

// Codes in the order of their columns, [n_rows, cols], -> packed_bytes(layout, n_rows, cols). A
// matrix may be packed in parts of kLutRows rows. Also makes I2_S, the same for every kernel.
void pack_layout(const Kernels& kernels, WeightLayout layout, const uint8_t* codes, int64_t n_rows,
                 int64_t cols, uint8_t* out);

}  // namespace bitnet
