// Measurements: that what is timed is checked, and that limits are numbers that make sense.
#include "measure/measure.h"

#include "base/error.h"
#include "check.h"
#include "kernel_fixture.h"

namespace bitnet {
namespace {

KernelCase small_case() {
  KernelCase test{};
  test.rows = 37;
  test.cols = 300;
  test.n_tokens = 3;
  test.n_threads = 2;
  test.repetitions = 3;
  return test;
}

TEST("every kernel is timed in every layout, from memory and from the caches") {
  for (const Kernels* kernels : runnable_kernels()) {
    for (const WeightLayout layout :
         {WeightLayout::kI2S, WeightLayout::kTrits, WeightLayout::kPairs, WeightLayout::kTriples}) {
      for (const int64_t n_tokens : {int64_t{1}, int64_t{kFewTokens}, int64_t{kFewTokens + 1}}) {
        for (const int64_t n_bytes : {0, 100'000}) {
          KernelCase test = small_case();
          test.layout = layout;
          test.n_tokens = n_tokens;
          test.n_bytes = n_bytes;
          const KernelTimes times = time_ternary_matmul(*kernels, test);
          CHECK_EQ(times.seconds.size(), size_t{3});
          for (const double seconds : times.seconds) CHECK(seconds > 0);
          CHECK_EQ(times.operations, 2 * 37 * 300 * n_tokens);
          CHECK(times.weight_bytes >= 37 * 300 / 5);
        }
      }
    }
  }
}

TEST("a matrix of one row is checked too") {
  KernelCase test = small_case();
  test.rows = 1;
  CHECK_EQ(time_ternary_matmul(scalar(), test).seconds.size(), size_t{3});
}

TEST("a kernel that computes something else than scalar is refused before it is timed") {
  Kernels wrong = scalar();
  wrong.name = "wrong";
  wrong.ternary_matmul = [](const TernaryMatrix& w, const QuantizedBatch& x, float* out,
                            int64_t out_stride, int64_t begin, int64_t end, uint8_t* scratch) {
    scalar().ternary_matmul(w, x, out, out_stride, begin, end, scratch);
    if (begin <= 36 && 36 < end) out[2 * out_stride + 36] += 1;
  };
  CHECK_THROWS(time_ternary_matmul(wrong, small_case()), Error,
               "'wrong' does not compute what scalar does: row 36 of 37 x 300, token 2 of 3");
}

TEST("the int8 peak does as many operations as it is asked to") {
  for (const Kernels* kernels : runnable_kernels()) {
    const int64_t once = kernels->int8_peak(1);
    CHECK(once >= 32);
    CHECK_EQ(kernels->int8_peak(10), 10 * once);
  }
}

TEST("limits are measured with any number of threads and any size of buffer") {
  for (const int n_threads : {1, 3}) {
    for (const int64_t n_bytes : {int64_t{1}, int64_t{5} << 20}) {
      const MachineLimits limits = measure_limits(scalar(), n_threads, n_bytes, 0.001);
      CHECK(limits.read_bandwidth > 1e6 && limits.read_bandwidth < 1e14);
      CHECK(limits.int8_peak > 1e6 && limits.int8_peak < 1e17);
    }
  }
}

}  // namespace
}  // namespace bitnet
