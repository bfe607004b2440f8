// TL2, made for AVX2 table look-ups. The first k3 = cols / BK * BK columns are stored as triples
// v = 9 t0 + 3 t1 + t2: a nibble |v| (0..13) and a sign bit; the other k2 as pairs, like TL1.
// Regions, one after the other:
//   triple nibbles  [rows / BM][k3 / BK][BM / 32][BK / 6][32 rows]: high nibble the first triple
//   signs           [rows / BM][k3 / BK][BM / 32][BK / 24][16] u16: a bit per triple and row
//   pair nibbles    [rows / BM][k2 / 32][BM / 32][8][32 rows]: high nibble the first pair
// then padding, one f32 scale for the whole tensor and 28 bytes without meaning.
// The rows of a nibble group lie in the order 0-7, 16-23, 8-15, 24-31, as AVX2 unpacks them; the
// u16 of the signs belongs to rows r and r + 16, bits 15, 13, ... to row r, 14, 12, ... to r + 16.
#include <cstdlib>

#include "base/numbers.h"
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

// The opposite: writes the nibbles and returns the word of signs.
inline uint32_t pack_triples(const uint8_t* codes, uint8_t* nibbles) {
  uint32_t signs = 0;
  for (int i = 0; i < 8; ++i, codes += 3) {
    const int v = 9 * codes[0] + 3 * codes[1] + codes[2] - 13;
    uint8_t& byte = nibbles[32 * (i / 2)];
    byte = static_cast<uint8_t>(i % 2 == 0 ? std::abs(v) << 4 : byte | std::abs(v));
    signs |= uint32_t{v < 0} << (15 - 2 * i);
  }
  return signs;
}

// Where the regions begin, and how many column tiles the rows have in them.
struct Tl2Regions {
  int64_t BK, triple_tiles, pair_tiles;
  int64_t signs, pairs, end;  // offsets; the triple nibbles begin at 0

  Tl2Regions(const TlConfig& tl, int64_t rows, int64_t cols)
      : BK(tl.BK), triple_tiles(cols / BK), pair_tiles(cols % BK / 32) {
    signs = rows * triple_tiles * BK / 6;
    pairs = signs + rows * triple_tiles * BK / 24;
    end = pairs + rows * pair_tiles * 32 / 4;
  }

  // The first bytes of a row's 32-row group in each region, for one column tile.
  int64_t triple_nibbles(const RowPlace& place, int64_t tile) const {
    return group(place, triple_tiles, tile) * (BK / 6) * 32 + place.lane;
  }
  int64_t triple_signs(const RowPlace& place, int64_t tile) const {
    return signs + group(place, triple_tiles, tile) * (BK / 24) * 32 + place.row % 16 * 2;
  }
  int64_t pair_nibbles(const RowPlace& place, int64_t tile) const {
    return pairs + group(place, pair_tiles, tile) * 8 * 32 + place.lane;
  }

 private:
  static int64_t group(const RowPlace& place, int64_t tiles, int64_t tile) {
    return (place.tile * tiles + tile) * place.groups + place.group;
  }
};

// Rows that share sign words: r (upper) and r + 16 (lower) of a group of 32.
void pack_row_pair(const PackRange& range, const Tl2Regions& regions, int64_t r) {
  const RowPlace upper(r, range.out.tl.BM), lower(r + 16, range.out.tl.BM);
  const uint8_t* codes = range.row(r);
  const uint8_t* codes16 = range.row(r + 16);
  for (int64_t tile = 0; tile < regions.triple_tiles; ++tile) {
    uint8_t* n = range.data + regions.triple_nibbles(upper, tile);
    uint8_t* n16 = range.data + regions.triple_nibbles(lower, tile);
    uint8_t* s = range.data + regions.triple_signs(upper, tile);
    for (int64_t block = 0; block < regions.BK / 24; ++block) {
      const uint32_t signs = pack_triples(codes, n) | pack_triples(codes16, n16) >> 1;
      store_unaligned(s, static_cast<uint16_t>(signs));
      codes += 24, codes16 += 24, n += 4 * 32, n16 += 4 * 32, s += 32;
    }
  }
  for (int64_t tile = 0; tile < regions.pair_tiles; ++tile) {
    uint8_t* p = range.data + regions.pair_nibbles(upper, tile);
    uint8_t* p16 = range.data + regions.pair_nibbles(lower, tile);
    for (int64_t i = 0; i < 8; ++i, codes += 4, codes16 += 4) {
      p[32 * i] = pack_pairs(codes);
      p16[32 * i] = pack_pairs(codes16);
    }
  }
}

float unpack_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  const RowPlace place(row, tensor.tl.BM);
  const Tl2Regions regions(tensor.tl, tensor.rows, tensor.cols);
  uint8_t bad = 0;
  for (int64_t tile = 0; tile < regions.triple_tiles; ++tile) {
    const uint8_t* n = tensor.data + regions.triple_nibbles(place, tile);
    const uint8_t* s = tensor.data + regions.triple_signs(place, tile);
    for (int64_t block = 0; block < regions.BK / 24; ++block, n += 4 * 32, s += 32, codes += 24) {
      bad |= unpack_triples(n, uint32_t{load_unaligned<uint16_t>(s)} << (place.row / 16), codes);
    }
  }
  for (int64_t tile = 0; tile < regions.pair_tiles; ++tile) {
    const uint8_t* p = tensor.data + regions.pair_nibbles(place, tile);
    for (int64_t i = 0; i < 8; ++i, p += 32, codes += 4) {
      const auto& four = kPairCodes[*p];
      bad |= four[0] | four[2];
      std::memcpy(codes, four.data(), 4);
    }
  }
  if (bad & 0x80) fail_code("TL2", row);
  return load_unaligned<float>(tensor.data + tensor.n_bytes - kScaleTail);
}

void pack_rows(const PackRange& range) {
  const Tl2Regions regions(range.out.tl, range.out.rows, range.out.cols);
  for (int64_t group = range.begin; group < range.end; group += 32) {
    for (int64_t r = group; r < group + 16; ++r) pack_row_pair(range, regions, r);
  }
}

// What bitnet.cpp allocates: 256 is fixed there, whatever part of the columns is stored as pairs.
constexpr uint64_t allocated_bytes(uint64_t cols, uint64_t rows) {
  const uint64_t data = (cols - 256) * rows / 3 * 5 / 8 + 256 * rows / 2 * 4 / 8;
  return round_up(data, 32) + kScaleTail;
}
static_assert(allocated_bytes(4096, 1536) == 1327136 && allocated_bytes(8640, 3200) == 5794176);

std::optional<uint64_t> n_bytes(uint64_t cols, uint64_t rows) {
  if (rows % 32 != 0 || cols < 256) return std::nullopt;
  return allocated_bytes(cols, rows);
}

// As in tl1.cpp.
constexpr TlConfig kBuiltin[] = {
    {1536, 4096, 256, 96, 32},  {1536, 1536, 128, 192, 32}, {4096, 1536, 256, 96, 32},
    {3200, 8640, 160, 96, 32},  {3200, 3200, 320, 96, 32},  {8640, 3200, 320, 96, 32},
    {14336, 4096, 256, 96, 32}, {4096, 14336, 128, 96, 32}, {1024, 4096, 256, 96, 32},
    {4096, 4096, 128, 96, 32},
};

const char* tile_problem(const TlConfig& tl) {
  if (tl.rows % tl.BM != 0) return "bm must divide the rows";
  if (tl.bm != 32) return "bmm must be 32";
  if (tl.BM % 32 != 0) return "bm must be a multiple of 32";
  if (tl.BK % 24 != 0) return "bk must be a multiple of 24";
  const uint64_t pairs = tl.cols % tl.BK, triples = tl.cols - pairs, rows = tl.rows;
  if (pairs % 32 != 0) return "the columns beyond a multiple of bk must be a multiple of 32";
  const auto bytes = n_bytes(tl.cols, rows);
  if (!bytes) return "TL2 cannot hold this shape";
  const bool has_room = rows * triples / 24 * 5 + rows * pairs / 4 <= *bytes - kScaleTail;
  return has_room ? nullptr : "the tensor has no room for them";
}

// 96 columns as in nearly all of bitnet.cpp's own sets; else the most that leave a multiple of 32
// to the pairs. Its 16-bit sums hold 258 columns of a tile.
const char* choose_tiles(TlConfig& tl) {
  if (tl.rows % 32 != 0) return "its rows are no multiple of 32";
  if (tl.cols < 256) return "it has fewer than 256 columns";
  tl.BM = choose_tile_rows(tl.rows);
  tl.bm = 32;
  tl.BK = 96;
  if (tl.cols % tl.BK % 32 == 0) return nullptr;
  for (tl.BK = 240; tl.BK > 0; tl.BK -= 24) {
    if (tl.cols % tl.BK % 32 == 0) return nullptr;
  }
  return "its columns are no multiple of 24 and some 32 more";
}

constexpr TileRules kTiles{kBuiltin, tile_problem, choose_tiles};

constexpr TernaryFormat kTernary{
    .unpack_row = unpack_row,
    .pack_rows = pack_rows,
    .scale = ScalePlace::kTail,
    .packed_bytes =
        [](const TernaryLayout& out) { return Tl2Regions(out.tl, out.rows, out.cols).end; },
    .granularity = [](int64_t) { return int64_t{32}; },
    .tiles = &kTiles,
};

}  // namespace

extern constinit const Format kTl2Format{
    .type = TensorType::kTL2,
    .name = "TL2",
    .block_elems = 1,
    .block_bytes = 0,
    .n_bytes = n_bytes,
    .ternary = &kTernary,
    .file_type = 39,
};

}  // namespace bitnet
