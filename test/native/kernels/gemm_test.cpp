// Products of floats for training, and what else a training step asks of kernels.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/aligned.h"
#include "formats/ternary.h"
#include "kernel_fixture.h"

using bitnet::AlignedArray;
using bitnet::fuses_multiply_add;
using bitnet::GemmFactor;
using bitnet::Kernels;
using bitnet::quick;
using bitnet::runnable_kernels;

namespace {

using Floats = std::vector<float>;

Floats random_floats(uint64_t seed, int64_t n) {
  bitnet::Random random(seed);
  return bitnet::random_floats(random, n, -2, 2);
}

// What the order of sums says, one element after the other.
void expect(const GemmFactor& a, const GemmFactor& b, int64_t m, int64_t n, int64_t k, Floats& c) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t first = 0; first < k; first += 256) {
        float sum = 0;
        for (int64_t d = first; d < std::min(k, first + 256); ++d)
          sum = std::fma(a.data[i * a.row_step + d * a.col_step],
                         b.data[d * b.row_step + j * b.col_step], sum);
        c[static_cast<size_t>(i * n + j)] += sum;
      }
    }
  }
}

double difference(const Floats& a, const Floats& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::fabs(double{a[i]} - double{b[i]}) / (1 + std::fabs(double{b[i]})));
  return most;
}

struct Shape {
  int64_t m, n, k;
};

std::vector<Shape> shapes() {
  if (quick()) return {{1, 1, 1}, {13, 50, 259}, {5, 97, 3}};
  return {{1, 1, 1}, {12, 32, 8}, {13, 50, 300}, {5, 97, 3}, {250, 40, 257}, {3, 800, 520}};
}

}  // namespace

TEST("gemm adds the product in the order of its definition, whichever factor is transposed") {
  AlignedArray<float> scratch(bitnet::kGemmScratch);
  for (const Kernels* kernels : runnable_kernels()) {
    for (const auto& [m, n, k] : shapes()) {
      const Floats a = random_floats(1, m * k), b = random_floats(2, k * n);
      for (const bool a_flipped : {false, true}) {
        for (const bool b_flipped : {false, true}) {
          const GemmFactor fa{a.data(), a_flipped ? 1 : k, a_flipped ? m : 1};
          const GemmFactor fb{b.data(), b_flipped ? 1 : n, b_flipped ? k : 1};
          Floats c = random_floats(3, m * n), wanted = c;
          kernels->gemm(fa, fb, m, n, k, c.data(), n, scratch.data());
          expect(fa, fb, m, n, k, wanted);
          if (fuses_multiply_add(*kernels)) CHECK(c == wanted);
          CHECK(difference(c, wanted) < 1e-4);
        }
      }
    }
  }
}

TEST("gemm gives a part of the result the bits that it has in the whole") {
  AlignedArray<float> scratch(bitnet::kGemmScratch);
  const int64_t m = 30, n = 131, k = 270;
  const Floats a = random_floats(4, m * k), b = random_floats(5, k * n);
  const GemmFactor fa{a.data(), k, 1}, fb{b.data(), n, 1};
  for (const Kernels* kernels : runnable_kernels()) {
    Floats whole(static_cast<size_t>(m * n)), parts = whole;
    kernels->gemm(fa, fb, m, n, k, whole.data(), n, scratch.data());
    for (int64_t row = 0; row < m; row += 7) {
      for (int64_t col = 0; col < n; col += 41) {
        kernels->gemm({a.data() + row * k, k, 1}, {b.data() + col, n, 1},
                      std::min<int64_t>(7, m - row), std::min<int64_t>(41, n - col), k,
                      parts.data() + row * n + col, n, scratch.data());
      }
    }
    CHECK(parts == whole);
  }
}

TEST("ternary_gemm_t multiplies with the weights of I2_S rows, scaled by matrix or by row") {
  AlignedArray<float> scratch(bitnet::kGemmScratch);
  const int64_t rows = quick() ? 260 : 517, cols = quick() ? 300 : 900, m = 17;
  std::vector<uint8_t> codes(static_cast<size_t>(rows * cols));
  bitnet::Random random(6);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random.below(3));
  const int64_t row_bytes = (cols + 127) / 128 * 32;
  std::vector<uint8_t> packed(static_cast<size_t>(rows * row_bytes));
  for (int64_t r = 0; r < rows; ++r)
    bitnet::pack_i2_s_row(&codes[r * cols], cols, &packed[r * row_bytes]);
  const Floats a = random_floats(7, m * rows), scales = random_floats(8, rows);
  for (const bool by_row : {false, true}) {
    bitnet::TernaryMatrix w{packed.data(), rows,   cols,
                            row_bytes,     0.375f, by_row ? scales.data() : nullptr};
    Floats weights(codes.begin(), codes.end()), scaled = a;
    for (float& x : weights) x -= 1;
    for (int64_t i = 0; i < m * rows; ++i) scaled[i] *= by_row ? scales[i % rows] : w.scale;
    for (const Kernels* kernels : runnable_kernels()) {
      Floats wanted(static_cast<size_t>(m * cols)), c = wanted;
      kernels->gemm({scaled.data(), rows, 1}, {weights.data(), cols, 1}, m, cols, rows,
                    wanted.data(), cols, scratch.data());
      for (int64_t begin = 0; begin < cols; begin += 256) {
        kernels->ternary_gemm_t({a.data(), rows, 1}, w, m, begin, std::min(cols, begin + 256),
                                c.data() + begin, cols, scratch.data());
      }
      CHECK(c == wanted);
    }
  }
}

TEST("exp_shifted is the exponential, the same bits from every fused kernel") {
  const Floats x = [] {
    Floats out = random_floats(9, 101);
    for (float& v : out) v *= 20;
    return out;
  }();
  const float top = *std::max_element(x.begin(), x.end());
  Floats first;
  for (const Kernels* kernels : runnable_kernels()) {
    Floats out(x.size());
    kernels->exp_shifted(x.data(), top, out.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double wanted = std::exp(double{x[i] - top});
      CHECK_NEAR(out[i], wanted, 4e-7 * wanted + 1e-37);
    }
    if (!fuses_multiply_add(*kernels)) continue;
    if (first.empty()) first = out;
    CHECK(out == first);
  }
}

TEST("adamw does the same steps in every kernel, and those of its definition") {
  const bitnet::AdamStep step{0.5f, 0.9f, 0.95f, 1e-8f, 1e-2f, 1 - 1e-3f, 1 / 0.19f, 1 / 0.0975f};
  const int64_t n = 53;
  const Floats g = random_floats(10, n);
  Floats first;
  for (const Kernels* kernels : runnable_kernels()) {
    Floats w = random_floats(11, n), m = random_floats(12, n), v = random_floats(13, n);
    for (float& x : v) x = x * x;
    Floats before = w, m_before = m, v_before = v;
    kernels->adamw(step, w.data(), m.data(), v.data(), g.data(), n);
    for (int64_t i = 0; i < n; ++i) {
      const double grad = g[i] * 0.5;
      const double m_new = 0.9 * m_before[i] + 0.1 * grad;
      const double v_new = 0.95 * v_before[i] + 0.05 * grad * grad;
      CHECK_NEAR(m[i], m_new, 1e-6);
      CHECK_NEAR(v[i], v_new, 1e-6);
      CHECK_NEAR(
          w[i], before[i] * (1 - 1e-3) - 1e-2 * (m_new / 0.19) / (std::sqrt(v_new / 0.0975) + 1e-8),
          1e-6);
    }
    w.insert(w.end(), m.begin(), m.end());
    w.insert(w.end(), v.begin(), v.end());
    if (first.empty()) first = w;
    CHECK(w == first);
  }
}
