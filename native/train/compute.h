// What every operation of training computes with: the kernels of the CPU, the threads, their
// scratch memory, and products of floats divided among them. Threads share out rows and columns of
// results, never a sum, so results do not depend on their number.
#pragma once

#include <cstdint>
#include <span>

#include "base/aligned.h"
#include "base/threads.h"
#include "kernels/kernels.h"

namespace bitnet {

// One call at a time, from the thread that owns the pool.
class Compute {
 public:
  // attention_floats: scratch of attention per thread, see attention.h.
  Compute(const Kernels& kernels, ThreadPool& pool, int64_t attention_floats);

  // c [m, n] = A [m, k] B [k, n] (Kernels::gemm), or c += it if it adds; rows of c are c_stride
  // apart.
  void multiply(const GemmFactor& a, const GemmFactor& b, int64_t m, int64_t n, int64_t k, float* c,
                int64_t c_stride, bool adds);
  // c += the same with the summed dimension cut where rows of tokens end, each a sum of its own:
  // the rows are added in their order.
  void multiply_rows(const GemmFactor& a, const GemmFactor& b, int64_t m, int64_t n,
                     std::span<const int64_t> ends, float* c, int64_t c_stride);
  // c [m, w.cols] = or += dy [m, w.rows] W (Kernels::ternary_gemm_t).
  void multiply_transposed(const float* dy, const TernaryMatrix& w, int64_t m, float* c, bool adds);

  // f(begin, end, thread) for [0, n) in chunks.
  template <class Body>
  void each(int64_t n, int64_t grain, Body&& body) {
    pool.parallel_for(n, grain, body);
  }

  void zero(float* x, int64_t n);

  // Of a thread: Kernels::gemm and the integer products; attention.
  float* gemm_scratch(int thread) const { return gemm_.data() + thread * kGemmScratch; }
  uint8_t* matmul_scratch(int thread) const {
    return reinterpret_cast<uint8_t*>(gemm_scratch(thread));
  }
  float* attention_scratch(int thread) const {
    return attention_.data() + thread * attention_floats_;
  }

  // Bytes that an object holds.
  static int64_t scratch_bytes(int n_threads, int64_t attention_floats);

  const Kernels& kernels;
  ThreadPool& pool;

 private:
  template <class Multiply>
  void in_tiles(int64_t m, int64_t n, Multiply&& multiply);

  int64_t attention_floats_;
  AlignedArray<float> gemm_, attention_;
};
static_assert(kGemmScratch * static_cast<int64_t>(sizeof(float)) >= kMatmulScratch);

// a * b row by row of [n, cols], and the like, are light work: so many rows per chunk.
constexpr int64_t kLightRows = 16;

// A matrix [rows, cols] that lies row by row, as it is and transposed.
inline GemmFactor plain(const float* data, int64_t cols) { return {data, cols, 1}; }
inline GemmFactor transposed(const float* data, int64_t cols) { return {data, 1, cols}; }

}  // namespace bitnet
