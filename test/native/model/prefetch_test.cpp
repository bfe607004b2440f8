// The choice of how far ahead weights are asked for: it is one of two, or the given one where
// nothing is to be learned.
#include "model/prefetch.h"

#include <vector>

#include "base/aligned.h"
#include "check.h"

namespace {

// Layers that share one matrix [rows, cols] of packed weights.
class Layers {
 public:
  Layers(size_t n, int64_t rows, int64_t cols) : memory_(static_cast<size_t>(rows * cols / 4)) {
    bitnet::Linear w;
    w.is_ternary = true;
    w.rows = rows;
    w.cols = cols;
    w.ternary = {memory_.data(), rows, cols, cols / 4, 1, nullptr};
    bitnet::Layer layer;
    layer.q = layer.k = layer.v = layer.o = layer.gate = layer.up = layer.down = w;
    list.assign(n, layer);
  }
  std::vector<bitnet::Layer> list;

 private:
  bitnet::HugeArray memory_;
};

int64_t choose(const Layers& layers, int64_t given) {
  bitnet::ThreadPool pool(2);
  bitnet::Tuning tuning;
  tuning.prefetch_bytes = given;
  return bitnet::choose_prefetch(layers.list, bitnet::select_kernels(), pool, tuning);
}

}  // namespace

TEST("large ternary layers get the given distance or the other one that is known") {
  const Layers layers(13, 1000, 2048);  // rows that are no multiple of a chunk
  const int64_t chosen = choose(layers, 8192);
  CHECK(chosen == 8192 || chosen == 2048);
  CHECK_EQ(choose(layers, 2048), 2048);
}

TEST("small models, other layouts and float layers keep the given distance") {
  CHECK_EQ(choose(Layers(13, 64, 256), 4096), 4096);
  CHECK_EQ(choose(Layers(12, 1000, 2048), 4096), 4096);
  Layers trits(13, 1000, 2048), floats(13, 1000, 2048);
  trits.list[5].v.ternary.layout = bitnet::WeightLayout::kTrits;
  floats.list[12].down.is_ternary = false;
  CHECK_EQ(choose(trits, 4096), 4096);
  CHECK_EQ(choose(floats, 4096), 4096);
}
