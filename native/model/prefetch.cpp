#include "model/prefetch.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/aligned.h"
#include "base/numbers.h"

namespace bitnet {

namespace {

// An Intel Xeon with AMX decodes 13 to 21 % faster with 2 KiB than with 8, an AMD Zen 5 is fastest
// with 8: few lines can be on their way to the first cache of the one, many to that of the other.
constexpr int64_t kOther = 2 * 1024;
constexpr double kClearly = 0.96;  // of the time
constexpr size_t kLayers = 13;     // to look at, the first of them to warm up
constexpr int64_t kBeyondCaches =
    3 << 20;  // bytes of a layer; all that are looked at are 13 times it

std::vector<const Linear*> matrices(const Layer& l) {
  return {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down};
}

double median(std::vector<double>& list) {
  const auto middle = list.begin() + static_cast<int64_t>(list.size() / 2);
  std::nth_element(list.begin(), middle, list.end());
  return *middle;
}

// Whether the layers that are looked at are ternary in the one layout that has a choice, and large.
bool can_tell(const std::vector<Layer>& layers) {
  if (layers.size() < kLayers) return false;
  return std::all_of(layers.begin(), layers.begin() + kLayers, [](const Layer& layer) {
    int64_t n_bytes = 0;
    for (const Linear* w : matrices(layer)) {
      if (!w->is_ternary || w->ternary.layout != WeightLayout::kI2S) return false;
      n_bytes += w->rows * w->ternary.row_bytes;
    }
    return n_bytes >= kBeyondCaches;
  });
}

// Products of layers with a token of zeros: what is measured is the memory.
class Stopwatch {
 public:
  Stopwatch(const std::vector<Layer>& layers, const Kernels& kernels, ThreadPool& pool,
            const Tuning& tuning)
      : kernels_(kernels),
        pool_(pool),
        tuning_(tuning),
        scratch_(static_cast<size_t>(kMatmulScratch * pool.size())) {
    int64_t widest = 0, tallest = 0;
    for (const Linear* w : matrices(layers[0])) {
      widest = std::max(widest, w->cols);
      tallest = std::max(tallest, w->rows);
    }
    q_.resize(static_cast<size_t>(round_up(widest, kActivationPad)));
    out_.resize(static_cast<size_t>(tallest));
  }

  double seconds_of(const Layer& layer, int64_t prefetch_bytes) {
    const auto begun = std::chrono::steady_clock::now();
    for (const Linear* w : matrices(layer)) multiply(w->ternary, prefetch_bytes);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  }

 private:
  void multiply(const TernaryMatrix& w, int64_t prefetch_bytes) {
    QuantizedBatch x{1, round_up(w.cols, kActivationPad), q_.data(), &scale_, &sum_};
    x.prefetch_bytes = prefetch_bytes;
    const int64_t grain = tuning_.decode_rows, n = (w.rows + grain - 1) / grain;
    pool_.parallel_for(n, 1, [&](int64_t first, int64_t last, int thread) {
      for (int64_t i = first; i < last; ++i) {
        kernels_.ternary_matmul(w, x, out_.data(), w.rows, i * grain,
                                std::min((i + 1) * grain, w.rows),
                                scratch_.data() + thread * kMatmulScratch);
      }
    });
  }

  const Kernels& kernels_;
  ThreadPool& pool_;
  const Tuning& tuning_;
  std::vector<int8_t> q_;
  float scale_ = 1;
  int32_t sum_ = 0;
  std::vector<float> out_;
  AlignedArray<uint8_t> scratch_;
};

}  // namespace

int64_t choose_prefetch(const std::vector<Layer>& layers, const Kernels& kernels, ThreadPool& pool,
                        const Tuning& tuning) {
  const int64_t given = tuning.prefetch_bytes;
  if (given == kOther || !can_tell(layers)) return given;
  Stopwatch watch(layers, kernels, pool, tuning);
  watch.seconds_of(layers[0], given);
  // Every layer once, so that each comes from memory, in turns.
  std::vector<double> with_given, with_other;
  for (size_t i = 1; i < kLayers; ++i) {
    const bool is_other = i % 4 == 1 || i % 4 == 2;
    (is_other ? with_other : with_given)
        .push_back(watch.seconds_of(layers[i], is_other ? kOther : given));
  }
  return median(with_other) < kClearly * median(with_given) ? kOther : given;
}

}  // namespace bitnet
