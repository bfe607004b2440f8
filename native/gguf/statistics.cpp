#include "gguf/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "formats/format.h"
#include "formats/ternary.h"
#include "gguf/tiles.h"

namespace bitnet {
namespace {

constexpr int64_t kRowsAtOnce = 16;
constexpr double kNone = std::numeric_limits<double>::infinity();

// One per thread, alone on its cache lines.
struct alignas(64) Tally {
  int64_t n_bad_rows = 0, n_constant_rows = 0, n_negative = 0, n_zero = 0, n_positive = 0;
  double least_scale = kNone, most_scale = 0;
  double least = kNone, most = -kNone, squares = 0;
  int64_t n_values = 0;

  void add_codes(const uint8_t* codes, int64_t cols, float scale) {
    int64_t ones = 0, twos = 0;
    uint8_t bad = 0;
    for (int64_t i = 0; i < cols; ++i) {
      ones += codes[i] == 1;
      twos += codes[i] == 2;
      bad |= codes[i] > 2;
    }
    if (bad != 0) {
      ++n_bad_rows;
      return;
    }
    n_zero += ones;
    n_positive += twos;
    n_negative += cols - ones - twos;
    n_constant_rows += twos == cols || ones + twos == 0;
    const double size = std::fabs(static_cast<double>(scale));
    least_scale = std::min(least_scale, size);
    most_scale = std::max(most_scale, size);
  }

  void add_values(const float* x, int64_t cols) {
    double low = kNone, high = -kNone, sum = 0;
    bool finite = true;
    for (int64_t i = 0; i < cols; ++i) {
      const double value = x[i];
      finite &= std::isfinite(value);
      low = std::min(low, value);
      high = std::max(high, value);
      sum += value * value;
    }
    if (!finite) {
      ++n_bad_rows;
      return;
    }
    least = std::min(least, low);
    most = std::max(most, high);
    squares += sum;
    n_values += cols;
    n_constant_rows += low == 0 && high == 0;
  }

  void add(const Tally& other) {
    n_bad_rows += other.n_bad_rows;
    n_constant_rows += other.n_constant_rows;
    n_negative += other.n_negative;
    n_zero += other.n_zero;
    n_positive += other.n_positive;
    least_scale = std::min(least_scale, other.least_scale);
    most_scale = std::max(most_scale, other.most_scale);
    least = std::min(least, other.least);
    most = std::max(most, other.most);
    squares += other.squares;
    n_values += other.n_values;
  }
};

TernaryTensor ternary_of(const Gguf& gguf, const GgufTensor& t) {
  const auto rows = static_cast<int64_t>(t.rows()), cols = static_cast<int64_t>(t.cols());
  TernaryTensor tensor{t.type, rows, cols, t.data, t.n_bytes, {}};
  if (!is_tiled(t.type)) return tensor;
  tensor.tl = known_tl_config(t.type, rows, cols, stored_tiles(gguf, t.type));
  check_tl_config(t.type, tensor.tl);
  return tensor;
}

// body(tally of the thread, row, buffer of a row's elements) for every row.
template <class Element, class Body>
Tally tally_rows(ThreadPool& pool, int64_t rows, int64_t cols, Body&& body) {
  std::vector<Tally> tallies(static_cast<size_t>(pool.size()));
  pool.parallel_for(rows, kRowsAtOnce, [&](int64_t begin, int64_t end, int thread) {
    std::vector<Element> buffer(static_cast<size_t>(cols));
    for (int64_t row = begin; row < end; ++row)
      body(tallies[static_cast<size_t>(thread)], row, buffer.data());
  });
  Tally sum;
  for (const Tally& tally : tallies) sum.add(tally);
  return sum;
}

Tally tally_ternary(const Gguf& gguf, const GgufTensor& t, ThreadPool& pool) {
  const TernaryTensor tensor = ternary_of(gguf, t);
  return tally_rows<uint8_t>(pool, tensor.rows, tensor.cols,
                             [&](Tally& tally, int64_t row, uint8_t* codes) {
                               try {
                                 const float scale = unpack_ternary_row(tensor, row, codes);
                                 tally.add_codes(codes, tensor.cols, scale);
                               } catch (const Error&) {
                                 ++tally.n_bad_rows;
                               }
                             });
}

Tally tally_values(const Format& format, const GgufTensor& t, ThreadPool& pool) {
  const auto rows = static_cast<int64_t>(t.rows()), cols = static_cast<int64_t>(t.cols());
  const uint64_t row_bytes = t.n_bytes / t.rows();
  return tally_rows<float>(pool, rows, cols, [&](Tally& tally, int64_t row, float* values) {
    format.dequantize(t.data + static_cast<uint64_t>(row) * row_bytes, values, cols);
    tally.add_values(values, cols);
  });
}

}  // namespace

TensorStatistics examine_tensor(const Gguf& gguf, const GgufTensor& t, ThreadPool& pool) {
  const Format* format = find_format(t.type);
  TensorStatistics out;
  out.ternary = format && format->ternary;
  out.readable = out.ternary || (format && format->dequantize);
  if (!out.readable || t.rows() == 0 || t.cols() == 0) return out;
  const Tally sum = out.ternary ? tally_ternary(gguf, t, pool) : tally_values(*format, t, pool);
  out.n_bad_rows = sum.n_bad_rows;
  out.n_constant_rows = sum.n_constant_rows;
  out.n_negative = sum.n_negative;
  out.n_zero = sum.n_zero;
  out.n_positive = sum.n_positive;
  if (sum.least_scale <= sum.most_scale) {
    out.least_scale = sum.least_scale;
    out.most_scale = sum.most_scale;
  }
  if (sum.n_values > 0) {
    out.least = sum.least;
    out.most = sum.most;
    out.rms = std::sqrt(sum.squares / static_cast<double>(sum.n_values));
  }
  gguf.dont_need(t.data, t.n_bytes);
  return out;
}

}  // namespace bitnet
