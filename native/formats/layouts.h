// What the layout files (i2_s, tl1, tl2, tq, iq_bn) offer to ternary.cpp. Each unpacks one row into
// codes and returns its scale, and packs a range of rows; ternary.cpp has checked row numbers,
// shapes, the size of the data and, for packing, the codes.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/error.h"
#include "formats/ternary.h"

namespace bitnet {

float unpack_i2_s_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_tl1_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_tl2_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_tq1_0_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_tq2_0_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_iq1_bn_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_iq2_bn_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);

// Rows to pack. begin and end are multiples of ternary_row_granularity(), or end is the last row.
struct PackRange {
  const TernaryLayout& out;
  int64_t begin, end;
  const uint8_t* codes;  // [end - begin, cols]
  float scale;
  uint8_t* data;  // of the whole tensor

  const uint8_t* row(int64_t r) const { return codes + (r - begin) * out.cols; }
};

void pack_i2_s_rows(const PackRange& range);
void pack_tl1_rows(const PackRange& range);
void pack_tl2_rows(const PackRange& range);
void pack_tq1_0_rows(const PackRange& range);
void pack_tq2_0_rows(const PackRange& range);
void pack_iq1_bn_rows(const PackRange& range);
void pack_iq2_bn_rows(const PackRange& range);

// Bytes of the rows of a TL2 tensor, scale and the padding before it excluded.
int64_t tl2_packed_bytes(const TernaryLayout& out);

template <typename T>
T load_unaligned(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

template <typename T>
void store_unaligned(uint8_t* p, T value) {
  std::memcpy(p, &value, sizeof(T));
}

// The scale as the f16 that `type` stores. Throws kUnsupported if nothing of it would be left.
uint16_t f16_scale(TensorType type, float scale);

// n_trits codes, `step` apart, as the fraction ceil(256 idx / 243) of a byte; the first code is the
// most significant of five base-3 digits.
inline uint8_t pack_trits(const uint8_t* codes, int64_t step, int n_trits) {
  uint32_t index = 0;
  for (int n = 0; n < 5; ++n) index = 3 * index + (n < n_trits ? codes[n * step] : 0);
  return static_cast<uint8_t>((256 * index + 242) / 243);
}

[[noreturn]] inline void fail_code(const char* type, int64_t row) {
  throw Error(ErrorCode::kBadFile, std::string(type) + " row " + std::to_string(row) +
                                       " holds a code that stands for no weight (damaged file?)");
}

// One byte of two nibbles -> four codes, in the order in which they are stored: TL1 everywhere,
// TL2 for the columns that its triples leave over. A nibble is 3 * code0 + code1, 0..8.
// The high bit of each code byte is set where the nibble is impossible.
using PairTable = std::array<std::array<uint8_t, 4>, 256>;
extern const PairTable kPairCodes;

inline uint8_t pack_pairs(const uint8_t* codes) {
  return static_cast<uint8_t>((3 * codes[0] + codes[1]) << 4 | (3 * codes[2] + codes[3]));
}

}  // namespace bitnet
