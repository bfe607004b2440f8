// TL1, made for ARM table look-ups: pairs of columns as nibbles 3 * code0 + code1, two pairs per
// byte, in tiles of BM rows and BK columns. Bytes have the shape
//   [rows / BM][cols / BK][BM / bm][BK / by][bm / 16][by / 4][16], by = 256 / bm:
// row tile, column tile, sub-tile of bm rows, by columns of it, 16 rows of it, 4 columns, the row.
// Then one f32 scale for the whole tensor and 28 bytes without meaning.
#include "formats/layouts.h"

namespace bitnet {
namespace {

constexpr PairTable make_pair_table() {
  PairTable table{};
  for (int byte = 0; byte < 256; ++byte) {
    for (int half = 0; half < 2; ++half) {
      const int nibble = half == 0 ? byte >> 4 : byte & 15;
      const int invalid = nibble > 8 ? 0x80 : 0;
      table[byte][2 * half] = static_cast<uint8_t>(nibble / 3 | invalid);
      table[byte][2 * half + 1] = static_cast<uint8_t>(nibble % 3 | invalid);
    }
  }
  return table;
}

// Where the bytes of one row lie: in every column tile, one byte per 4 columns.
struct Tl1Row {
  int64_t start, tile_bytes, sub_tile_bytes, column_step, quads;

  Tl1Row(const TlConfig& tl, int64_t row) {
    const int64_t BM = tl.BM, BK = tl.BK, bm = tl.bm, by = 256 / bm;
    const int64_t in_tile = row % BM, in_sub_tile = in_tile % bm;
    quads = by / 4;                      // bytes, 16 apart, of `by` columns
    column_step = bm / 16 * quads * 16;  // bytes of one sub-tile, `by` columns wide
    sub_tile_bytes = BK / by * column_step;
    tile_bytes = BM / bm * sub_tile_bytes;
    start = row / BM * (tl.cols / BK) * tile_bytes + in_tile / bm * sub_tile_bytes +
            in_sub_tile / 16 * quads * 16 + in_sub_tile % 16;
  }

  // visit(offset) for every byte of the row, in the order of the columns.
  template <class Visit>
  void for_each_byte(int64_t column_tiles, Visit&& visit) const {
    for (int64_t tile = start; column_tiles > 0; --column_tiles, tile += tile_bytes) {
      for (int64_t p = tile; p < tile + sub_tile_bytes; p += column_step) {
        for (int64_t q = 0; q < quads; ++q) visit(p + 16 * q);
      }
    }
  }
};

float unpack_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  uint8_t bad = 0;
  Tl1Row(tensor.tl, row).for_each_byte(tensor.cols / tensor.tl.BK, [&](int64_t offset) {
    const auto& four = kPairCodes[tensor.data[offset]];
    bad |= four[0] | four[2];
    std::memcpy(codes, four.data(), 4);
    codes += 4;
  });
  if (bad & 0x80) fail_code("TL1", row);
  return load_unaligned<float>(tensor.data + tensor.rows * tensor.cols / 4);
}

void pack_rows(const PackRange& range) {
  const TlConfig& tl = range.out.tl;
  for (int64_t r = range.begin; r < range.end; ++r) {
    const uint8_t* codes = range.row(r);
    Tl1Row(tl, r).for_each_byte(range.out.cols / tl.BK, [&](int64_t offset) {
      range.data[offset] = pack_pairs(codes);
      codes += 4;
    });
  }
}

// The smallest possible tile has 32 rows of 4 columns.
std::optional<uint64_t> n_bytes(uint64_t cols, uint64_t rows) {
  if (rows % 32 != 0 || cols % 4 != 0) return std::nullopt;
  return cols * rows / 4 + kScaleTail;
}

// The sets of bitnet.cpp's setup_env.py, for its three models; other models of the same shapes
// (Falcon3 and Falcon-E among them) share them.
constexpr TlConfig kBuiltin[] = {
    {1536, 4096, 256, 128, 32},  {1536, 1536, 128, 64, 64},  {4096, 1536, 256, 128, 32},
    {3200, 8640, 160, 64, 32},   {3200, 3200, 320, 128, 64}, {8640, 3200, 320, 64, 32},
    {14336, 4096, 256, 128, 32}, {4096, 14336, 128, 64, 64}, {1024, 4096, 256, 128, 32},
    {4096, 4096, 128, 64, 64},
};

const char* tile_problem(const TlConfig& tl) {
  if (tl.rows % tl.BM != 0) return "bm must divide the rows";
  if (tl.bm != 32 && tl.bm != 64) return "bmm must be 32 or 64";
  if (tl.BM % tl.bm != 0) return "bmm must divide bm";
  if (tl.cols % tl.BK != 0) return "bk must divide the columns";
  if (tl.BK % (256 / tl.bm) != 0) return "256 / bmm must divide bk";
  return n_bytes(tl.cols, tl.rows) ? nullptr : "TL1 cannot hold this shape";
}

// The look-up tables of bitnet.cpp are built for 16 columns at a time. Its 16-bit sums hold 258
// columns of a tile; its own sets have at most 128.
const char* choose_tiles(TlConfig& tl) {
  if (tl.rows % 32 != 0) return "its rows are no multiple of 32";
  if (tl.cols % 16 != 0) return "its columns are no multiple of 16";
  tl.BM = choose_tile_rows(tl.rows);
  tl.BK = 128;
  while (tl.cols % tl.BK != 0) tl.BK -= 16;
  tl.bm = 32;
  return nullptr;
}

constexpr TileRules kTiles{kBuiltin, tile_problem, choose_tiles};

constexpr TernaryFormat kTernary{
    .unpack_row = unpack_row,
    .pack_rows = pack_rows,
    .scale = ScalePlace::kTail,
    .packed_bytes = [](const TernaryLayout& out) { return out.rows * out.cols / 4; },
    .tiles = &kTiles,
};

}  // namespace

constinit const PairTable kPairCodes = make_pair_table();

extern constinit const Format kTl1Format{
    .type = TensorType::kTL1,
    .name = "TL1",
    .block_elems = 1,
    .block_bytes = 0,
    .n_bytes = n_bytes,
    .ternary = &kTernary,
    .file_type = 38,
};

}  // namespace bitnet
