// What the files of the ternary layouts (i2_s, tl1, tl2, tq, iq_bn) share, and what the rows of
// their types add to format.h. ternary.cpp has checked row numbers, shapes, the size of the data
// and, for packing, the codes before any of these functions is called.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/error.h"
#include "formats/format.h"
#include "formats/ternary.h"

namespace bitnet {

// I2_S, TL1 and TL2 data ends with the f32 scale of the tensor and 28 bytes without meaning.
inline constexpr uint64_t kScaleTail = 32;

// Rows to pack. begin and end are multiples of ternary_row_granularity(), or end is the last row.
struct PackRange {
  const TernaryLayout& out;
  int64_t begin, end;
  const uint8_t* codes;  // [end - begin, cols]
  float scale;
  uint8_t* data;  // of the whole tensor

  const uint8_t* row(int64_t r) const { return codes + (r - begin) * out.cols; }
};

enum class ScalePlace : uint8_t {
  kTail,    // one for the tensor, in its last kScaleTail bytes
  kRowF32,  // one or more in every row
  kRowF16,
};

// Of the layouts that lie in tiles.
struct TileRules {
  std::span<const TlConfig> builtin;
  // Why tile sizes that are not 0 do not fit their shape; nullptr if they do.
  const char* (*problem)(const TlConfig& tl);
  // The rule for shapes that are not built in: sets BM, BK and bm, such that the kernels that
  // bitnet.cpp generates compute them, too. Returns why no sizes do; nullptr if these do.
  const char* (*choose)(TlConfig& tl);
};

// The rule's tile rows for a number of rows that 32 divides: as many as possible, but at most 256,
// which keeps the sums of a tile in the caches, and a quarter of the rows, because a thread of
// bitnet.cpp takes whole tiles. At least 32, the rows of one step of the kernels.
uint32_t choose_tile_rows(uint32_t rows);

struct TernaryFormat {
  // One row into codes; returns its scale.
  float (*unpack_row)(const TernaryTensor& tensor, int64_t row, uint8_t* codes);
  void (*pack_rows)(const PackRange& range);
  ScalePlace scale = ScalePlace::kRowF16;
  // kTail: bytes of the rows; what follows up to the scale is padding.
  int64_t (*packed_bytes)(const TernaryLayout& out) = nullptr;
  // Rows that ternary_row_granularity() tells; null: 1.
  int64_t (*granularity)(int64_t cols) = nullptr;
  // Why a shape of whole blocks cannot be written; nullptr if it can. Null: it can.
  const char* (*shape_problem)(int64_t rows, int64_t cols) = nullptr;
  const TileRules* tiles = nullptr;
};

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
