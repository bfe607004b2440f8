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

}  // namespace

constinit const PairTable kPairCodes = make_pair_table();

float unpack_tl1_row(const TernaryTensor& tensor, int64_t row, uint8_t* codes) {
  const int64_t BM = tensor.tl.BM, BK = tensor.tl.BK, bm = tensor.tl.bm, by = 256 / bm;
  const int64_t in_tile = row % BM, in_sub_tile = in_tile % bm;
  const int64_t column_step = bm / 16 * (by / 4) * 16;  // bytes of one sub-tile, by columns wide
  const int64_t sub_tile_bytes = BK / by * column_step;
  const int64_t tile_bytes = BM / bm * sub_tile_bytes;
  const uint8_t* tile = tensor.data + row / BM * (tensor.cols / BK) * tile_bytes +
                        in_tile / bm * sub_tile_bytes + in_sub_tile / 16 * (by / 4) * 16 +
                        in_sub_tile % 16;
  uint8_t bad = 0;
  for (int64_t col = 0; col < tensor.cols; col += BK, tile += tile_bytes) {
    for (const uint8_t* p = tile; p < tile + sub_tile_bytes; p += column_step) {
      for (int64_t q = 0; q < by / 4; ++q, codes += 4) {
        const auto& four = kPairCodes[p[16 * q]];
        bad |= four[0] | four[2];
        std::memcpy(codes, four.data(), 4);
      }
    }
  }
  if (bad & 0x80) fail_code("TL1", row);
  return load_unaligned<float>(tensor.data + tensor.rows * tensor.cols / 4);
}

}  // namespace bitnet
