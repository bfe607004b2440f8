#include "train/compute.h"

#include <algorithm>

namespace bitnet {

namespace {

constexpr int64_t kTileRows = 480, kTileCols = 768;  // of a result, for one thread at a time
constexpr int64_t kLeastRows = 48, kLeastCols = 128;
constexpr int64_t kTilesPerThread = 3;  // that threads of different speed end together

int64_t tiles(int64_t n, int64_t size) { return (n + size - 1) / size; }

}  // namespace

Compute::Compute(const Kernels& kernels_in, ThreadPool& pool_in, int64_t attention_floats)
    : kernels(kernels_in),
      pool(pool_in),
      attention_floats_(attention_floats),
      gemm_(static_cast<size_t>(kGemmScratch * pool.size())),
      attention_(static_cast<size_t>(attention_floats * pool.size())) {}

int64_t Compute::scratch_bytes(int n_threads, int64_t attention_floats) {
  return n_threads * (kGemmScratch + attention_floats) * static_cast<int64_t>(sizeof(float));
}

// multiply(row, rows, col, cols, thread) for tiles of a result [m, n]. Smaller tiles pack the
// factors more often, so they are only as small as the number of threads wants.
template <class Multiply>
void Compute::in_tiles(int64_t m, int64_t n, Multiply&& multiply) {
  int64_t rows = kTileRows, cols = kTileCols;
  const int64_t enough = pool.size() == 1 ? 1 : kTilesPerThread * pool.size();
  const auto too_few = [&] { return tiles(m, rows) * tiles(n, cols) < enough; };
  while (too_few() && cols > kLeastCols) cols -= kLeastCols;
  while (too_few() && rows > kLeastRows) rows /= 2;
  rows = std::max(rows, kLeastRows);
  const int64_t across = tiles(n, cols);
  pool.parallel_for(tiles(m, rows) * across, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / across * rows, col = i % across * cols;
      multiply(row, std::min(rows, m - row), col, std::min(cols, n - col), thread);
    }
  });
}

void Compute::multiply(const GemmFactor& a, const GemmFactor& b, int64_t m, int64_t n, int64_t k,
                       float* c, int64_t c_stride) {
  in_tiles(m, n, [&](int64_t row, int64_t rows, int64_t col, int64_t cols, int thread) {
    kernels.gemm({a.data + row * a.row_step, a.row_step, a.col_step},
                 {b.data + col * b.col_step, b.row_step, b.col_step}, rows, cols, k,
                 c + row * c_stride + col, c_stride, gemm_scratch(thread));
  });
}

void Compute::multiply_transposed(const float* dy, const TernaryMatrix& w, int64_t m, float* c) {
  in_tiles(m, w.cols, [&](int64_t row, int64_t rows, int64_t col, int64_t cols, int thread) {
    kernels.ternary_gemm_t({dy + row * w.rows, w.rows, 1}, w, rows, col, col + cols,
                           c + row * w.cols + col, w.cols, gemm_scratch(thread));
  });
}

}  // namespace bitnet
