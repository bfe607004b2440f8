// How fast a training of random weights is, and what it holds in memory:
//   train_bench lora|full LAYERS HIDDEN FFN HEADS KV_HEADS VOCAB LENGTH [THREADS [RANK]]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "random_model.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 9) {
    std::fprintf(
        stderr,
        "train_bench lora|full LAYERS HIDDEN FFN HEADS KV_HEADS VOCAB LENGTH [THREADS [RANK]]\n");
    return 2;
  }
  const auto number = [&](int i, int64_t standard) {
    return i < argc ? std::strtoll(argv[i], nullptr, 10) : standard;
  };
  const ModelShape shape{number(2, 0), number(3, 0), number(4, 0),
                         number(5, 0), number(6, 0), number(7, 0)};
  bitnet::TrainOptions options;
  const bool is_full = std::strcmp(argv[1], "full") == 0;
  options.mode = is_full ? bitnet::TrainMode::kFull : bitnet::TrainMode::kLora;
  options.adapter.rank = number(10, 32);
  options.adapter.alpha = static_cast<float>(2 * options.adapter.rank);
  std::fill_n(options.adapter.matrices, bitnet::kLayerMatrices, true);
  options.max_length = number(8, 0);
  options.n_threads = static_cast<int>(number(9, 0));
  options.checkpointing = true;
  const auto training = bitnet::Training::open(random_request(shape, !is_full), options);
  const bitnet::TrainRow row = random_row(options.max_length, shape.vocab);
  const auto never = [] { return false; };
  for (int i = 0; i < 3; ++i) {
    const auto begin = Clock::now();
    training->backward(std::span(&row, 1), row.n_labels(), i, never);
    const double pass = seconds_since(begin);
    training->step({1e-3, 0.1, 0.9, 0.95, 1e-8, 1});
    std::printf("%.1f tokens/s, pass %.3f s, step %.3f s\n", static_cast<double>(row.size()) / pass,
                pass, seconds_since(begin) - pass);
  }
  std::printf("%s, %d threads, %.1f MiB planned, %.2f M parameters trained\n",
              training->kernels().name, training->n_threads(),
              static_cast<double>(training->plan().total()) / 1048576,
              static_cast<double>(training->model().n_trained()) * 1e-6);
}
