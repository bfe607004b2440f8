// Products of head weights with several tokens, against plain arithmetic in the order that
// head_ops.inl promises, for every kernel, shape and number of tokens.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "check.h"
#include "formats/dequantize.h"
#include "formats/quantize.h"
#include "kernel_fixture.h"
#include "kernels/kernels.h"
#include "model/linear.h"

namespace bitnet {
namespace {

// Tokens as integers, and as the kernels read them.
struct Tokens {
  int64_t cols, n;
  std::vector<int32_t> x;  // [n, cols]
  std::vector<HeadGroup> groups;
  std::vector<float> units;
  std::vector<int32_t> sums;
  std::vector<HeadWords> words;

  HeadBatch batch(int64_t first, int64_t count) const {
    const int64_t n_groups = head_groups(cols);
    return {count,         n_groups,     groups.data() + first * n_groups,
            &units[first], &sums[first], &words[first * n_groups]};
  }
};

// Every token has a value at the end of the range, so that its unit is 1 and the integers are its
// values. Token 0 is the largest that there is.
Tokens make_tokens(Random& random, int64_t cols, int64_t n) {
  Tokens tokens{cols, n, {}, {}, {}, {}, {}};
  tokens.groups.resize(n * head_groups(cols));
  tokens.units.resize(n);
  tokens.sums.resize(n);
  tokens.words.resize(n * head_groups(cols));
  for (int64_t t = 0; t < n; ++t) {
    std::vector<float> row(cols);
    for (int64_t i = 0; i < cols; ++i) {
      const int64_t value = t == 0   ? kHeadRange
                            : i == 0 ? -kHeadRange
                                     : random.below(2 * kHeadRange + 1) - kHeadRange;
      tokens.x.push_back(static_cast<int32_t>(value));
      row[i] = static_cast<float>(value);
    }
    const float unit = quantize_head_input(row.data(), cols, &tokens.groups[t * head_groups(cols)],
                                           &tokens.sums[t], &tokens.words[t * head_groups(cols)]);
    CHECK_EQ(unit, 1.0f);
    tokens.units[t] = 0.25f + static_cast<float>(t) / 1024;
  }
  return tokens;
}

std::vector<int64_t> token_counts() {
  if (quick()) return {1, 2, 3, 5, 7, 16};
  std::vector<int64_t> counts;
  for (int64_t n = 1; n <= 17; ++n) counts.push_back(n);
  counts.push_back(35);
  return counts;
}

TEST("coarse_matmul is exact for every number of tokens, rows and columns") {
  Random random(1);
  for (int64_t cols : {64, 128, 192, 640, 2560, 16384}) {
    if (quick() && cols > 640) continue;
    constexpr int64_t kRows = 37;
    std::vector<int8_t> w(kRows * cols);
    for (auto& value : w) value = static_cast<int8_t>(random.below(256) - 128);
    std::fill(w.begin() + 3 * cols, w.begin() + 4 * cols, int8_t{-128});  // the largest sums
    std::fill(w.begin() + 4 * cols, w.begin() + 5 * cols, int8_t{127});
    const Tokens tokens = make_tokens(random, cols, 35);
    std::vector<int64_t> want(35 * kRows);
    for (int64_t t = 0; t < 35; ++t) {
      for (int64_t r = 0; r < kRows; ++r) {
        int64_t sum = 0;
        for (int64_t c = 0; c < cols; ++c) sum += w[r * cols + c] * tokens.x[t * cols + c];
        want[t * kRows + r] = sum;
      }
    }
    for (const Kernels* k : runnable_kernels()) {
      for (const int64_t n : token_counts()) {
        if (cols > 2560 && n != 1 && n != 9) continue;
        for (auto [begin, end] : {std::pair<int64_t, int64_t>{0, kRows}, {1, 18}, {5, 6}, {7, 7}}) {
          constexpr int64_t kStride = kRows + 2;
          std::vector<float> out(n * kStride, -99.0f);
          k->coarse_matmul(w.data(), tokens.batch(0, n), out.data(), kStride, begin, end);
          bool exact = true;
          for (int64_t i = 0; i < n * kStride; ++i) {
            const int64_t t = i / kStride, r = i % kStride;
            const int64_t expected = begin <= r && r < end ? want[t * kRows + r] : -99;
            exact &= out[i] == static_cast<float>(expected);
          }
          if (exact) continue;
          check::fail(__FILE__, __LINE__,
                      std::string(k->name) + ": " + std::to_string(n) + " tokens, " +
                          std::to_string(cols) + " columns, rows " + std::to_string(begin) +
                          " to " + std::to_string(end));
        }
      }
    }
  }
}

// Rows of a block type as integers and scales.
struct BlockMatrix {
  TensorType type;
  int64_t rows, cols, row_bytes;
  std::vector<uint8_t> bytes;
  std::vector<int32_t> codes;  // [rows, cols]
  std::vector<float> scales;   // [rows, cols / 16]
  std::vector<float> factors;  // of Q6_K [rows, cols / 256]: scale = factor * an integer
};

void set_half(uint8_t* p, float value) {
  const uint16_t half = f32_to_f16(value);
  std::memcpy(p, &half, 2);
}

// Random bytes with tame scales. With the scales at 1 the format's own decoder gives the codes.
BlockMatrix random_blocks(Random& random, TensorType type, int64_t rows, int64_t cols) {
  const bool k_type = type == TensorType::kQ6_K;
  const int64_t block = k_type ? 256 : 32;
  const auto block_bytes = static_cast<int64_t>(*tensor_bytes(type, block, 1));
  BlockMatrix w{type, rows, cols, cols / block * block_bytes, {}, {}, {}, {}};
  w.bytes.resize(rows * w.row_bytes);
  for (auto& byte : w.bytes) byte = static_cast<uint8_t>(random.below(256));
  std::vector<uint8_t> unscaled = w.bytes;
  for (int64_t b = 0; b < rows * cols / block; ++b) {
    const float d = random.between(-0.01f, 0.01f);
    uint8_t *at = &w.bytes[b * block_bytes], *copy = &unscaled[b * block_bytes];
    set_half(at + (k_type ? 208 : 0), d);
    set_half(copy + (k_type ? 208 : 0), 1);
    if (k_type) w.factors.push_back(f16_to_f32(f32_to_f16(d)));
    for (int64_t i = 0; i < block / 16; ++i) {
      const auto factor = static_cast<int8_t>(k_type ? at[192 + i] : 1);
      w.scales.push_back(f16_to_f32(f32_to_f16(d)) * static_cast<float>(factor));
      if (k_type) copy[192 + i] = 1;
    }
  }
  std::vector<float> row(cols);
  for (int64_t r = 0; r < rows; ++r) {
    dequantize_row(type, &unscaled[r * w.row_bytes], row.data(), cols);
    for (float code : row) w.codes.push_back(static_cast<int32_t>(code));
  }
  return w;
}

float sum_by_halves(float (&lanes)[16]) {
  for (int half = 8; half >= 1; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

// Quads of four products; lane j of 16 sums scale * quad for quads j, j + 16, ...; then by halves.
float ordered_product(const BlockMatrix& w, int64_t r, const int32_t* x, float unit, bool fused) {
  float lanes[16] = {};
  for (int64_t c = 0; c < w.cols; c += 4) {
    int32_t quad = 0;
    for (int64_t i = c; i < c + 4; ++i) quad += w.codes[r * w.cols + i] * x[i];
    const float scale = w.scales[(r * w.cols + c) / 16], value = static_cast<float>(quad);
    float& lane = lanes[c / 4 % 16];
    lane = fused ? std::fma(scale, value, lane) : scale * value + lane;
  }
  return sum_by_halves(lanes) * unit;
}

// Of Q6_K: lane j of 16 sums the pairs j, j + 16, ... of a block of 256 columns as integers, then
// factor * sum over the blocks.
float paired_product(const BlockMatrix& w, int64_t r, const int32_t* x, float unit, bool fused) {
  float lanes[16] = {};
  for (int64_t b = 0; b < w.cols / 256; ++b) {
    const float factor = w.factors[r * w.cols / 256 + b];
    int32_t sums[16] = {};
    for (int64_t c = 256 * b; c < 256 * (b + 1); ++c) {
      const float scale = w.scales[(r * w.cols + c) / 16];
      const auto integer = static_cast<int32_t>(std::lround(factor == 0 ? 0 : scale / factor));
      sums[c / 2 % 16] += w.codes[r * w.cols + c] * integer * x[c];
    }
    for (int i = 0; i < 16; ++i) {
      const float value = static_cast<float>(sums[i]);
      lanes[i] = fused ? std::fma(factor, value, lanes[i]) : factor * value + lanes[i];
    }
  }
  return sum_by_halves(lanes) * unit;
}

TEST("block_matmul sums in the one fixed order for every type, kernel and number of tokens") {
  Random random(2);
  for (const TensorType type :
       {TensorType::kQ8_0, TensorType::kQ6_K, TensorType::kQ5_0, TensorType::kQ4_0}) {
    for (int64_t cols : {32, 64, 96, 256, 768, 16384}) {
      if (type == TensorType::kQ6_K && cols % 256 != 0) continue;
      if (quick() && cols > 256) continue;
      constexpr int64_t kRows = 35, kMost = 35;
      const BlockMatrix w = random_blocks(random, type, kRows, cols);
      const Tokens tokens = make_tokens(random, cols, kMost);
      std::vector<float> want[2];
      for (const bool fused : {false, true}) {
        for (int64_t i = 0; i < kMost * kRows; ++i) {
          const auto product = type == TensorType::kQ6_K ? paired_product : ordered_product;
          want[fused].push_back(
              product(w, i % kRows, &tokens.x[i / kRows * cols], tokens.units[i / kRows], fused));
        }
      }
      Scratch scratch(kMatmulScratch);
      for (const Kernels* k : runnable_kernels()) {
        for (const int64_t n : token_counts()) {
          if (cols > 768 && n != 1 && n != 9) continue;
          for (auto [begin, end] : {std::pair<int64_t, int64_t>{0, kRows}, {3, 20}, {5, 6}}) {
            constexpr int64_t kStride = kRows + 1;
            std::vector<float> out(n * kStride, -99.0f), expected = out;
            k->block_matmul(type, w.bytes.data(), w.row_bytes, cols, tokens.batch(0, n), out.data(),
                            kStride, begin, end, scratch.bytes());
            for (int64_t t = 0; t < n; ++t) {
              const float* from = &want[fuses_multiply_add(*k)][t * kRows];
              std::copy(from + begin, from + end, &expected[t * kStride + begin]);
            }
            check_same_bits(std::string(k->name) + " block_matmul, type " +
                                std::to_string(static_cast<int>(type)) + ", " + std::to_string(n) +
                                " tokens, " + std::to_string(cols) + " columns",
                            out, expected);
          }
        }
      }
    }
  }
}

TEST("float_matmul gives each of many tokens the bits that it has alone") {
  Random random(3);
  constexpr int64_t kRows = 35, kMost = 35;
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    for (int64_t cols : {31, 64, 200}) {
      const int64_t size = type == TensorType::kF32 ? 4 : 2;
      std::vector<uint8_t> w(kRows * cols * size);
      const auto values = random_floats(random, kRows * cols),
                 x = random_floats(random, kMost * cols);
      for (int64_t r = 0; r < kRows; ++r)
        quantize_row(type, &values[r * cols], &w[r * cols * size], cols);
      for (const Kernels* k : runnable_kernels()) {
        std::vector<float> alone(kMost * kRows);
        for (int64_t t = 0; t < kMost; ++t) {
          k->float_matmul(type, w.data(), cols * size, cols, &x[t * cols], cols, 1,
                          &alone[t * kRows], kRows, 0, kRows);
        }
        for (const int64_t n : token_counts()) {
          std::vector<float> out(n * kRows);
          k->float_matmul(type, w.data(), cols * size, cols, x.data(), cols, n, out.data(), kRows,
                          0, kRows);
          check_same_bits(std::string(k->name) + " float_matmul, " + std::to_string(n) + " tokens",
                          out, {alone.begin(), alone.begin() + n * kRows});
        }
      }
    }
  }
}

TEST("activations are quantized half to even over the whole range, and NaN to 0") {
  std::vector<float> x = {8191, 0.5f, 1.5f, -0.5f, -2.5f, 63.5f, 64, -64.5f, -65, -8191, NAN, 0};
  x.resize(70, 3);
  HeadGroup groups[2];
  int32_t sum;
  CHECK_EQ(quantize_head_input(x.data(), 70, groups, &sum), 1.0f);
  const int32_t want[] = {8191, 0, 2, 0, -2, 64, 64, -64, -65, -8191, 0, 0};
  int32_t total = 0;
  for (int i = 0; i < 128; ++i) {
    const HeadGroup& group = groups[i / 64];
    const int32_t value = 128 * group.high[i % 64] + group.low[i % 64];
    CHECK_EQ(value, i < 12 ? want[i] : i < 70 ? 3 : 0);
    CHECK(std::abs(int{group.high[i % 64]}) <= 64 && std::abs(int{group.low[i % 64]}) <= 64);
    total += value;
  }
  for (int i = 0; i < 32; ++i) {
    int32_t quad = 0;
    for (int j = 4 * (i % 16); j < 4 * (i % 16) + 4; ++j)
      quad += 128 * groups[i / 16].high[j] + groups[i / 16].low[j];
    CHECK_EQ(groups[i / 16].minus[i % 16], -quad);
  }
  CHECK_EQ(sum, total);
  std::fill(x.begin(), x.end(), 0.0f);
  CHECK_EQ(quantize_head_input(x.data(), 70, groups, &sum), 0.0f);
  CHECK_EQ(sum, 0);
}

}  // namespace
}  // namespace bitnet
