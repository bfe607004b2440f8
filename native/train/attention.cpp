#include "train/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace bitnet {

namespace {

// Query rows [first, first + n) of a document that begins at token `begin` of the row, and a head.
struct Block {
  int64_t begin, first, n, head;
  int64_t n_keys() const { return first + n; }  // of the last row; all begin with the document
};

// One thread's view of the operands of a head.
class AttentionHead {
 public:
  AttentionHead(const Compute& compute, const AttentionShape& shape, const float* q, const float* k,
                const float* v, int thread)
      : kernels_(compute.kernels),
        shape_(shape),
        q_(q),
        k_(k),
        v_(v),
        scratch_(compute.gemm_scratch(thread)) {}

  GemmFactor queries(const Block& b) const {
    return {q_ + (b.begin + b.first) * shape_.query_cols() + b.head * shape_.head_dim,
            shape_.query_cols(), 1};
  }
  GemmFactor keys(const Block& b) const { return of_kv(k_, b); }
  GemmFactor values(const Block& b) const { return of_kv(v_, b); }

  // p [n, n_keys] = the softmax of the block's scores, 0 for keys that a row does not see.
  void probabilities(const Block& b, float* p) const {
    const int64_t n_keys = b.n_keys();
    std::fill_n(p, b.n * n_keys, 0.0f);
    multiply(queries(b), flip(keys(b)), b.n, n_keys, shape_.head_dim, p, n_keys);
    for (int64_t i = 0; i < b.n; ++i) softmax(p + i * n_keys, b.first + i + 1, n_keys);
  }

  void multiply(const GemmFactor& a, const GemmFactor& b, int64_t m, int64_t n, int64_t k, float* c,
                int64_t c_stride) const {
    kernels_.gemm(a, b, m, n, k, c, c_stride, scratch_);
  }
  static GemmFactor flip(const GemmFactor& f) { return {f.data, f.col_step, f.row_step}; }

  const Kernels& kernels() const { return kernels_; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.head_dim)); }

 private:
  GemmFactor of_kv(const float* data, const Block& b) const {
    const int64_t group = shape_.n_heads / shape_.n_kv_heads;
    return {data + b.begin * shape_.key_cols() + b.head / group * shape_.head_dim,
            shape_.key_cols(), 1};
  }

  void softmax(float* row, int64_t seen, int64_t n_keys) const {
    float largest;
    const double sum = kernels_.exponentials(row, scale(), seen, &largest);
    kernels_.scale(row, static_cast<float>(1.0 / sum), seen);
    std::fill(row + seen, row + n_keys, 0.0f);
  }

  const Kernels& kernels_;
  const AttentionShape& shape_;
  const float *q_, *k_, *v_;
  float* scratch_;
};

// A head's part of rows [n, cols].
void zero_rows(float* x, int64_t n, int64_t head_dim, int64_t cols) {
  for (int64_t i = 0; i < n; ++i) std::fill_n(x + i * cols, head_dim, 0.0f);
}

// f(block) for the blocks of a document [begin, end) and a head.
template <class Body>
void for_blocks(int64_t begin, int64_t end, int64_t head, Body&& body) {
  for (int64_t first = 0; first < end - begin; first += kQueryBlock)
    body(Block{begin, first, std::min(kQueryBlock, end - begin - first), head});
}

std::vector<Block> list_blocks(std::span<const int64_t> ends, int64_t n_heads) {
  std::vector<Block> out;
  int64_t begin = 0;
  for (const int64_t end : ends) {
    for (int64_t head = 0; head < n_heads; ++head)
      for_blocks(begin, end, head, [&](const Block& b) { out.push_back(b); });
    begin = end;
  }
  return out;
}

// The scores' gradient from dp [n, n_keys], that by the probabilities, in its place.
void scores_backward(const Kernels& kernels, const Block& b, const float* p, float factor,
                     float* dp) {
  const int64_t n_keys = b.n_keys();
  for (int64_t i = 0; i < b.n; ++i, p += n_keys, dp += n_keys) {
    const int64_t seen = b.first + i + 1;
    kernels.softmax_backward(p, factor, dp, seen);
    std::fill(dp + seen, dp + n_keys, 0.0f);
  }
}

// A block's part of the gradients: dq of its rows, and what it adds to those of its keys and
// values.
void block_backward(const AttentionHead& head, const AttentionShape& shape, const Block& b,
                    const float* dy, const AttentionGradients& out, float* p, float* dp) {
  const int64_t cols = shape.query_cols(), d = shape.head_dim, n_keys = b.n_keys();
  const int64_t row = b.begin + b.first, offset = b.head * d;
  const GemmFactor by_result{dy + row * cols + offset, cols, 1};
  float* head_dv = out.head_dv + b.begin * cols + offset;
  float* head_dk = out.head_dk + b.begin * cols + offset;
  head.probabilities(b, p);
  head.multiply({p, 1, n_keys}, by_result, n_keys, d, b.n, head_dv, cols);
  std::fill_n(dp, b.n * n_keys, 0.0f);
  head.multiply(by_result, AttentionHead::flip(head.values(b)), b.n, n_keys, d, dp, n_keys);
  scores_backward(head.kernels(), b, p, head.scale(), dp);
  head.multiply({dp, n_keys, 1}, head.keys(b), b.n, d, n_keys, out.dq + row * cols + offset, cols);
  head.multiply({dp, 1, n_keys}, head.queries(b), n_keys, d, b.n, head_dk, cols);
}

// out [n, key_cols] = the sums over the query heads that share each key head, in their order.
void sum_groups(Compute& compute, const AttentionShape& shape, int64_t n, const float* by_head,
                float* out) {
  const int64_t group = shape.n_heads / shape.n_kv_heads, d = shape.head_dim;
  compute.each(n * shape.n_kv_heads, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const float* from = by_head + i * group * d;
      float* to = out + i * d;
      std::copy(from, from + d, to);
      for (int64_t g = 1; g < group; ++g)
        for (int64_t j = 0; j < d; ++j) to[j] += from[g * d + j];
    }
  });
}

// Kernels::rotate of the pairs (x[2i], x[2i + 1]).
void rotate_neighbours(const float* cos, const float* sin, bool backward, float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i, x += 2) {
    const float re = x[0], im = x[1], s = backward ? -sin[i] : sin[i];
    x[0] = re * cos[i] - im * s;
    x[1] = re * s + im * cos[i];
  }
}

}  // namespace

RopeTable::RopeTable(std::span<const double> freqs, int64_t longest)
    : half_(static_cast<int64_t>(freqs.size())), values_(static_cast<size_t>(2 * longest * half_)) {
  for (int64_t position = 0; position < longest; ++position) {
    for (int64_t i = 0; i < half_; ++i) {
      const double angle = static_cast<double>(position) * freqs[static_cast<size_t>(i)];
      float* at = values_.data() + 2 * position * half_ + i;
      at[0] = static_cast<float>(std::cos(angle));
      at[half_] = static_cast<float>(std::sin(angle));
    }
  }
}

void rope(Compute& compute, const AttentionShape& shape, std::span<const int64_t> ends,
          bool backward, int64_t n_heads, float* x) {
  const int64_t half = shape.head_dim / 2, width = n_heads * shape.head_dim;
  compute.each(ends.back(), kLightRows, [&](int64_t first, int64_t last, int) {
    for (int64_t t = first; t < last; ++t) {
      const auto document = std::upper_bound(ends.begin(), ends.end(), t);
      const int64_t position = document == ends.begin() ? t : t - *(document - 1);
      const float *cos = shape.rope->cos(position), *sin = shape.rope->sin(position);
      for (float* head = x + t * width; head < x + (t + 1) * width; head += shape.head_dim) {
        if (shape.halves) {
          compute.kernels.rotate(cos, sin, backward, head, head + half, half);
        } else {
          rotate_neighbours(cos, sin, backward, head, half);
        }
      }
    }
  });
}

void attention_forward(Compute& compute, const AttentionShape& shape, std::span<const int64_t> ends,
                       const float* q, const float* k, const float* v, float* out) {
  const std::vector<Block> blocks = list_blocks(ends, shape.n_heads);
  const int64_t cols = shape.query_cols(), d = shape.head_dim;
  compute.each(static_cast<int64_t>(blocks.size()), 1, [&](int64_t begin, int64_t end, int thread) {
    const AttentionHead head(compute, shape, q, k, v, thread);
    float* p = compute.attention_scratch(thread);
    for (int64_t i = begin; i < end; ++i) {
      const Block& b = blocks[static_cast<size_t>(i)];
      float* result = out + (b.begin + b.first) * cols + b.head * d;
      head.probabilities(b, p);
      zero_rows(result, b.n, d, cols);
      head.multiply({p, b.n_keys(), 1}, head.values(b), b.n, d, b.n_keys(), result, cols);
    }
  });
}

void attention_backward(Compute& compute, const AttentionShape& shape,
                        std::span<const int64_t> ends, const float* q, const float* k,
                        const float* v, const float* dy, const AttentionGradients& out) {
  const int64_t n = ends.back(), n_documents = static_cast<int64_t>(ends.size());
  const int64_t cols = shape.query_cols(), d = shape.head_dim;
  compute.each(n_documents * shape.n_heads, 1, [&](int64_t first, int64_t last, int thread) {
    const AttentionHead head(compute, shape, q, k, v, thread);
    float* p = compute.attention_scratch(thread);
    for (int64_t i = first; i < last; ++i) {
      const int64_t document = i / shape.n_heads;
      const int64_t begin = document == 0 ? 0 : ends[static_cast<size_t>(document - 1)];
      const int64_t end = ends[static_cast<size_t>(document)];
      for (float* zero : {out.dq, out.head_dk, out.head_dv})
        zero_rows(zero + begin * cols + i % shape.n_heads * d, end - begin, d, cols);
      for_blocks(begin, end, i % shape.n_heads, [&](const Block& b) {
        block_backward(head, shape, b, dy, out, p, p + kQueryBlock * b.n_keys());
      });
    }
  });
  sum_groups(compute, shape, n, out.head_dk, out.dk);
  sum_groups(compute, shape, n, out.head_dv, out.dv);
}

}  // namespace bitnet
