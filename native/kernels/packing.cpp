#include "kernels/packing.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "formats/ternary.h"

namespace bitnet {

namespace {

int64_t stride_of(int64_t cols) {
  return (cols + kActivationPad - 1) / kActivationPad * kActivationPad;
}

// One group of kLutRows rows, [kLutRows, stride] -> [stride / 4, kLutRows] bytes.
void pack_pair_group(const uint8_t* codes, int64_t stride, uint8_t* out) {
  for (int64_t c = 0; c < stride; c += 4, out += kLutRows) {
    for (int64_t r = 0; r < kLutRows; ++r) {
      const uint8_t* p = codes + r * stride + c;
      out[r] = static_cast<uint8_t>((3 * p[0] + p[1]) << 4 | (3 * p[2] + p[3]));
    }
  }
}

// One group, [kLutRows, stride] -> [stride / 24 rounded up, 5, kLutRows] bytes; the fifth are
// signs.
void pack_triple_group(const uint8_t* codes, int64_t stride, uint8_t* out) {
  for (int64_t first = 0; first < stride; first += 24, out += 5 * kLutRows) {
    std::memset(out, 0, 5 * kLutRows);
    for (int64_t r = 0; r < kLutRows; ++r) {
      for (int64_t i = 0; i < 8; ++i) {
        int v = 0;
        for (int64_t c = first + 3 * i; c < first + 3 * i + 3; ++c) {
          v = 3 * v + (c < stride ? codes[r * stride + c] - 1 : 0);
        }
        const int nibble = v < 0 ? -v : v;
        out[i / 2 * kLutRows + r] |= static_cast<uint8_t>(i % 2 ? nibble : nibble << 4);
        if (v < 0) out[4 * kLutRows + r] |= static_cast<uint8_t>(0x80 >> i);
      }
    }
  }
}

// One row -> [stride / 320 rounded up, 64] bytes.
void pack_trit_row(const uint8_t* codes, int64_t stride, uint8_t* out) {
  for (int64_t first = 0; first < stride; first += 320, out += 64) {
    for (int64_t m = 0; m < 64; ++m) {
      int idx = 0;
      for (int64_t c = first + m; c < first + 320; c += 64)
        idx = 3 * idx + (c < stride ? codes[c] : 1);
      out[m] = static_cast<uint8_t>((256 * idx + 242) / 243);
    }
  }
}

}  // namespace

int64_t packed_row_bytes(WeightLayout layout, int64_t cols) {
  const int64_t stride = stride_of(cols);
  switch (layout) {
    case WeightLayout::kTrits:
      return (stride + 319) / 320 * 64;
    case WeightLayout::kPairs:
      return stride / 4;
    case WeightLayout::kTriples:
      return (stride + 23) / 24 * 5;
    case WeightLayout::kI2S:
      break;
  }
  return (cols + 127) / 128 * 32;
}

int64_t packed_bytes(WeightLayout layout, int64_t rows, int64_t cols) {
  const bool groups = layout == WeightLayout::kPairs || layout == WeightLayout::kTriples;
  const int64_t padded = groups ? (rows + kLutRows - 1) / kLutRows * kLutRows : rows;
  return padded * packed_row_bytes(layout, cols);
}

void pack_layout(const Kernels& kernels, WeightLayout layout, const uint8_t* codes, int64_t n_rows,
                 int64_t cols, uint8_t* out) {
  const int64_t stride = stride_of(cols), row_bytes = packed_row_bytes(layout, cols);
  if (layout == WeightLayout::kI2S) {
    for (int64_t r = 0; r < n_rows; ++r) pack_i2_s_row(codes + r * cols, cols, out + r * row_bytes);
    return;
  }
  std::vector<int64_t> index(static_cast<size_t>(cols));  // where each column goes
  for (int64_t c = 0; c < cols; ++c) index[c] = kernels.activation_index(c);
  std::vector<uint8_t> ordered(static_cast<size_t>(kLutRows * stride));  // [kLutRows, stride]
  for (int64_t first = 0; first < n_rows; first += kLutRows, out += kLutRows * row_bytes) {
    const int64_t n = n_rows - first < kLutRows ? n_rows - first : kLutRows;
    std::fill(ordered.begin(), ordered.end(), uint8_t{1});
    for (int64_t r = 0; r < n; ++r) {
      const uint8_t* row = codes + (first + r) * cols;
      for (int64_t c = 0; c < cols; ++c) ordered[r * stride + index[c]] = row[c];
    }
    if (layout == WeightLayout::kPairs) {
      pack_pair_group(ordered.data(), stride, out);
    } else if (layout == WeightLayout::kTriples) {
      pack_triple_group(ordered.data(), stride, out);
    } else {
      for (int64_t r = 0; r < n; ++r)
        pack_trit_row(&ordered[r * stride], stride, out + r * row_bytes);
    }
  }
}

}  // namespace bitnet
