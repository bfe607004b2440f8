#include "train/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/float_range.h"
#include "run/portable_math.h"

namespace bitnet {

namespace {

// Rows of the head that are read at a time: whole sums of kGemmDepth, so that how they are read
// changes nothing.
constexpr int64_t kHeadBlock = 4 * kGemmDepth;
constexpr int64_t kLargeVocabulary = 1 << 16;

// The positions of a chunk: gradients of the head are summed in chunks, so it must follow from the
// model alone.
constexpr int64_t chunk_of(int64_t n_vocab) {
  return n_vocab >= kLargeVocabulary ? 128 : kGemmDepth;
}

// The loss of a position; its logits become their gradient times weight.
float cross_entropy(const Kernels& kernels, float* z, int64_t n, int32_t target, float weight) {
  if (!all_finite(z, n)) {
    std::fill_n(z, n, std::numeric_limits<float>::quiet_NaN());
    return std::numeric_limits<float>::quiet_NaN();
  }
  const float of_target = z[target];
  float most;
  const double sum = kernels.exponentials(z, 1, n, &most);
  kernels.scale(z, static_cast<float>(static_cast<double>(weight) / sum), n);
  z[target] -= weight;
  return static_cast<float>(portable_log(sum) +
                            (static_cast<double>(most) - static_cast<double>(of_target)));
}

}  // namespace

LossHead::LossHead(Compute& compute, const EmbeddingRows& head, int64_t n_kept)
    : compute_(compute), head_(head), chunk_(chunk_of(head.rows)), n_kept_(n_kept) {
  logits_ = AlignedArray<float>(static_cast<size_t>(std::max(chunk_, n_kept_) * head.rows));
  if (!head.floats())
    rows_ = AlignedArray<float>(static_cast<size_t>(std::min(kHeadBlock, head.rows) * head.cols));
}

int64_t LossHead::logits_bytes(int64_t n_vocab, int64_t n_kept) {
  return std::max(chunk_of(n_vocab), n_kept) * n_vocab * 4;
}

int64_t LossHead::rows_bytes(int64_t n_vocab, int64_t cols, bool in_floats) {
  return in_floats ? 0 : std::min(kHeadBlock, n_vocab) * cols * 4;
}

template <class Use>
void LossHead::for_rows(Use&& use) {
  if (const float* all = head_.floats()) return use(all, int64_t{0}, head_.rows);
  for (int64_t first = 0; first < head_.rows; first += kHeadBlock) {
    const int64_t n = std::min(kHeadBlock, head_.rows - first);
    compute_.each(n, kLightRows, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) head_.read(first + r, rows_.data() + r * head_.cols);
    });
    use(rows_.data(), first, n);
  }
}

void LossHead::logits(const float* hidden, int64_t n, float* out) {
  for_rows([&](const float* rows, int64_t first, int64_t n_rows) {
    compute_.multiply(plain(hidden, head_.cols), transposed(rows, head_.cols), n, n_rows,
                      head_.cols, out + first, head_.rows, false);
  });
}

void LossHead::hidden_gradient(const float* z, int64_t n, float* d_hidden) {
  for_rows([&](const float* rows, int64_t first, int64_t n_rows) {
    compute_.multiply(plain(z + first, head_.rows), plain(rows, head_.cols), n, head_.cols, n_rows,
                      d_hidden, head_.cols, first > 0);
  });
}

void LossHead::head_gradient(const float* z, const float* hidden, int64_t n) {
  compute_.multiply(transposed(z, head_.rows), plain(hidden, head_.cols), head_.rows, head_.cols, n,
                    head_.parameter->gradient.data(), head_.cols, true);
}

void LossHead::run(const float* hidden, std::span<const int32_t> targets, float weight,
                   float* losses, float* d_hidden, int64_t place) {
  const auto n_targets = static_cast<int64_t>(targets.size());
  for (int64_t first = 0; first < n_targets; first += chunk_) {
    const int64_t n = std::min(chunk_, n_targets - first), offset = first * head_.cols;
    float* z = logits_.data() + (n_kept_ > 0 ? (place + first) * head_.rows : 0);
    logits(hidden + offset, n, z);
    compute_.each(n, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        losses[first + i] = cross_entropy(compute_.kernels, z + i * head_.rows, head_.rows,
                                          targets[static_cast<size_t>(first + i)], weight);
      }
    });
    if (!d_hidden) continue;
    hidden_gradient(z, n, d_hidden + offset);
    if (head_.parameter && n_kept_ == 0) head_gradient(z, hidden + offset, n);
  }
}

void LossHead::add_kept(const float* hidden, int64_t place, int64_t n) {
  for (int64_t first = 0; first < n; first += chunk_) {
    head_gradient(logits_.data() + (place + first) * head_.rows, hidden + first * head_.cols,
                  std::min(chunk_, n - first));
  }
}

}  // namespace bitnet
