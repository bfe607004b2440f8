// Checkpoints on Hugging Face keep four rows of codes in one row of bytes: with `out` rows in all,
// bits (2i + 1, 2i) of packed row r are row i * out / 4 + r.
#include "formats/layouts.h"

namespace bitnet {

void unpack_hf_row(const HfPackedMatrix& matrix, int64_t row, uint8_t* codes) {
  const auto [data, n_bytes, packed_rows, cols] = matrix;
  if (packed_rows <= 0 || cols <= 0 || cols > (int64_t{1} << 60) / packed_rows ||
      n_bytes != static_cast<uint64_t>(packed_rows * cols) || row < 0 || row / 4 >= packed_rows) {
    throw Error(ErrorCode::kInternal, "row " + std::to_string(row) + " of a packed matrix of 4 * " +
                                          std::to_string(packed_rows) + " x " +
                                          std::to_string(cols) + " does not exist");
  }
  const uint8_t* bytes = data + row % packed_rows * cols;
  const int shift = static_cast<int>(2 * (row / packed_rows));
  uint8_t bad = 0;
  for (int64_t i = 0; i < cols; ++i) {
    const uint8_t code = bytes[i] >> shift & 3;
    bad |= code & code >> 1;
    codes[i] = code;
  }
  if (bad != 0) fail_code("packed", row);
}

}  // namespace bitnet
