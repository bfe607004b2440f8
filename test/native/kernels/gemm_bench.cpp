// How fast products of floats are on one core, beside what the core can multiply and add at most:
//   gemm_bench [KERNEL]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "base/aligned.h"
#include "formats/ternary.h"
#include "kernels/kernels.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRepetitions = 7;

// Seconds of the fastest of several runs.
template <class Run>
double fastest(Run&& run) {
  double best = 1e9;
  for (int i = 0; i < kRepetitions; ++i) {
    const auto begin = Clock::now();
    run();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best;
}

// Operations per second of multiply-adds on registers alone; 0 where this is not known.
double fma_peak([[maybe_unused]] bool wide) {
#if defined(__x86_64__)
  constexpr int64_t kIterations = 20'000'000;
  const double seconds = fastest([&] {
    for (int64_t i = 0; i < kIterations; ++i) {
      if (wide) {
        __asm__ volatile(
            "vfmadd231ps %%zmm30,%%zmm31,%%zmm0\n vfmadd231ps %%zmm30,%%zmm31,%%zmm1\n"
            "vfmadd231ps %%zmm30,%%zmm31,%%zmm2\n vfmadd231ps %%zmm30,%%zmm31,%%zmm3\n"
            "vfmadd231ps %%zmm30,%%zmm31,%%zmm4\n vfmadd231ps %%zmm30,%%zmm31,%%zmm5\n"
            "vfmadd231ps %%zmm30,%%zmm31,%%zmm6\n vfmadd231ps %%zmm30,%%zmm31,%%zmm7\n"
            "vfmadd231ps %%zmm30,%%zmm31,%%zmm8\n vfmadd231ps %%zmm30,%%zmm31,%%zmm9\n"
            :
            :
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9");
      } else {
        __asm__ volatile(
            "vfmadd231ps %%ymm14,%%ymm15,%%ymm0\n vfmadd231ps %%ymm14,%%ymm15,%%ymm1\n"
            "vfmadd231ps %%ymm14,%%ymm15,%%ymm2\n vfmadd231ps %%ymm14,%%ymm15,%%ymm3\n"
            "vfmadd231ps %%ymm14,%%ymm15,%%ymm4\n vfmadd231ps %%ymm14,%%ymm15,%%ymm5\n"
            "vfmadd231ps %%ymm14,%%ymm15,%%ymm6\n vfmadd231ps %%ymm14,%%ymm15,%%ymm7\n"
            "vfmadd231ps %%ymm14,%%ymm15,%%ymm8\n vfmadd231ps %%ymm14,%%ymm15,%%ymm9\n"
            :
            :
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9");
      }
    }
  });
  return 10.0 * (wide ? 32 : 16) * static_cast<double>(kIterations) / seconds;
#else
  return 0;
#endif
}

void report(const char* what, double operations, double seconds, double peak) {
  std::printf("  %-28s %7.1f GFLOP/s", what, operations / seconds * 1e-9);
  if (peak > 0) std::printf(" %5.1f %% of the peak", operations / seconds / peak * 100);
  std::printf("\n");
}

void bench_shape(const bitnet::Kernels& kernels, int64_t m, int64_t n, int64_t k, double peak) {
  bitnet::AlignedArray<float> scratch(bitnet::kGemmScratch);
  std::vector<float> a(static_cast<size_t>(m * k), 0.5f), b(static_cast<size_t>(k * n), 0.25f);
  std::vector<float> c(static_cast<size_t>(m * n));
  const int64_t row_bytes = (n + 127) / 128 * 32;
  const std::vector<uint8_t> codes(static_cast<size_t>(k * row_bytes), 0x64);
  const bitnet::TernaryMatrix w{codes.data(), k, n, row_bytes};
  const double operations = 2.0 * static_cast<double>(m * n * k);
  std::printf("%lld x %lld x %lld\n", static_cast<long long>(m), static_cast<long long>(n),
              static_cast<long long>(k));
  const auto multiply = [&](const char* what, const bitnet::GemmFactor& fa,
                            const bitnet::GemmFactor& fb) {
    const double seconds =
        fastest([&] { kernels.gemm(fa, fb, m, n, k, c.data(), n, scratch.data()); });
    report(what, operations, seconds, peak);
  };
  multiply("A B", {a.data(), k, 1}, {b.data(), n, 1});
  multiply("A transposed, B", {a.data(), 1, m}, {b.data(), n, 1});
  multiply("A, B transposed", {a.data(), k, 1}, {b.data(), 1, k});
  const double seconds = fastest([&] {
    kernels.ternary_gemm_t({a.data(), k, 1}, w, m, 0, n, c.data(), n, scratch.data());
  });
  report("A, ternary B", operations, seconds, peak);
}

}  // namespace

int main(int argc, char** argv) {
  const bitnet::Kernels& kernels = bitnet::select_kernels(argc > 1 ? argv[1] : "");
  const double peak = fma_peak(kernels.needs & bitnet::kCpuAvx512);
  std::printf("%s, %.1f GFLOP/s at most\n", kernels.name, peak * 1e-9);
  bench_shape(kernels, 512, 2560, 6912, peak);
  bench_shape(kernels, 512, 6912, 2560, peak);
  bench_shape(kernels, 256, 256, 768, peak);
  bench_shape(kernels, 512, 32, 2560, peak);
  bench_shape(kernels, 64, 512, 64, peak);
}
