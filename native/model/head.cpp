#include "model/head.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <utility>

#include "base/file_map.h"
#include "formats/dequantize.h"
#include "formats/format.h"

namespace bitnet {

namespace {

constexpr int64_t kScoreRows = 512, kExactRows = 8;  // rows per chunk of work
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Bounds are looked through in blocks, as most blocks have none that is large enough. Compilers
// make vectors of this loop.
constexpr int64_t kBoundBlock = 64;
bool any_reaches(const float* bounds, int64_t n, float least) {
  int any = 0;
  for (int64_t i = 0; i < n; ++i) any |= bounds[i] >= least;
  return any != 0;
}

bool is_float(TensorType type) { return format_of(type).matmul == Matmul::kFloats; }

}  // namespace

Head::Head(const Kernels& kernels, ThreadPool& pool, const Linear& layer,
           const HeadOptions& options, const FileMap* map)
    : kernels_(kernels),
      pool_(pool),
      layer_(layer),
      options_(options),
      map_(map),
      scratch_(static_cast<size_t>(kMatmulScratch * pool.size())),
      logits_(static_cast<size_t>(kHeadRows * kHeadBlockRows * pool.size())),
      x_(static_cast<size_t>(kHeadRows * layer.cols)) {
  if (options.compact && is_float(layer.type) && layer.rows * layer.cols >= options.worth_a_copy &&
      layer.cols <= kHeadMaxCols && !layer.bias && layer.output_scale == 1) {
    build();
  }
}

int64_t Head::compact_bytes() const {
  return is_compact() ? layer_.rows * (stride_ + static_cast<int64_t>(sizeof(CoarseRow))) : 0;
}

void Head::build() {
  stride_ = 64 * head_groups(layer_.cols);
  const size_t rows = static_cast<size_t>(layer_.rows);
  coarse_ = HugeArray(rows * static_cast<size_t>(stride_));
  quantized_.resize(static_cast<size_t>(kHeadRows * head_groups(layer_.cols)));
  rows_.resize(rows);
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

// Row t of x_. As the peers do: both factors of an F16 product are rounded to F16.
void Head::take(int64_t t, const float* hidden) {
  float* x = input(t);
  std::copy(hidden, hidden + layer_.cols, x);
  if (layer_.type != TensorType::kF16) return;
  for (int64_t i = 0; i < layer_.cols; ++i) x[i] = f16_to_f32(f32_to_f16(x[i]));
}

// All logits of the n inputs in x_, which are the hidden states from `first` on.
void Head::multiply(int64_t first, int64_t n, const UseBlock& use) {
  input_.x = x_.data();
  input_.n = n;
  input_.stride = layer_.cols;
  if (takes_integers(layer_)) input_.quantize(layer_.cols);
  pool_.parallel_for(layer_.rows, kHeadBlockRows, [&](int64_t begin, int64_t end, int thread) {
    float* logits = logits_.data() + thread * kHeadRows * kHeadBlockRows;
    for (int64_t row = begin; row < end; row += kHeadBlockRows) {
      Linear block = layer_;
      block.data += row * layer_.row_bytes;
      block.rows = std::min(end - row, kHeadBlockRows);
      multiply_float(kernels_, block, input_, logits, 0, block.rows,
                     scratch_.data() + thread * kMatmulScratch);
      use({first, n, row, row + block.rows, logits});
    }
  });
}

void Head::blocks(const float* hidden, int64_t n, const UseBlock& use) {
  for (int64_t first = 0; first < n; first += kHeadRows) {
    const int64_t group = std::min(n - first, kHeadRows);
    pool_.parallel_for(group, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) take(t, hidden + (first + t) * layer_.cols);
    });
    multiply(first, group, use);
  }
}

void Head::all(const float* hidden, int64_t n, float* out) {
  blocks(hidden, n, [&](const LogitBlock& block) {
    const int64_t rows = block.end - block.begin;
    for (int64_t t = 0; t < block.n; ++t) {
      const float* logits = block.logits + t * rows;
      std::copy(logits, logits + rows, out + (block.first + t) * layer_.rows + block.begin);
    }
  });
}

// Whether the copy can answer. Numbers from 65520 on round to an infinite F16.
bool Head::takes_copy(const HeadQuery& query) const {
  const float limit = layer_.type == TensorType::kF16 ? 65520.0f : kInfinity;
  return is_compact() && query.k > 0 && query.k <= options_.max_top &&
         std::all_of(query.hidden, query.hidden + layer_.cols,
                     [limit](float v) { return std::fabs(v) < limit; });
}

void Head::top(std::span<const HeadQuery> queries) {
  std::vector<const HeadQuery*> from_copy, whole;
  for (const HeadQuery& query : queries) (takes_copy(query) ? from_copy : whole).push_back(&query);
  const auto in_groups = [this](std::span<const HeadQuery* const> list, auto answer) {
    while (!list.empty()) {
      const auto group = list.first(std::min(list.size(), static_cast<size_t>(kHeadRows)));
      (this->*answer)(group);
      list = list.subspan(group.size());
    }
  };
  in_groups(from_copy, &Head::answer_from_copy);
  in_groups(whole, &Head::answer_whole);
}

void Head::answer_whole(std::span<const HeadQuery* const> group) {
  const auto n = static_cast<int64_t>(group.size());
  pool_.parallel_for(n, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) take(t, group[static_cast<size_t>(t)]->hidden);
  });
  multiply(0, n, [group](const LogitBlock& block) {
    const float* logits = block.logits;
    for (const HeadQuery* query : group) {
      std::copy(logits, logits + (block.end - block.begin), query->out + block.begin);
      logits += block.end - block.begin;
    }
  });
}

void Head::answer_from_copy(std::span<const HeadQuery* const> group) {
  const auto n = static_cast<int64_t>(group.size());
  searches_.resize(group.size());
  lower_.resize(std::max(lower_.size(), static_cast<size_t>(n * layer_.rows)));
  upper_.resize(lower_.size());
  const auto each_search = [&](auto step) {
    pool_.parallel_for(n, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) step(t);
    });
  };
  each_search([&](int64_t t) {
    searches_[static_cast<size_t>(t)].query = group[static_cast<size_t>(t)];
    take(t, group[static_cast<size_t>(t)]->hidden);
    quantize(t);
  });
  score(n);
  each_search([&](int64_t t) { seed(t); });
  compute_exactly();
  each_search([&](int64_t t) { widen(t); });
  compute_exactly();
}

// input(t) = unit * q + d, q quantized; x_norm and d_norm: the lengths of input and d, rounded up.
void Head::quantize(int64_t t) {
  const float* x = input(t);
  HeadGroup* groups = quantized_.data() + t * head_groups(layer_.cols);
  const float unit = quantize_head_input(x, layer_.cols, groups, &sums_[t]);
  double x_squares = 0, d_squares = 0;
  for (int64_t i = 0; i < layer_.cols; ++i) {
    const HeadGroup& group = groups[i / 64];
    const int32_t q = 128 * group.high[i % 64] + group.low[i % 64];
    const double d = x[i] - static_cast<double>(unit) * q;
    x_squares += static_cast<double>(x[i]) * x[i];
    d_squares += d * d;
  }
  Search& search = searches_[static_cast<size_t>(t)];
  search.unit = unit;
  search.x_norm = static_cast<float>(std::sqrt(x_squares)) * (1 + 0x1p-20f);
  search.d_norm = static_cast<float>(std::sqrt(d_squares)) * (1 + 0x1p-20f);
}

// lower_ and upper_: bounds of the value that the float kernel computes for each row. With the
// input x = unit * q + d, a row w = scale * c + e, and norms as Euclidean lengths:
//   |w.x - scale * unit * (c.q)| <= |e| |x| + |scale * c| |d| <= |e| |x| + (|w| + |e|) |d|
// (Cauchy-Schwarz), and the float sums deviate from w.x by at most (n / 32 + 8) * 2^-24 * |w| |x|.
void Head::score(int64_t n) {
  const float rounding = static_cast<float>(layer_.cols / 32 + 16) * 0x1p-23f;  // twice the need
  const HeadBatch batch{n, head_groups(layer_.cols), quantized_.data(), nullptr, sums_};
  pool_.parallel_for(layer_.rows, kScoreRows, [&](int64_t begin, int64_t end, int) {
    float sums[kHeadRows * kScoreRows];
    for (; begin < end; begin += kScoreRows) {
      const int64_t last = std::min(end, begin + kScoreRows);
      kernels_.coarse_matmul(coarse() + begin * stride_, batch, sums, kScoreRows, 0, last - begin);
      for (int64_t t = 0; t < n; ++t) {
        // Copies, which the stores below cannot change: compilers make vectors of the loop.
        const Search& search = searches_[static_cast<size_t>(t)];
        const float unit = search.unit, x_norm = search.x_norm, d_norm = search.d_norm;
        const float* of = sums + t * kScoreRows;
        const CoarseRow* rows = rows_.data() + begin;
        float *low = lower(t) + begin, *high = upper(t) + begin;
        for (int64_t i = 0; i < last - begin; ++i) {
          const CoarseRow& row = rows[i];
          const float value = row.scale * unit * of[i];
          const float slack = (row.error * x_norm + (row.norm + row.error) * d_norm +
                               rounding * row.norm * x_norm) *
                              (1 + 0x1p-18f);
          const bool bounded = std::isfinite(slack);  // false: a weight is not a number
          low[i] = bounded ? value - slack : -kInfinity;
          high[i] = bounded ? value + slack : kInfinity;
        }
      }
    }
  });
}

// The first rows to compute: those always wanted, then the k with the largest lower bounds.
void Head::seed(int64_t t) {
  Search& search = searches_[static_cast<size_t>(t)];
  const HeadQuery& query = *search.query;
  std::fill(query.out, query.out + layer_.rows, -kInfinity);
  for (const int32_t id : query.always) lower(t)[id] = -kInfinity;
  search.rows.assign(query.always.begin(), query.always.end());
  using Bound = std::pair<float, int32_t>;
  std::priority_queue<Bound, std::vector<Bound>, std::greater<>> largest;
  const float* bounds = lower(t);
  for (int64_t first = 0; first < layer_.rows; first += kBoundBlock) {
    const int64_t last = std::min(first + kBoundBlock, layer_.rows);
    const bool full = static_cast<int64_t>(largest.size()) == query.k;
    if (full && !any_reaches(bounds + first, last - first, largest.top().first)) continue;
    for (int64_t r = first; r < last; ++r) {
      if (static_cast<int64_t>(largest.size()) == query.k) {
        if (!(bounds[r] > largest.top().first)) continue;
        largest.pop();
      }
      largest.emplace(bounds[r], static_cast<int32_t>(r));
    }
  }
  for (; !largest.empty(); largest.pop()) search.rows.push_back(largest.top().second);
}

// The rest of what can be among the k largest. The least of the k logits that are known is reached
// by at least k rows that count, so a row whose upper bound lies below it cannot.
void Head::widen(int64_t t) {
  Search& search = searches_[static_cast<size_t>(t)];
  const float* out = search.query->out;
  float threshold = kInfinity;
  for (size_t i = search.query->always.size(); i < search.rows.size(); ++i) {
    const int32_t r = search.rows[i];
    // NaN, and rows of `always` where there are too few others, bound nothing.
    const bool counts = lower(t)[r] > -kInfinity && out[r] == out[r];
    threshold = counts ? std::min(threshold, out[r]) : -kInfinity;
    if (!counts) break;
  }
  search.rows.clear();
  const float* bounds = upper(t);
  for (int64_t first = 0; first < layer_.rows; first += kBoundBlock) {
    const int64_t last = std::min(first + kBoundBlock, layer_.rows);
    if (!any_reaches(bounds + first, last - first, threshold)) continue;
    for (int64_t r = first; r < last; ++r) {
      const bool known = out[r] != -kInfinity;
      if (bounds[r] >= threshold && !known) search.rows.push_back(static_cast<int32_t>(r));
    }
  }
}

// The logits of the rows of all searches, in the order of the rows: several may want the same.
void Head::compute_exactly() {
  exact_.clear();
  for (size_t t = 0; t < searches_.size(); ++t) {
    for (const int32_t row : searches_[t].rows) exact_.push_back({row, static_cast<int32_t>(t)});
  }
  std::sort(exact_.begin(), exact_.end());
  exact_.erase(std::unique(exact_.begin(), exact_.end()), exact_.end());
  const auto n = static_cast<int64_t>(exact_.size());
  pool_.parallel_for(n, kExactRows, [&](int64_t begin, int64_t end, int thread) {
    uint8_t* buffer = scratch_.data() + thread * kMatmulScratch;
    const uint8_t* data = nullptr;
    int32_t read = -1;  // the row that `data` is
    for (int64_t i = begin; i < end; ++i) {
      const auto [row, t] = exact_[static_cast<size_t>(i)];
      if (row != read) {
        data = layer_.data + row * layer_.row_bytes;
        if (map_) data = map_->read(data, static_cast<uint64_t>(layer_.row_bytes), buffer);
        read = row;
      }
      kernels_.float_matmul(layer_.type, data, layer_.row_bytes, layer_.cols, input(t), layer_.cols,
                            1, searches_[static_cast<size_t>(t)].query->out + row, 0, 0, 1);
    }
  });
}

}  // namespace bitnet
