#include "train/linear.h"

#include <algorithm>

#include "base/numbers.h"
#include "train/parameter.h"
#include "train/random.h"

namespace bitnet {

namespace {

constexpr int64_t kTokens = 256;                      // that share a reading of the weights
constexpr int64_t kWeightRows = Tuning{}.batch_rows;  // per chunk of work

// to = x with dropout, or x += it: element (t, c) of a row is kept by a number of its own.
template <class Use>
void for_dropout(Compute& compute, const TrainLinear& w, const DropoutKey& key,
                 std::span<const int64_t> row_ends, Use&& use) {
  const float p = w.adapter.dropout, growth = 1.0f / (1.0f - p);
  compute.each(row_ends.back(), kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const auto row = std::upper_bound(row_ends.begin(), row_ends.end(), t) - row_ends.begin();
      const int64_t place = row == 0 ? t : t - row_ends[static_cast<size_t>(row - 1)];
      const KeyedRandom random({key.seed, key.step, w.id, key.row + static_cast<uint64_t>(row),
                                static_cast<uint64_t>(place)});
      for (int64_t c = 0; c < w.cols; ++c)
        use(t * w.cols + c, random.at(static_cast<uint64_t>(c)) >= p ? growth : 0.0f);
    }
  });
}

bool drops(const TrainLinear& w, const DropoutKey& key) {
  return key.active && w.adapter.dropout > 0;
}

// The input of the adapter: x, or what dropout leaves of it in `spare`.
const float* adapter_input(Compute& compute, const TrainLinear& w, const LinearInput& input,
                           const DropoutKey& key, float* spare) {
  if (!drops(w, key)) return input.x();
  const float* x = input.x();
  for_dropout(compute, w, key, input.row_ends(),
              [=](int64_t i, float factor) { spare[i] = x[i] * factor; });
  return spare;
}

void scale_rows(Compute& compute, float* x, int64_t n, float factor) {
  compute.each(n, 4096, [=, &compute](int64_t begin, int64_t end, int) {
    compute.kernels.scale(x + begin, factor, end - begin);
  });
}

void base_forward(Compute& compute, const TrainLinear& w, const LinearInput& input, float* y) {
  const int64_t blocks = (w.rows + kWeightRows - 1) / kWeightRows;
  const int64_t parts = (input.n() + kTokens - 1) / kTokens;
  compute.each(blocks * parts, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i / blocks * kTokens, row = i % blocks * kWeightRows;
      const QuantizedBatch batch = input.part(first, std::min(kTokens, input.n() - first));
      compute.kernels.ternary_matmul(w.weights, batch, y + first * w.rows, w.rows, row,
                                     std::min(row + kWeightRows, w.rows),
                                     compute.matmul_scratch(thread));
    }
  });
}

// v = scaling dy B; dA += vT x; dB += dyT u, u = scaling A x; dx += v A.
void adapter_backward(Compute& compute, const TrainLinear& w, const LinearInput& input,
                      const DropoutKey& key, const LinearBackward& arrays) {
  const TrainAdapter& adapter = w.adapter;
  const int64_t n = input.n(), r = adapter.rank;
  float* v = arrays.lora_dy;
  const float* x = adapter_input(compute, w, input, key, arrays.spare);
  compute.multiply(plain(arrays.dy, w.rows), plain(adapter.b->value.data(), r), n, r, w.rows, v, r,
                   false);
  scale_rows(compute, v, n * r, adapter.scaling);
  compute.multiply_rows(transposed(v, r), plain(x, w.cols), r, w.cols, input.row_ends(),
                        adapter.a->gradient.data(), w.cols);
  compute.multiply_rows(transposed(arrays.dy, w.rows), plain(arrays.lora, r), w.rows, r,
                        input.row_ends(), adapter.b->gradient.data(), r);
  if (!arrays.dx) return;
  if (!drops(w, key)) {
    compute.multiply(plain(v, r), plain(adapter.a->value.data(), w.cols), n, w.cols, r, arrays.dx,
                     w.cols, true);
    return;
  }
  compute.multiply(plain(v, r), plain(adapter.a->value.data(), w.cols), n, w.cols, r, arrays.spare,
                   w.cols, false);
  float* dx = arrays.dx;
  const float* masked = arrays.spare;
  for_dropout(compute, w, key, input.row_ends(),
              [=](int64_t i, float factor) { dx[i] += masked[i] * factor; });
}

}  // namespace

LinearInput::LinearInput(Compute& compute, int64_t most_tokens, int64_t widest)
    : compute_(compute) {
  const auto rows = [most_tokens](int64_t n) { return static_cast<size_t>(most_tokens * n); };
  quantized_ = AlignedArray<int8_t>(rows(round_up(widest, kActivationPad)));
  scales_ = AlignedArray<float>(rows(1));
  sums_ = AlignedArray<int32_t>(rows(1));
  if (compute.kernels.find_pairs) pairs_ = AlignedArray<TokenPairs>(rows(1));
}

int64_t LinearInput::bytes(const Kernels& kernels, int64_t most_tokens, int64_t widest) {
  const int64_t pairs = kernels.find_pairs ? static_cast<int64_t>(sizeof(TokenPairs)) : 0;
  return most_tokens * (round_up(widest, kActivationPad) + 8 + pairs);
}

void LinearInput::set(const float* x, int64_t cols, bool is_quantized) {
  x_ = x;
  cols_ = cols;
  stride_ = round_up(cols, kActivationPad);
  if (!is_quantized) return;
  const Kernels& kernels = compute_.kernels;
  compute_.each(n(), 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      int8_t* q = quantized_.data() + t * stride_;
      kernels.quantize(x + t * cols, cols, stride_, q, &scales_[static_cast<size_t>(t)],
                       &sums_[static_cast<size_t>(t)]);
      if (!kernels.find_pairs) continue;
      kernels.find_pairs(q, stride_, &scales_[static_cast<size_t>(t)],
                         &sums_[static_cast<size_t>(t)], &pairs_[static_cast<size_t>(t)]);
    }
  });
}

QuantizedBatch LinearInput::part(int64_t begin, int64_t n) const {
  QuantizedBatch out{n, stride_, quantized_.data() + begin * stride_, scales_.data() + begin,
                     sums_.data() + begin};
  if (compute_.kernels.find_pairs) out.pairs = pairs_.data() + begin;
  return out;
}

// The kernel keeps its int8 columns in an order of its own, so they are rounded once more, as it
// does. find_pairs() may have negated a token and its scale, which gives the same numbers.
void LinearInput::dequantize(float* out) const {
  compute_.each(n(), kLightRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      compute_.kernels.rounded(x_ + t * cols_, scales_[static_cast<size_t>(t)], out + t * cols_,
                               cols_);
    }
  });
}

void linear_forward(Compute& compute, const TrainLinear& w, const LinearInput& input,
                    const DropoutKey& key, float* y, float* lora, float* spare) {
  base_forward(compute, w, input, y);
  const TrainAdapter& adapter = w.adapter;
  if (!adapter.a) return;
  const int64_t n = input.n(), r = adapter.rank;
  const float* x = adapter_input(compute, w, input, key, spare);
  compute.multiply(plain(x, w.cols), transposed(adapter.a->value.data(), w.cols), n, r, w.cols,
                   lora, r, false);
  scale_rows(compute, lora, n * r, adapter.scaling);
  compute.multiply(plain(lora, r), transposed(adapter.b->value.data(), r), n, w.rows, r, y, w.rows,
                   true);
}

void linear_backward(Compute& compute, const TrainLinear& w, const LinearInput& input,
                     const DropoutKey& key, const LinearBackward& arrays) {
  if (arrays.dx)
    compute.multiply_transposed(arrays.dy, w.weights, input.n(), arrays.dx, arrays.dx_adds);
  if (w.adapter.a) adapter_backward(compute, w, input, key, arrays);
  if (!w.master) return;
  input.dequantize(arrays.spare);
  compute.multiply_rows(transposed(arrays.dy, w.rows), plain(arrays.spare, w.cols), w.rows, w.cols,
                        input.row_ends(), w.master->gradient.data(), w.cols);
}

}  // namespace bitnet
