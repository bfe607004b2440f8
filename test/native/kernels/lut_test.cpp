// The weight layouts made at load (trits, pairs, triples): packing, and their kernels against plain
// arithmetic and against ternary_matmul.
#include <cmath>
#include <cstring>

#include "check.h"
#include "formats/ternary.h"
#include "kernel_fixture.h"
#include "kernels/kernels.h"
#include "kernels/packing.h"

namespace bitnet {
namespace {

constexpr WeightLayout kLayouts[] = {WeightLayout::kTrits, WeightLayout::kPairs,
                                     WeightLayout::kTriples};

const char* name_of(WeightLayout layout) {
  for (const WeightLayoutName& entry : kWeightLayouts)
    if (entry.layout == layout) return entry.name;
  return "?";
}

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

enum class Activations { kRandom, kPlus, kMinus, kAlternating, kAgainst, kCount };

struct Problem {
  int64_t rows, cols, n_tokens;
  std::vector<uint8_t> codes;
  std::vector<float> row_scales, x;
};

// fixed_code: 0..2, or -1 for random codes.
Problem make_problem(int64_t rows, int64_t cols, int64_t n_tokens, Activations kind, int fixed_code,
                     uint64_t seed) {
  Random random(seed);
  Problem p{rows, cols, n_tokens, std::vector<uint8_t>(rows * cols), {}, {}};
  for (auto& code : p.codes)
    code = static_cast<uint8_t>(fixed_code >= 0 ? fixed_code : random.below(3));
  p.row_scales = random_floats(random, rows, 0.01f, 2);
  p.x = random_floats(random, n_tokens * cols, -3, 3);
  for (int64_t i = 0; i < n_tokens * cols; ++i) {
    if (kind == Activations::kPlus) p.x[i] = 3;
    if (kind == Activations::kMinus) p.x[i] = -3;
    if (kind == Activations::kAlternating) p.x[i] = i % 2 ? -3.0f : 3.0f;
    if (kind == Activations::kAgainst) p.x[i] = p.codes[i % cols] == 0 ? -3.0f : 3.0f;  // of row 0
  }
  return p;
}

struct Batch {
  int64_t stride;
  std::vector<int8_t> q;
  std::vector<float> scale;
  std::vector<int32_t> sum;
  std::vector<uint8_t> tables;

  Batch(const Kernels& k, const Problem& p, WeightLayout layout)
      : stride(round_up(p.cols, kActivationPad)),
        q(p.n_tokens * stride),
        scale(p.n_tokens),
        sum(p.n_tokens) {
    const int64_t table_bytes = lut_table_bytes(layout, stride);
    const bool wanted = k.lut_tables && layout != WeightLayout::kTrits && p.n_tokens <= kFewTokens;
    if (wanted) tables.resize(p.n_tokens * table_bytes);
    for (int64_t t = 0; t < p.n_tokens; ++t) {
      k.quantize(&p.x[t * p.cols], p.cols, stride, &q[t * stride], &scale[t], &sum[t]);
      if (!wanted) continue;
      const int64_t blocks = lut_blocks(layout, stride), half = blocks / 2;  // in two parts
      uint8_t* to = &tables[t * table_bytes];
      k.lut_tables(layout, &q[t * stride], stride, half, blocks, to);
      k.lut_tables(layout, &q[t * stride], stride, 0, half, to);
    }
  }
  QuantizedBatch view() {
    return {static_cast<int64_t>(scale.size()),
            stride,
            q.data(),
            scale.data(),
            sum.data(),
            tables.data()};
  }
};

// Buffers hold not a byte more than the contract says: the sanitizer sees what goes beyond.
void check_layout(const Kernels& k, WeightLayout layout, const Problem& p, int64_t begin,
                  int64_t end, bool use_row_scales) {
  constexpr float kUntouched = -123456.0f;
  const int64_t out_stride = p.rows + p.n_tokens % 3;
  std::vector<uint8_t> packed(packed_bytes(layout, p.rows, p.cols));
  pack_layout(k, layout, p.codes.data(), p.rows, p.cols, packed.data());
  const TernaryMatrix w{packed.data(), p.rows,
                        p.cols,        packed_row_bytes(layout, p.cols),
                        0.3f,          use_row_scales ? p.row_scales.data() : nullptr,
                        layout};
  Batch batch(k, p, layout);
  Scratch scratch(kMatmulScratch);
  std::vector<float> out((p.n_tokens - 1) * out_stride + p.rows, kUntouched), want = out;
  matmul_of(k, layout)(w, batch.view(), out.data(), out_stride, begin, end, scratch.bytes());

  Problem plain = p;
  Batch in_order(scalar(), plain, WeightLayout::kTrits);
  for (int64_t t = 0; t < p.n_tokens; ++t) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t with_codes = 0;
      for (int64_t c = 0; c < p.cols; ++c) {
        with_codes += int64_t{p.codes[r * p.cols + c]} * in_order.q[t * in_order.stride + c];
      }
      want[t * out_stride + r] =
          (static_cast<float>(with_codes) - static_cast<float>(in_order.sum[t])) /
          in_order.scale[t] * (use_row_scales ? p.row_scales[r] : 0.3f);
    }
  }
  check_same_bits(std::string(k.name) + " " + name_of(layout) + " rows [" + std::to_string(begin) +
                      ", " + std::to_string(end) + ") of " + std::to_string(p.rows) + ", columns " +
                      std::to_string(p.cols) + ", tokens " + std::to_string(p.n_tokens),
                  out, want);
}

TEST("the layouts take 1.6, 2 and 1.67 bits per weight") {
  CHECK_EQ(packed_bytes(WeightLayout::kTrits, 64, 2560), 64 * 2560 / 5);
  CHECK_EQ(packed_bytes(WeightLayout::kPairs, 64, 2560), 64 * 2560 / 4);
  CHECK_EQ(packed_bytes(WeightLayout::kTriples, 64, 3072), 64 * 3072 * 5 / 24);
  CHECK_EQ(packed_bytes(WeightLayout::kPairs, 33, 256), 64 * 64);  // whole groups of 32 rows
  CHECK_EQ(packed_bytes(WeightLayout::kTrits, 33, 256), 33 * 64);
}

TEST("every activation has its own place in q, and every 256 columns theirs") {
  for (const Kernels* k : runnable_kernels()) {
    for (int64_t first = 0; first < 1024; first += 256) {
      std::vector<int> seen(256);
      for (int64_t c = first; c < first + 256; ++c) {
        const int64_t at = k->activation_index(c) - first;
        CHECK(at >= 0 && at < 256);
        if (at >= 0 && at < 256) ++seen[at];
      }
      CHECK_EQ(seen, std::vector<int>(256, 1));
    }
  }
}

TEST("activation_index says where quantize puts a column") {
  for (const Kernels* k : runnable_kernels()) {
    for (int64_t c : {0, 1, 31, 32, 63, 64, 127, 128, 200, 255, 256, 300, 511}) {
      std::vector<float> x(512);
      x[c] = 1;
      std::vector<int8_t> q(512);
      float scale;
      int32_t sum;
      k->quantize(x.data(), 512, 512, q.data(), &scale, &sum);
      CHECK_EQ(q[k->activation_index(c)], 127);
    }
  }
}

TEST("the kernels of every layout are exact for every number of rows, columns and tokens") {
  std::vector<int64_t> all_cols = {1,   2,   31,  33,  100, 127,  128,  129,  255,  256, 257,
                                   320, 424, 511, 640, 864, 1280, 1537, 2560, 4097, 6912};
  if (quick()) all_cols = {1, 100, 256, 257, 640, 864, 1537};
  uint64_t seed = 0;
  for (int64_t cols : all_cols) {
    for (int64_t rows : {1, 3, 4, 31, 32, 33, 70}) {
      for (int64_t n_tokens : {1, 2, 4, 5, 9, 17}) {
        if (cols > 2560 && (rows > 33 || n_tokens == 4)) continue;
        const Problem p = make_problem(rows, cols, n_tokens, Activations::kRandom, -1, ++seed);
        for (const Kernels* k : runnable_kernels()) {
          for (WeightLayout layout : kLayouts) {
            check_layout(*k, layout, p, 0, rows, (rows + n_tokens) % 2 == 0);
          }
        }
      }
    }
  }
}

TEST("the kernels of every layout are exact for activations at +127 and -127 throughout") {
  for (int64_t cols : {127, 1024, 2304, 6912, 13824}) {
    if (quick() && cols > 6912) continue;
    for (int kind = 1; kind < static_cast<int>(Activations::kCount); ++kind) {
      for (int code : {-1, 0, 1, 2}) {
        for (int64_t n_tokens : {1, 6}) {
          const Problem p =
              make_problem(5, cols, n_tokens, static_cast<Activations>(kind), code, cols);
          for (const Kernels* k : runnable_kernels()) {
            for (WeightLayout layout : kLayouts) check_layout(*k, layout, p, 0, 5, kind % 2 == 0);
          }
        }
      }
    }
  }
}

TEST("the kernels of every layout are exact in the widest matrices that a model may have") {
  const int64_t cols = 1 << 17;
  for (int code : {0, 2, -1}) {
    for (int64_t n_tokens : {1, 5}) {
      const Problem p = make_problem(2, cols, n_tokens, Activations::kAgainst, code, 1);
      for (const Kernels* k : runnable_kernels()) {
        for (WeightLayout layout : kLayouts) check_layout(*k, layout, p, 0, 2, true);
      }
    }
  }
}

TEST("the kernels of every layout write only the rows they are asked for") {
  for (int64_t n_tokens : {1, 3, 7}) {
    const Problem p = make_problem(101, 424, n_tokens, Activations::kRandom, -1, 7);
    for (const Kernels* k : runnable_kernels()) {
      for (WeightLayout layout : kLayouts) {
        for (int64_t begin : {0, 1, 31, 32, 40, 100, 101}) {
          for (int64_t end : {0, 2, 33, 64, 65, 100, 101}) {
            if (begin <= end) check_layout(*k, layout, p, begin, end, true);
          }
        }
      }
    }
  }
}

TEST("the kernels of every layout are exact for random shapes") {
  const int n = quick() ? 10 : 60;
  for (int seed = 1; seed <= n; ++seed) {
    Random random(1000 + seed);
    const int64_t rows = 1 + random.below(100), cols = 1 + random.below(2000);
    const int64_t n_tokens = 1 + random.below(random.below(2) ? 6 : 40);
    const Problem p = make_problem(rows, cols, n_tokens, Activations::kRandom, -1, seed);
    const int64_t begin = random.below(rows), end = begin + 1 + random.below(rows - begin);
    for (const Kernels* k : runnable_kernels()) {
      for (WeightLayout layout : kLayouts) check_layout(*k, layout, p, begin, end, seed % 2 == 0);
    }
  }
}

}  // namespace
}  // namespace bitnet
