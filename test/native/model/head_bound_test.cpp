// The bound by which the two-stage head leaves rows out: inputs for which it is only just enough.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "model/head.h"

using namespace bitnet;

namespace {

// A head of F32 rows, with a copy however small it is.
struct SmallHead {
  std::vector<float> weights;  // [rows, cols]
  ThreadPool pool{1};
  Linear layer;

  SmallHead(std::vector<float> data, int64_t cols) : weights(std::move(data)) {
    layer.type = TensorType::kF32;
    layer.data = reinterpret_cast<const uint8_t*>(weights.data());
    layer.cols = cols;
    layer.rows = static_cast<int64_t>(weights.size()) / cols;
    layer.row_bytes = 4 * cols;
  }

  // The likeliest token of the full head must be exact in the answer that the copy gives for k = 1,
  // for every kernel.
  void check_likeliest(const std::vector<float>& hidden) {
    HeadOptions options;
    options.worth_a_copy = 0;
    for (const Kernels* kernels : all_kernels()) {
      if (!supported(*kernels)) continue;
      Head head(*kernels, pool, layer, options, nullptr);
      CHECK(head.is_compact());
      std::vector<float> all(static_cast<size_t>(layer.rows)), top(all.size());
      head.all(hidden.data(), 1, all.data());
      const HeadQuery query{hidden.data(), 1, {}, top.data()};
      head.top({&query, 1});
      const auto likeliest = std::max_element(all.begin(), all.end()) - all.begin();
      CHECK_EQ(top[static_cast<size_t>(likeliest)], all[static_cast<size_t>(likeliest)]);
    }
  }
};

}  // namespace

// Integers that the copy and the 14-bit input hold exactly, so that nothing but the rounding of
// float sums tells the rows apart: all have the same product, as each is the first one with weights
// exchanged between columns of equal inputs. Inputs are positive in half of the 32 lanes and
// negative in the others: the sum of a lane grows beyond 2^25, where floats are 4 apart, and the
// sum of them all is small enough to keep what was lost.
TEST("the head's bound allows for the rounding of float sums") {
  constexpr int64_t kRows = 300, kCols = 4096, kValues = 16;
  std::mt19937 random(11);
  for (int round = 0; round < 6; ++round) {
    std::vector<float> hidden(kCols);
    std::vector<std::vector<int64_t>> columns(kValues);  // with the same input
    for (int64_t c = 0; c < kCols; ++c) {
      const uint32_t value = random() % (kValues / 2);
      const bool negative = c % 32 >= 16;
      hidden[c] = (8191.0f - 313.0f * static_cast<float>(value)) * (negative ? -1.0f : 1.0f);
      columns[value + (negative ? kValues / 2 : 0)].push_back(c);
    }
    std::vector<float> weights(kRows * kCols);
    for (int64_t c = 0; c < kCols; ++c)
      weights[c] = c == 0 ? 127.0f : static_cast<float>(random() % 127);
    for (int64_t r = 1; r < kRows; ++r) {
      for (const std::vector<int64_t>& equal : columns) {
        std::vector<int64_t> from = equal;
        std::shuffle(from.begin(), from.end(), random);
        for (size_t i = 0; i < equal.size(); ++i) weights[r * kCols + equal[i]] = weights[from[i]];
      }
    }
    SmallHead(std::move(weights), kCols).check_likeliest(hidden);
  }
}

// The error of a row's copy points along the input, where Cauchy-Schwarz is an equality: the row is
// 0.49 larger than its copy in the direction of the input everywhere, and likelier than one whose
// copy is exact and 1 larger in a quarter of the columns.
TEST("the head's bound allows for the error of the copy") {
  constexpr int64_t kRows = 64, kCols = 256, kLikeliest = 37, kNext = 5;
  std::mt19937 random(12);
  std::vector<float> hidden(kCols), weights(kRows * kCols);
  for (float& x : hidden) x = random() % 2 ? 8191.0f : -8191.0f;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 1; c < kCols; ++c)
      weights[r * kCols + c] = static_cast<float>(random() % 3) - 1.0f;
  }
  for (int64_t c = 1; c < kCols; ++c) {
    const float sign = hidden[c] > 0 ? 1.0f : -1.0f, shared = 20 * sign;
    weights[kLikeliest * kCols + c] = shared + 0.49f * sign;
    weights[kNext * kCols + c] = shared + (c % 4 == 0 ? sign : 0);
  }
  for (int64_t r = 0; r < kRows; ++r) weights[r * kCols] = 127;  // the step of every copy is 1
  SmallHead head(weights, kCols);
  head.check_likeliest(hidden);
}
