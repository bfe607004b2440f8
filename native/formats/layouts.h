// What the layout files (i2_s, tl1, tl2, tq, iq_bn) offer to ternary.cpp. Each unpacks one row into
// codes and returns its scale; ternary.cpp has checked the row number and the size of the data.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

#include "error.h"
#include "formats/ternary.h"

namespace bitnet {

float unpack_i2_s_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_tl1_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_tl2_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_tq1_0_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_tq2_0_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_iq1_bn_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
float unpack_iq2_bn_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes);

template <typename T>
T load_unaligned(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
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

}  // namespace bitnet
