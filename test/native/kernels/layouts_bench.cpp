// Times the weight layouts of one kernel against each other, one thread, CPU time, taken in turns
// so that other load hits all alike. Prints Markdown.
//   layouts_bench [kernel] [rounds]
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "base/aligned.h"
#include "formats/ternary.h"
#include "kernels/kernels.h"
#include "kernels/packing.h"

namespace bitnet {
namespace {

constexpr WeightLayout kLayouts[] = {WeightLayout::kI2S, WeightLayout::kTrits, WeightLayout::kPairs,
                                     WeightLayout::kTriples};
constexpr int64_t kFarBytes = int64_t{256} << 20;  // of I2_S: beyond every cache

double cpu_ms() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) * 1e-6;
}

struct Case {
  int64_t rows, cols, n_tokens;
  bool far;  // another copy of the matrix for each product, so that it comes from memory
};

// One round: ms per product.
double run(const Kernels& k, const Case& c, WeightLayout layout, const uint8_t* weights,
           int64_t n_copies, const float* scales, QuantizedBatch x, uint8_t* tables, float* out,
           uint8_t* scratch) {
  const int64_t bytes = packed_bytes(layout, c.rows, c.cols);
  const bool lut = k.lut_tables && c.n_tokens <= kFewTokens &&
                   (layout == WeightLayout::kPairs || layout == WeightLayout::kTriples);
  const double start = cpu_ms();
  int64_t n = 0;
  do {
    if (lut) {
      const int64_t blocks = lut_blocks(layout, x.stride);
      for (int64_t t = 0; t < c.n_tokens; ++t) {
        k.lut_tables(layout, x.q + t * x.stride, x.stride, 0, blocks, tables + t * blocks * 256);
      }
      x.tables = tables;
    }
    const TernaryMatrix w{weights + n % n_copies * bytes,
                          c.rows,
                          c.cols,
                          packed_row_bytes(layout, c.cols),
                          1,
                          scales,
                          layout};
    matmul_of(k, layout)(w, x, out, c.rows, 0, c.rows, scratch);
    ++n;
  } while (n < n_copies || cpu_ms() - start < 20);
  return (cpu_ms() - start) / static_cast<double>(n);
}

void bench(const Kernels& k, const Case& c, int rounds) {
  const int64_t i2s_bytes = packed_bytes(WeightLayout::kI2S, c.rows, c.cols);
  const int64_t n_copies = c.far ? kFarBytes / i2s_bytes : 1;
  std::vector<uint8_t> codes(c.rows * c.cols);
  uint32_t random = 1;
  for (auto& code : codes) code = (random = random * 1664525u + 1013904223u) % 0xfffffff3u % 3;
  const int64_t stride = (c.cols + kActivationPad - 1) / kActivationPad * kActivationPad;
  AlignedArray<int8_t> q(c.n_tokens * stride);
  std::vector<float> scale(c.n_tokens), out(c.n_tokens * c.rows), x(c.cols), row_scales(c.rows, 1);
  std::vector<int32_t> sum(c.n_tokens);
  for (int64_t t = 0; t < c.n_tokens; ++t) {
    for (auto& v : x) v = static_cast<float>((random = random * 1664525u + 1013904223u) >> 8);
    k.quantize(x.data(), c.cols, stride, q.data() + t * stride, &scale[t], &sum[t]);
  }
  const QuantizedBatch batch{c.n_tokens, stride, q.data(), scale.data(), sum.data(), nullptr};
  AlignedArray<uint8_t> scratch(kMatmulScratch), tables(kFewTokens * stride * 16 + 4096);
  AlignedArray<uint8_t> weights[4];
  for (int l = 0; l < 4; ++l) {
    const int64_t bytes = packed_bytes(kLayouts[l], c.rows, c.cols);
    weights[l] = AlignedArray<uint8_t>(bytes * n_copies);
    if (l == 0) {
      for (int64_t r = 0; r < c.rows; ++r) {
        pack_i2_s_row(&codes[r * c.cols], c.cols, weights[0].data() + r * (i2s_bytes / c.rows));
      }
    } else {
      pack_layout(k, kLayouts[l], codes.data(), c.rows, c.cols, weights[l].data());
    }
    for (int64_t i = 1; i < n_copies; ++i)
      std::memcpy(weights[l].data() + i * bytes, weights[l].data(), bytes);
  }
  std::vector<double> ms[4];
  for (int i = 0; i < rounds; ++i) {
    for (int l = 0; l < 4; ++l) {
      ms[l].push_back(run(k, c, kLayouts[l], weights[l].data(), n_copies, row_scales.data(), batch,
                          tables.data(), out.data(), scratch.data()));
    }
  }
  double median[4];
  for (int l = 0; l < 4; ++l) {
    std::nth_element(ms[l].begin(), ms[l].begin() + rounds / 2, ms[l].end());
    median[l] = ms[l][rounds / 2];
  }
  std::printf("| %s | %ld x %ld | %ld | %s | %.3f | %.2f | %.2f | %.2f |\n", k.name,
              static_cast<long>(c.rows), static_cast<long>(c.cols), static_cast<long>(c.n_tokens),
              c.far ? "memory" : "cache", median[0], median[0] / median[1], median[0] / median[2],
              median[0] / median[3]);
  std::fflush(stdout);
}

}  // namespace
}  // namespace bitnet

int main(int argc, char** argv) {
  using namespace bitnet;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 9;
  std::printf("| kernel | shape | tokens | weights from | i2_s, ms | trits | pairs | triples |\n");
  std::printf("|---|---|---|---|---|---|---|---|\n");
  constexpr int64_t kShapes[][2] = {{2560, 2560}, {6912, 2560}, {3200, 8640}, {1536, 4096}};
  for (const Kernels* k : all_kernels()) {
    if (!supported(*k) || (argc > 1 && *argv[1] && std::strcmp(argv[1], k->name) != 0)) continue;
    for (const auto& shape : kShapes) {
      for (bool far : {false, true}) bench(*k, {shape[0], shape[1], 1, far}, rounds);
      for (int64_t n : {8, 128}) bench(*k, {shape[0], shape[1], n, false}, rounds);
    }
  }
}
