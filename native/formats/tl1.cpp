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

}  // namespace

constinit const PairTable kPairCodes = make_pair_table();

float unpack_tl1_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
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

void pack_tl1_rows(const PackRange& range) {
  const TlConfig& tl = range.out.tl;
  for (int64_t r = range.begin; r < range.end; ++r) {
    const uint8_t* codes = range.row(r);
    Tl1Row(tl, r).for_each_byte(range.out.cols / tl.BK, [&](int64_t offset) {
      range.data[offset] = pack_pairs(codes);
      codes += 4;
    });
  }
}

}  // namespace bitnet
