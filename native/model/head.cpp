#include "model/head.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <queue>
#include <utility>

#include "base/file_map.h"
#include "formats/dequantize.h"

namespace bitnet {

namespace {

constexpr int64_t kWorthACopy = int64_t{1} << 25;  // elements; a smaller head is read fast enough
constexpr int64_t kScoreRows = 512, kExactRows = 8, kAllRows = 1024;  // rows per chunk of work

bool is_float(TensorType type) {
  return type == TensorType::kF16 || type == TensorType::kBF16 || type == TensorType::kF32;
}

}  // namespace

Head::Head(const Kernels& kernels, ThreadPool& pool, const Linear& layer, bool compact,
           const FileMap* map)
    : kernels_(kernels),
      pool_(pool),
      layer_(layer),
      map_(map),
      scratch_(static_cast<size_t>(kMatmulScratch * pool.size())) {
  if (compact && is_float(layer.type) && layer.rows * layer.cols >= kWorthACopy &&
      layer.cols <= kHeadMaxCols && !layer.bias && layer.output_scale == 1) {
    build();
  }
}

int64_t Head::compact_bytes() const {
  return is_compact() ? layer_.rows * (stride_ + static_cast<int64_t>(sizeof(CoarseRow))) : 0;
}

void Head::build() {
  stride_ = (layer_.cols + 63) / 64 * 64;
  const size_t rows = static_cast<size_t>(layer_.rows);
  coarse_ = HugeArray(rows * static_cast<size_t>(stride_));
  coarse_input_ = AlignedArray<int16_t>(static_cast<size_t>(stride_));
  rows_.resize(rows);
  lower_.resize(rows);
  upper_.resize(rows);
  sums_.resize(rows);
  pool_.parallel_for(layer_.rows, kScoreRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      kernels_.compress_row(layer_.type, layer_.data + r * layer_.row_bytes, layer_.cols,
                            coarse() + r * stride_, &rows_[r]);
    }
    if (map_) {
      map_->dont_need(layer_.data + begin * layer_.row_bytes,
                      static_cast<uint64_t>((end - begin) * layer_.row_bytes));
    }
  });
}

const float* Head::rounded(const float* hidden, int64_t n) {
  if (layer_.type != TensorType::kF16) return hidden;
  rounded_.resize(static_cast<size_t>(n * layer_.cols));
  for (size_t i = 0; i < rounded_.size(); ++i) rounded_[i] = f16_to_f32(f32_to_f16(hidden[i]));
  return rounded_.data();
}

void Head::all(const float* hidden, int64_t n, float* out) {
  input_.x = rounded(hidden, n);
  input_.n = n;
  input_.stride = layer_.cols;
  if (takes_integers(layer_)) input_.quantize(layer_.cols);
  pool_.parallel_for(layer_.rows, kAllRows, [&](int64_t begin, int64_t end, int thread) {
    multiply_float(kernels_, layer_, input_, out, begin, end,
                   scratch_.data() + thread * kMatmulScratch);
  });
}

// lower_ and upper_: bounds of the value that the float kernel computes for each row. With the
// input x = unit * q + d, a row w = scale * c + e, and norms as Euclidean lengths:
//   |w.x - scale * unit * (c.q)| <= |e| |x| + |scale * c| |d| <= |e| |x| + (|w| + |e|) |d|
// (Cauchy-Schwarz), and the float sums deviate from w.x by at most (n / 32 + 8) * 2^-24 * |w| |x|.
void Head::score(const float* x) {
  const int64_t n = layer_.cols;
  const float unit = quantize_head_input(x, n, coarse_input_.data());
  std::fill(coarse_input_.data() + n, coarse_input_.data() + stride_, int16_t{0});
  double x_squares = 0, d_squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double d = x[i] - static_cast<double>(unit) * coarse_input_[i];
    x_squares += static_cast<double>(x[i]) * x[i];
    d_squares += d * d;
  }
  const float x_norm = static_cast<float>(std::sqrt(x_squares)) * (1 + 0x1p-20f);
  const float d_norm = static_cast<float>(std::sqrt(d_squares)) * (1 + 0x1p-20f);
  const float rounding = static_cast<float>(n / 32 + 16) * 0x1p-23f;  // twice what is needed
  pool_.parallel_for(layer_.rows, kScoreRows, [&](int64_t begin, int64_t end, int) {
    kernels_.coarse_matvec(coarse(), stride_, coarse_input_.data(), sums_.data(), begin, end);
    for (int64_t r = begin; r < end; ++r) {
      const CoarseRow& row = rows_[r];
      const float value = row.scale * unit * static_cast<float>(sums_[r]);
      const float slack =
          (row.error * x_norm + (row.norm + row.error) * d_norm + rounding * row.norm * x_norm) *
          (1 + 0x1p-18f);
      const bool bounded = std::isfinite(slack);  // false: a weight is not a number
      lower_[r] = bounded ? value - slack : -std::numeric_limits<float>::infinity();
      upper_[r] = bounded ? value + slack : std::numeric_limits<float>::infinity();
    }
  });
}

void Head::top(const float* hidden, int64_t k, std::span<const int32_t> always, float* out) {
  if (!is_compact() || k > kMaxTop) return all(hidden, 1, out);
  const float* x = rounded(hidden, 1);
  if (!std::all_of(x, x + layer_.cols, [](float v) { return std::isfinite(v); })) {
    return all(hidden, 1, out);
  }
  score(x);
  for (const int32_t id : always) lower_[id] = -std::numeric_limits<float>::infinity();
  std::fill(out, out + layer_.rows, -std::numeric_limits<float>::infinity());
  candidates_.assign(always.begin(), always.end());
  score_exactly(x, out);
  // The k rows of the largest lower bounds. Their least value is reached by at least k rows that
  // count, so a row whose upper bound lies below it cannot be among the k largest.
  using Bound = std::pair<float, int32_t>;
  std::priority_queue<Bound, std::vector<Bound>, std::greater<>> largest;
  for (int32_t r = 0; r < layer_.rows; ++r) {
    if (static_cast<int64_t>(largest.size()) < k) {
      largest.emplace(lower_[r], r);
    } else if (lower_[r] > largest.top().first) {
      largest.pop();
      largest.emplace(lower_[r], r);
    }
  }
  candidates_.clear();
  for (; !largest.empty(); largest.pop()) candidates_.push_back(largest.top().second);
  score_exactly(x, out);
  float threshold = std::numeric_limits<float>::infinity();
  for (const int32_t r : candidates_) {
    // NaN, and rows of `always` where there are too few others, bound nothing.
    const bool counts = lower_[r] > -std::numeric_limits<float>::infinity() && out[r] == out[r];
    threshold = counts ? std::min(threshold, out[r]) : -std::numeric_limits<float>::infinity();
    if (!counts) break;
  }
  candidates_.clear();
  for (int32_t r = 0; r < layer_.rows; ++r) {
    if (upper_[r] >= threshold) candidates_.push_back(r);
  }
  std::erase_if(candidates_, [out](int32_t r) {
    return out[r] != -std::numeric_limits<float>::infinity();  // computed already
  });
  score_exactly(x, out);
}

// out[r] for the rows in candidates_.
void Head::score_exactly(const float* x, float* out) {
  input_.x = x;
  input_.n = 1;
  input_.stride = layer_.cols;
  const auto bytes = static_cast<uint64_t>(layer_.row_bytes);
  pool_.parallel_for(static_cast<int64_t>(candidates_.size()), kExactRows,
                     [&](int64_t begin, int64_t end, int thread) {
                       uint8_t* buffer = scratch_.data() + thread * kMatmulScratch;
                       Linear row = layer_;
                       row.rows = 1;
                       for (int64_t i = begin; i < end; ++i) {
                         const int32_t r = candidates_[static_cast<size_t>(i)];
                         const uint8_t* data = layer_.data + r * layer_.row_bytes;
                         row.data = map_ ? map_->read(data, bytes, buffer) : data;
                         multiply_float(kernels_, row, input_, out + r, 0, 1, nullptr);
                       }
                     });
}

}  // namespace bitnet
