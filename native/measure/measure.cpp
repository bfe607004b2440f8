#include "measure/measure.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>

#include "base/aligned.h"
#include "base/error.h"
#include "base/numbers.h"
#include "kernels/packing.h"

namespace bitnet {

namespace {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// The highest rate of one call of `work`, which returns how much it has done, repeated for
// `seconds`. The best and not the mean: whatever else the machine does can only make it slower.
template <class Work>
double best_rate(double seconds, Work&& work) {
  const Stopwatch total;
  double best = 0;
  do {
    const Stopwatch pass;
    const double done = work();
    best = std::max(best, done / pass.seconds());
  } while (total.seconds() < seconds);
  return best;
}

// Reads n bytes, a multiple of 256, as fast as one core can. What is fastest depends on the core's
// own prefetcher: one stream, or four, so that more pages are being fetched at once.
template <int kStreams>
uint64_t read_memory(const uint8_t* p, int64_t n) {
  const int64_t part = n / kStreams;
  uint64_t sums[kStreams][8] = {};
  for (int64_t i = 0; i < part; i += 64) {
    for (int s = 0; s < kStreams; ++s) {
      const uint8_t* line = p + s * part + i;
      __builtin_prefetch(line + 4096, 0, 3);  // a page ahead; beyond the end it does nothing
      uint64_t words[8];
      std::memcpy(words, line, sizeof words);
      for (int w = 0; w < 8; ++w) sums[s][w] += words[w];
    }
  }
  uint64_t total = 0;
  for (const auto& stream : sums) total = std::accumulate(stream, stream + 8, total);
  return total;
}

double measure_read_bandwidth(ThreadPool& pool, int64_t n_bytes, double seconds) {
  constexpr int64_t kChunk = 1 << 20;
  const int64_t n_chunks = std::max<int64_t>(n_bytes / kChunk, pool.size());
  const HugeArray memory(static_cast<size_t>(n_chunks * kChunk));
  // Untouched pages are all the same page of zeros.
  pool.parallel_for(n_chunks, 1, [&](int64_t begin, int64_t end, int) {
    std::memset(memory.data() + begin * kChunk, 1, static_cast<size_t>((end - begin) * kChunk));
  });
  std::atomic<uint64_t> sink{0};
  const int64_t slice = std::max<int64_t>(n_chunks / 8, 1);
  int64_t first = 0;
  const auto measure = [&](auto read) {
    return best_rate(seconds / 2, [&] {
      const int64_t n = std::min(slice, n_chunks - first);
      const uint8_t* from = memory.data() + first * kChunk;
      pool.parallel_for(n, 1, [&](int64_t begin, int64_t end, int) {
        sink += read(from + begin * kChunk, (end - begin) * kChunk);
      });
      first = first + n < n_chunks ? first + n : 0;
      return static_cast<double>(n * kChunk);
    });
  };
  return std::max(measure(read_memory<1>), measure(read_memory<4>));
}

double measure_int8_peak(const Kernels& kernels, ThreadPool& pool, double seconds) {
  int64_t iterations = 64;  // grows until a chunk takes about 0.2 ms
  for (;;) {
    const Stopwatch watch;
    kernels.int8_peak(iterations);
    if (watch.seconds() > 2e-4) break;
    iterations *= 2;
  }
  return best_rate(seconds, [&] {
    std::atomic<int64_t> operations{0};
    pool.parallel_for(32 * pool.size(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) operations += kernels.int8_peak(iterations);
    });
    return static_cast<double>(operations.load());
  });
}

int64_t weight_bytes(const Linear& w) {
  return w.rows * (w.is_ternary ? w.ternary.row_bytes : w.row_bytes);
}

// Activations of a batch, quantized as `kernels` wants them. Random, but the same for every kernel.
class RandomBatch {
 public:
  RandomBatch(const Kernels& kernels, int64_t cols, int64_t n_tokens)
      : q_(static_cast<size_t>(n_tokens * round_up(cols, kActivationPad))),
        scales_(static_cast<size_t>(n_tokens)),
        sums_(static_cast<size_t>(n_tokens)),
        pairs_(static_cast<size_t>(n_tokens)) {
    batch_ = {n_tokens, round_up(cols, kActivationPad), q_.data(), scales_.data(), sums_.data()};
    std::vector<float> x(static_cast<size_t>(cols));
    uint32_t random = 1;
    for (int64_t t = 0; t < n_tokens; ++t) {
      for (float& value : x) {
        value = 0;  // of the sum of four draws, close to a normal distribution
        for (int i = 0; i < 4; ++i) {
          random = random * 1664525u + 1013904223u;
          value += static_cast<float>(random >> 8) * 0x1p-23f - 1.0f;
        }
      }
      kernels.quantize(x.data(), cols, batch_.stride, batch_.q + t * batch_.stride,
                       &batch_.scale[t], &batch_.sum[t]);
      if (!kernels.find_pairs) continue;
      kernels.find_pairs(batch_.q + t * batch_.stride, batch_.stride, &batch_.scale[t],
                         &batch_.sum[t], &pairs_[t]);
      batch_.pairs = pairs_.data();
    }
  }
  const QuantizedBatch& get() const { return batch_; }

  // The look-up tables that a layout wants for few tokens, as a model makes them for each product.
  void make_tables(const Kernels& kernels, ThreadPool& pool, WeightLayout layout) {
    const bool look_ups = layout == WeightLayout::kPairs || layout == WeightLayout::kTriples;
    if (!look_ups || !kernels.lut_tables || batch_.n_tokens > kFewTokens) return;
    const int64_t stride = batch_.stride, blocks = lut_blocks(layout, stride);
    const int64_t table_bytes = lut_table_bytes(layout, stride);
    if (!batch_.tables) {
      tables_ = AlignedArray<uint8_t>(static_cast<size_t>(batch_.n_tokens * table_bytes));
      batch_.tables = tables_.data();
    }
    constexpr int64_t kBlocks = 64;  // at a time
    const int64_t chunks = (blocks + kBlocks - 1) / kBlocks;
    pool.parallel_for(batch_.n_tokens * chunks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t t = i / chunks, first = i % chunks * kBlocks;
        kernels.lut_tables(layout, batch_.q + t * stride, stride, first,
                           std::min(first + kBlocks, blocks), tables_.data() + t * table_bytes);
      }
    });
  }

 private:
  AlignedArray<uint8_t> tables_;  // [tokens, lut_table_bytes()], once they were asked for
  AlignedArray<int8_t> q_;
  AlignedArray<float> scales_;
  AlignedArray<int32_t> sums_;
  AlignedArray<TokenPairs> pairs_;
  QuantizedBatch batch_;
};

// The weights of a random matrix as codes [rows, cols], the same in every run.
std::vector<uint8_t> random_matrix(int64_t rows, int64_t cols) {
  std::vector<uint8_t> codes(static_cast<size_t>(rows * cols));
  uint32_t random = 1;
  for (uint8_t& code : codes) {
    random = random * 1664525u + 1013904223u;
    code = static_cast<uint8_t>((random >> 16) % 3);
  }
  return codes;
}

// Copies of a matrix in a layout, each on a cache line.
class PackedCopies {
 public:
  PackedCopies(const Kernels& kernels, ThreadPool& pool, WeightLayout layout,
               const std::vector<uint8_t>& codes, int64_t rows, int64_t cols, int64_t n_bytes)
      : copy_bytes_(round_up(packed_bytes(layout, rows, cols), 64)) {
    n_copies_ = std::max<int64_t>(1, (n_bytes + copy_bytes_ - 1) / copy_bytes_);
    memory_ = HugeArray(static_cast<size_t>(n_copies_ * copy_bytes_));
    const int64_t row_bytes = packed_row_bytes(layout, cols);
    pool.parallel_for(rows, kLutRows, [&](int64_t begin, int64_t end, int) {
      pack_layout(kernels, layout, codes.data() + begin * cols, end - begin, cols,
                  memory_.data() + begin * row_bytes);
    });
    pool.parallel_for(n_copies_ - 1, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        std::memcpy(memory_.data() + (i + 1) * copy_bytes_, memory_.data(),
                    static_cast<size_t>(copy_bytes_));
      }
    });
    matrix_ = {memory_.data(), rows, cols, row_bytes, 0.75f, nullptr, layout};
  }
  int64_t n_copies() const { return n_copies_; }
  TernaryMatrix copy(int64_t i) const {
    TernaryMatrix matrix = matrix_;
    matrix.data = memory_.data() + i * copy_bytes_;
    return matrix;
  }

 private:
  int64_t copy_bytes_, n_copies_;  // copy_bytes_: a multiple of a cache line
  HugeArray memory_;               // [n_copies_, copy_bytes_]
  TernaryMatrix matrix_;           // the first copy
};

// Compares with scalar on I2_S: rows spread over the matrix, the first and the last among them, as
// many as scalar can multiply in about a tenth of a second.
void verify(const Kernels& kernels, const KernelCase& test, const std::vector<uint8_t>& codes,
            const std::vector<float>& out, uint8_t* scratch) {
  const Kernels& scalar = *all_kernels().back();
  const RandomBatch batch(scalar, test.cols, test.n_tokens);
  const int64_t row_bytes = packed_row_bytes(WeightLayout::kI2S, test.cols);
  std::vector<uint8_t> packed(static_cast<size_t>(row_bytes));
  std::vector<float> want(static_cast<size_t>(test.n_tokens));
  constexpr int64_t kMultiplyAdds = 500'000'000;
  const int64_t n = std::clamp<int64_t>(kMultiplyAdds / (test.cols * test.n_tokens), 2, test.rows);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = n == 1 ? 0 : i * (test.rows - 1) / (n - 1);
    pack_layout(scalar, WeightLayout::kI2S, codes.data() + row * test.cols, 1, test.cols,
                packed.data());
    const TernaryMatrix w{packed.data(), 1, test.cols, row_bytes, 0.75f, nullptr};
    scalar.ternary_matmul(w, batch.get(), want.data(), 1, 0, 1, scratch);
    for (int64_t t = 0; t < test.n_tokens; ++t) {
      if (std::memcmp(&want[t], &out[t * test.rows + row], sizeof(float)) == 0) continue;
      throw Error(ErrorCode::kInternal,
                  std::string("the kernel '") + kernels.name +
                      "' does not compute what scalar does: row " + std::to_string(row) + " of " +
                      std::to_string(test.rows) + " x " + std::to_string(test.cols) + ", token " +
                      std::to_string(t) + " of " + std::to_string(test.n_tokens));
    }
  }
}

}  // namespace

MachineLimits measure_limits(const Kernels& kernels, int n_threads, int64_t n_bytes,
                             double seconds) {
  ThreadPool pool(n_threads);
  return {measure_read_bandwidth(pool, n_bytes, seconds),
          measure_int8_peak(kernels, pool, seconds)};
}

ModelCost model_cost(const Model& model, CacheType cache_type) {
  const Config& c = model.config;
  ModelCost cost{};
  const std::vector<LayerTensor> tensors = layer_tensors(*c.family);
  for (const Layer& layer : model.layers) {
    for (const LayerTensor& tensor : tensors) {
      if (!tensor.linear) continue;
      const Linear& w = layer.*tensor.linear;
      cost.weight_bytes += weight_bytes(w);
      if (w.is_ternary) cost.ternary_operations += 2 * w.rows * w.cols;
    }
  }
  if (model.head) {
    cost.head_bytes =
        model.head->is_compact() ? model.head->compact_bytes() : weight_bytes(model.output);
  }
  cost.kv_bytes = KvLayout(c, cache_type).position_bytes();
  cost.batch_tokens = kBatchTokens;
  return cost;
}

KernelTimes time_ternary_matmul(const Kernels& kernels, const KernelCase& test) {
  ThreadPool pool(test.n_threads);
  const std::vector<uint8_t> codes = random_matrix(test.rows, test.cols);
  const PackedCopies weights(kernels, pool, test.layout, codes, test.rows, test.cols, test.n_bytes);
  RandomBatch batch(kernels, test.cols, test.n_tokens);
  std::vector<float> out(static_cast<size_t>(test.n_tokens * test.rows));
  AlignedArray<uint8_t> scratch(static_cast<size_t>(kMatmulScratch * pool.size()));
  int64_t next = 0;
  const auto multiply = [&] {
    const TernaryMatrix w = weights.copy(next);
    next = next + 1 < weights.n_copies() ? next + 1 : 0;
    batch.make_tables(kernels, pool, test.layout);
    pool.parallel_for(test.rows, test.n_tokens > 1 ? Tuning{}.batch_rows : Tuning{}.decode_rows,
                      [&](int64_t begin, int64_t end, int thread) {
                        matmul_of(kernels, test.layout)(w, batch.get(), out.data(), test.rows,
                                                        begin, end,
                                                        scratch.data() + thread * kMatmulScratch);
                      });
  };
  multiply();
  verify(kernels, test, codes, out, scratch.data());

  const Stopwatch once;
  multiply();
  const int64_t calls = std::max<int64_t>(1, static_cast<int64_t>(test.seconds / once.seconds()));
  KernelTimes times{{},
                    packed_bytes(test.layout, test.rows, test.cols),
                    2 * test.rows * test.cols * test.n_tokens};
  for (int i = 0; i < test.repetitions; ++i) {
    const Stopwatch watch;
    for (int64_t call = 0; call < calls; ++call) multiply();
    times.seconds.push_back(watch.seconds() / static_cast<double>(calls));
  }
  return times;
}

}  // namespace bitnet
