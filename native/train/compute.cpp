#include "train/compute.h"

#include <algorithm>

#include "base/numbers.h"

namespace bitnet {

namespace {

// Tiles of a result begin at multiples of these: of the tiles that kernels keep in registers, and
// of blocks of codes.
constexpr int64_t kRowStep = 48, kColStep = 128;
constexpr int64_t kMostTilesPerThread = 4;  // that threads of different speed end together
constexpr int64_t kPackCost = 20;           // of an element of a factor, in products; measured
constexpr int64_t kMemoryGrain = 1 << 14;   // elements

int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }

struct TileSize {
  int64_t rows, cols;
};

// What the busiest of n_threads has to do for a result [m, n]: products, and packing of the lines
// of both factors anew for each tile.
int64_t cost_of(const TileSize& tile, int64_t m, int64_t n, int n_threads) {
  const int64_t tiles = parts(m, tile.rows) * parts(n, tile.cols);
  return parts(tiles, n_threads) * (tile.rows * tile.cols + kPackCost * (tile.rows + tile.cols));
}

// The smallest tiles that take little more time than the best ones.
TileSize tile_size(int64_t m, int64_t n, int n_threads) {
  const TileSize whole{round_up(m, kRowStep), round_up(n, kColStep)};
  if (n_threads == 1) return whole;
  const int64_t most = kMostTilesPerThread * n_threads;
  int64_t least = cost_of(whole, m, n, n_threads);
  const auto for_sizes = [&](auto&& use) {
    for (int64_t down = 1; down <= std::min(most, parts(m, kRowStep)); ++down) {
      for (int64_t across = 1; down * across <= most && across <= parts(n, kColStep); ++across)
        use(TileSize{round_up(parts(m, down), kRowStep), round_up(parts(n, across), kColStep)});
    }
  };
  for_sizes([&](const TileSize& size) { least = std::min(least, cost_of(size, m, n, n_threads)); });
  TileSize best = whole;
  for_sizes([&](const TileSize& size) {
    if (size.rows * size.cols < best.rows * best.cols &&
        cost_of(size, m, n, n_threads) <= least + least / 32)
      best = size;
  });
  return best;
}

// By the thread that adds to it next.
void zero_tile(float* c, int64_t rows, int64_t cols, int64_t c_stride) {
  for (int64_t i = 0; i < rows; ++i) std::fill_n(c + i * c_stride, cols, 0.0f);
}

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

// multiply(row, rows, col, cols, thread) for tiles of a result [m, n].
template <class Multiply>
void Compute::in_tiles(int64_t m, int64_t n, Multiply&& multiply) {
  const TileSize tile = tile_size(m, n, pool.size());
  const int64_t across = parts(n, tile.cols);
  pool.parallel_for(parts(m, tile.rows) * across, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / across * tile.rows, col = i % across * tile.cols;
      multiply(row, std::min(tile.rows, m - row), col, std::min(tile.cols, n - col), thread);
    }
  });
}

void Compute::multiply(const GemmFactor& a, const GemmFactor& b, int64_t m, int64_t n, int64_t k,
                       float* c, int64_t c_stride, bool adds) {
  in_tiles(m, n, [&](int64_t row, int64_t rows, int64_t col, int64_t cols, int thread) {
    float* tile = c + row * c_stride + col;
    if (!adds) zero_tile(tile, rows, cols, c_stride);
    kernels.gemm({a.data + row * a.row_step, a.row_step, a.col_step},
                 {b.data + col * b.col_step, b.row_step, b.col_step}, rows, cols, k, tile, c_stride,
                 gemm_scratch(thread));
  });
}

void Compute::multiply_rows(const GemmFactor& a, const GemmFactor& b, int64_t m, int64_t n,
                            std::span<const int64_t> ends, float* c, int64_t c_stride) {
  in_tiles(m, n, [&](int64_t row, int64_t rows, int64_t col, int64_t cols, int thread) {
    int64_t first = 0;
    for (const int64_t end : ends) {
      kernels.gemm({a.data + row * a.row_step + first * a.col_step, a.row_step, a.col_step},
                   {b.data + first * b.row_step + col * b.col_step, b.row_step, b.col_step}, rows,
                   cols, end - first, c + row * c_stride + col, c_stride, gemm_scratch(thread));
      first = end;
    }
  });
}

void Compute::multiply_transposed(const float* dy, const TernaryMatrix& w, int64_t m, float* c,
                                  bool adds) {
  in_tiles(m, w.cols, [&](int64_t row, int64_t rows, int64_t col, int64_t cols, int thread) {
    float* tile = c + row * w.cols + col;
    if (!adds) zero_tile(tile, rows, cols, w.cols);
    kernels.ternary_gemm_t({dy + row * w.rows, w.rows, 1}, w, rows, col, col + cols, tile, w.cols,
                           gemm_scratch(thread));
  });
}

void Compute::zero(float* x, int64_t n) {
  each(n, kMemoryGrain,
       [x](int64_t begin, int64_t end, int) { std::fill(x + begin, x + end, 0.0f); });
}

}  // namespace bitnet
