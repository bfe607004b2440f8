// TL2, made for AVX2 table look-ups. The first k3 = cols / BK * BK columns are stored as triples
// v = 9 t0 + 3 t1 + t2: a nibble |v| (0..13) and a sign bit; the other k2 as pairs, like TL1.
// Regions, one after the other:
//   triple nibbles  [rows / BM][k3 / BK][BM / 32][BK / 6][32 rows]: high nibble the first triple
//   signs           [rows / BM][k3 / BK][BM / 32][BK / 24][16] u16: a bit per triple and row
//   pair nibbles    [rows / BM][k2 / 32][BM / 32][8][32 rows]: high nibble the first pair
// then padding, one f32 scale for the whole tensor and 28 bytes without meaning.
// The rows of a nibble group lie in the order 0-7, 16-23, 8-15, 24-31, as AVX2 unpacks them; the
// u16 of the signs belongs to rows r and r + 16, bits 15, 13, ... to row r, 14, 12, ... to r + 16.
#include "formats/layouts.h"

namespace bitnet {
namespace {

// [sign << 4 | nibble] -> three codes; the high bit is set where the nibble is impossible.
constexpr auto kTripleCodes = [] {
  std::array<std::array<uint8_t, 3>, 32> table{};
  for (int i = 0; i < 32; ++i) {
    const int magnitude = i & 15, invalid = magnitude > 13 ? 0x80 : 0;
    const int v = (invalid ? 0 : i < 16 ? magnitude : -magnitude) + 13;  // base 3: the codes
    table[i] = {static_cast<uint8_t>(v / 9 | invalid), static_cast<uint8_t>(v / 3 % 3),
                static_cast<uint8_t>(v % 3)};
  }
  return table;
}();

// Where one row lies in the tiling: which row tile, which 32 rows of it, which row of those.
struct RowPlace {
  int64_t tile, group, groups, row, lane;

  RowPlace(int64_t r, int64_t BM) : tile(r / BM), group(r % BM / 32), groups(BM / 32), row(r % 32) {
    constexpr int64_t kOrder[] = {0, 2, 1, 3};
    lane = 8 * kOrder[row / 8] + row % 8;
  }
};

// Eight triples: four bytes of two nibbles, 32 bytes apart, and a word whose bits 15, 13, ... 1 are
// their signs. Returns the bits that tell an impossible nibble.
inline uint8_t unpack_triples(const uint8_t* nibbles, uint32_t signs, uint8_t* codes) {
  uint8_t bad = 0;
  for (int j = 0; j < 4; ++j, codes += 6) {
    const uint32_t byte = nibbles[32 * j];
    const auto& high = kTripleCodes[(signs << 4 * j >> 11 & 16) | byte >> 4];
    const auto& low = kTripleCodes[(signs << 4 * j >> 9 & 16) | (byte & 15)];
    bad |= high[0] | low[0];
    std::memcpy(codes, high.data(), 3);
    std::memcpy(codes + 3, low.data(), 3);
  }
  return bad;
}

}  // namespace

float unpack_tl2_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  const int64_t BM = tensor.tl.BM, BK = tensor.tl.BK;
  const int64_t k3 = tensor.cols / BK * BK, k2 = tensor.cols - k3;
  const RowPlace place(row, BM);
  const uint8_t* const nibbles = tensor.data;
  const uint8_t* const signs = nibbles + tensor.rows * k3 / 6;
  const uint8_t* const pairs = signs + tensor.rows * k3 / 24;

  uint8_t bad = 0;
  for (int64_t kt = 0; kt < k3 / BK; ++kt) {
    const int64_t group = (place.tile * (k3 / BK) + kt) * place.groups + place.group;
    const uint8_t* n = nibbles + group * (BK / 6) * 32 + place.lane;
    const uint8_t* s = signs + group * (BK / 24) * 32 + place.row % 16 * 2;
    for (int64_t block = 0; block < BK / 24; ++block, n += 4 * 32, s += 32, codes += 24) {
      bad |= unpack_triples(n, uint32_t{load_unaligned<uint16_t>(s)} << (place.row / 16), codes);
    }
  }
  for (int64_t kt = 0; kt < k2 / 32; ++kt) {
    const int64_t group = (place.tile * (k2 / 32) + kt) * place.groups + place.group;
    const uint8_t* p = pairs + group * 8 * 32 + place.lane;
    for (int64_t i = 0; i < 8; ++i, p += 32, codes += 4) {
      const auto& four = kPairCodes[*p];
      bad |= four[0] | four[2];
      std::memcpy(codes, four.data(), 4);
    }
  }
  if (bad & 0x80) fail_code("TL2", row);
  return load_unaligned<float>(tensor.data + tensor.n_bytes - 32);
}

}  // namespace bitnet
