// What a head costs for several hidden states at once, one thread, CPU time, the numbers of states
// taken in turns so that other load hits all alike. Prints Markdown: ms per call.
//   head_bench [kernel] [rounds] [rows] [cols]
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "base/aligned.h"
#include "formats/quantize.h"
#include "model/head.h"

namespace bitnet {
namespace {

constexpr int64_t kCounts[] = {1, 2, 4, 8, 16};

double cpu_ms() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) * 1e-6;
}

void bench(const Kernels& kernels, TensorType type, bool compact, int64_t n_rows, int64_t cols,
           int rounds) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Linear layer;
  layer.type = type;
  layer.rows = n_rows;
  layer.cols = cols;
  layer.row_bytes = static_cast<int64_t>(*tensor_bytes(type, static_cast<uint64_t>(cols), 1));
  HugeArray data(static_cast<size_t>(n_rows * layer.row_bytes));
  std::vector<float> draws(100'003), hidden(static_cast<size_t>(16 * cols));
  for (float& x : draws) x = normal(random);
  for (int64_t r = 0; r < n_rows; ++r) {
    const float* row = &draws[random() % (draws.size() - static_cast<size_t>(cols))];
    quantize_row(type, row, data.data() + r * layer.row_bytes, cols);
  }
  for (float& x : hidden) x = normal(random);
  layer.data = data.data();
  ThreadPool pool(1);
  HeadOptions options;
  options.compact = compact;
  Head head(kernels, pool, layer, options, nullptr);
  std::vector<float> out(static_cast<size_t>(16 * n_rows));
  std::vector<double> ms[std::size(kCounts)];
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < std::size(kCounts); ++i) {
      std::vector<HeadQuery> queries;
      for (int64_t t = 0; t < kCounts[i]; ++t)
        queries.push_back({&hidden[t * cols], 40, {}, &out[t * n_rows]});
      const double start = cpu_ms();
      head.top(queries);
      ms[i].push_back(cpu_ms() - start);
    }
  }
  std::printf("| %s | %d%s |", kernels.name, static_cast<int>(type), compact ? " compact" : "");
  for (auto& times : ms) {
    std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
    std::printf(" %.1f |", times[rounds / 2]);
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace bitnet

int main(int argc, char** argv) {
  using namespace bitnet;
  const Kernels& kernels = select_kernels(argc > 1 ? argv[1] : "");
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 9;
  const int64_t rows = argc > 3 ? std::atoll(argv[3]) : 128256;
  const int64_t cols = argc > 4 ? std::atoll(argv[4]) : 2560;
  std::printf("| kernel | type | 1 | 2 | 4 | 8 | 16 |\n|---|---|---|---|---|---|---|\n");
  bench(kernels, TensorType::kF16, true, rows, cols, rounds);
  bench(kernels, TensorType::kF16, false, rows, cols, rounds);
  for (const TensorType type : {TensorType::kQ6_K, TensorType::kQ8_0})
    bench(kernels, type, false, rows, cols, rounds);
}
