// What is told of the weights of a tensor: of good ones, impossible ones and holes.
#include "gguf/statistics.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "formats/ternary.h"
#include "gguf_builder.h"

using bitnet::Gguf;
using bitnet::TensorStatistics;

namespace {

constexpr uint32_t kF32Id = 0, kI2SId = 36;
constexpr int64_t kRows = 5, kCols = 128;

std::vector<uint8_t> pack_i2s(const std::vector<uint8_t>& codes, float scale) {
  const bitnet::TernaryLayout layout{bitnet::TensorType::kI2_S, kRows, kCols};
  std::vector<uint8_t> data(kRows * kCols / 4 + 32);
  bitnet::pack_ternary_rows(layout, 0, kRows, codes.data(), scale, data.data());
  bitnet::write_ternary_tail(layout, scale, data.data());
  return data;
}

TensorStatistics examine(uint32_t type, const std::vector<uint8_t>& data) {
  GgufBuilder builder;
  builder.tensor("a", type, {kCols, kRows}, data);
  const std::vector<uint8_t> file = builder.finish();
  const Gguf gguf = Gguf::parse(file, "a.gguf");
  bitnet::ThreadPool pool(2);
  return bitnet::examine_tensor(gguf, gguf.tensors()[0], pool);
}

std::vector<uint8_t> bytes_of(const std::vector<float>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace

TEST("weights are counted by their value") {
  std::vector<uint8_t> codes(kRows * kCols, 1);
  codes[3] = 0;
  codes[200] = codes[201] = 2;
  const TensorStatistics found = examine(kI2SId, pack_i2s(codes, 0.5f));
  CHECK(found.readable && found.ternary);
  CHECK_EQ(found.n_negative, 1);
  CHECK_EQ(found.n_zero, kRows * kCols - 3);
  CHECK_EQ(found.n_positive, 2);
  CHECK_EQ(found.least_scale, 0.5);
  CHECK_EQ(found.most_scale, 0.5);
  CHECK_EQ(found.n_bad_rows, 0);
  CHECK_EQ(found.n_constant_rows, 0);
}

TEST("rows with an impossible code are bad, and bytes of 0 are rows that nobody wrote") {
  std::vector<uint8_t> data = pack_i2s(std::vector<uint8_t>(kRows * kCols, 1), 0.5f);
  data[1] |= 0xc0;                       // code 3 in the first row
  std::memset(data.data() + 64, 0, 32);  // the third row
  const TensorStatistics found = examine(kI2SId, data);
  CHECK_EQ(found.n_bad_rows, 1);
  CHECK_EQ(found.n_constant_rows, 1);
  CHECK_EQ(found.n_zero, (kRows - 2) * kCols);
}

TEST("every row of a tensor whose scale is not finite is bad") {
  std::vector<uint8_t> data = pack_i2s(std::vector<uint8_t>(kRows * kCols, 1), 0.5f);
  const float bad = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(data.data() + kRows * kCols / 4, &bad, sizeof bad);
  CHECK_EQ(examine(kI2SId, data).n_bad_rows, kRows);
}

TEST("floats have a range and a size, and rows that are not finite are bad") {
  std::vector<float> values(kRows * kCols, 2.0f);
  values[0] = -3.0f;
  values[kCols] = std::numeric_limits<float>::infinity();
  std::fill(values.end() - kCols, values.end(), 0.0f);
  const TensorStatistics found = examine(kF32Id, bytes_of(values));
  CHECK(found.readable && !found.ternary);
  CHECK_EQ(found.n_bad_rows, 1);
  CHECK_EQ(found.n_constant_rows, 1);
  CHECK_EQ(found.least, -3.0);
  CHECK_EQ(found.most, 2.0);
  CHECK(found.rms > 1.7 && found.rms < 1.8);
}
