// Each operation of training alone: its result against plain arithmetic in double precision, its
// gradients against finite differences of that.
#include <cmath>
#include <functional>
#include <vector>

#include "kernel_fixture.h"
#include "train/activation.h"
#include "train/attention.h"
#include "train/linear.h"
#include "train/loss.h"
#include "train/norm.h"
#include "train/parameter.h"

using bitnet::Activation;
using bitnet::AttentionShape;
using bitnet::Compute;
using bitnet::Kernels;
using bitnet::runnable_kernels;
using bitnet::ThreadPool;

namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

constexpr double kTolerance = 2e-5;  // of the largest value

Floats random_floats(uint64_t seed, int64_t n) {
  bitnet::Random random(seed);
  return bitnet::random_floats(random, n, -1.5f, 1.5f);
}

Doubles doubles(const Floats& x) { return {x.begin(), x.end()}; }

// f(compute) for every kernel, on one and three threads.
void with_kernels(const std::function<void(Compute&)>& f) {
  for (const Kernels* kernels : runnable_kernels()) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      Compute compute(*kernels, pool, bitnet::attention_floats(256));
      f(compute);
    }
  }
}

// The largest difference, in units of the largest value.
double difference(const Floats& a, const Doubles& b) {
  double most = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    most = std::max(most, std::fabs(double{a[i]} - b[i]));
    size = std::max(size, std::fabs(b[i]));
  }
  return most / size;
}

// The gradient by x of the product of f(x) with dy, by central differences.
Doubles slopes(Doubles x, const Floats& dy, const std::function<Doubles(const Doubles&)>& f) {
  constexpr double kStep = 1e-5;
  const auto value = [&] {
    const Doubles y = f(x);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * double{dy[i]};
    return sum;
  };
  Doubles out;
  for (double& element : x) {
    const double middle = element;
    element = middle + kStep;
    const double above = value();
    element = middle - kStep;
    out.push_back((above - value()) / (2 * kStep));
    element = middle;
  }
  return out;
}

Doubles norm_twin(const Doubles& x, const Doubles& weight, double eps) {
  const size_t cols = weight.size();
  Doubles out;
  for (size_t row = 0; row < x.size(); row += cols) {
    double squares = 0;
    for (size_t i = 0; i < cols; ++i) squares += x[row + i] * x[row + i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(cols) + eps);
    for (size_t i = 0; i < cols; ++i) out.push_back(x[row + i] * scale * weight[i]);
  }
  return out;
}

double activation_of(Activation activation, double gate) {
  if (activation == Activation::kSilu) return gate / (1 + std::exp(-gate));
  return gate > 0 ? gate * gate : 0;
}

// q, k and v one after the other in x.
struct AttentionTwin {
  AttentionShape shape;
  std::vector<int64_t> ends;

  int64_t n() const { return ends.back(); }
  size_t q_size() const { return static_cast<size_t>(n() * shape.query_cols()); }
  size_t k_size() const { return static_cast<size_t>(n() * shape.key_cols()); }

  Doubles operator()(const Doubles& x) const {
    const double *q = x.data(), *k = q + q_size(), *v = k + k_size();
    Doubles out(q_size());
    int64_t begin = 0;
    for (const int64_t end : ends) {
      for (int64_t t = begin; t < end; ++t)
        for (int64_t head = 0; head < shape.n_heads; ++head) row(q, k, v, begin, t, head, out);
      begin = end;
    }
    return out;
  }

 private:
  void row(const double* q, const double* k, const double* v, int64_t begin, int64_t t,
           int64_t head, Doubles& out) const {
    const int64_t d = shape.head_dim, of_kv = head / (shape.n_heads / shape.n_kv_heads) * d;
    const auto key = [&](int64_t j) { return j * shape.key_cols() + of_kv; };
    const int64_t at = t * shape.query_cols() + head * d;
    Doubles p;
    double sum = 0;
    for (int64_t j = begin; j <= t; ++j) {
      double score = 0;
      for (int64_t i = 0; i < d; ++i) score += q[at + i] * k[key(j) + i];
      p.push_back(std::exp(score / std::sqrt(static_cast<double>(d))));
      sum += p.back();
    }
    for (int64_t j = begin; j <= t; ++j)
      for (int64_t i = 0; i < d; ++i)
        out[static_cast<size_t>(at + i)] += p[static_cast<size_t>(j - begin)] / sum * v[key(j) + i];
  }
};

}  // namespace

TEST("sums over tokens are cut where rows end, whoever computes them") {
  const int64_t m = 150, n = 300;
  const std::vector<int64_t> ends = {1, 300, 333};
  const Floats a = random_floats(14, m * ends.back()), b = random_floats(15, n * ends.back());
  with_kernels([&](Compute& compute) {
    Floats together(static_cast<size_t>(m * n), 0.5f), apart = together;
    compute.multiply_rows(bitnet::transposed(a.data(), m), bitnet::plain(b.data(), n), m, n, ends,
                          together.data(), n);
    int64_t first = 0;
    for (const int64_t end : ends) {
      compute.kernels.gemm(bitnet::transposed(a.data() + first * m, m),
                           bitnet::plain(b.data() + first * n, n), m, n, end - first, apart.data(),
                           n, compute.gemm_scratch(0));
      first = end;
    }
    CHECK(together == apart);
  });
}

TEST("the gradients of a norm are the slopes of its definition") {
  const int64_t cols = 37, n = 5;
  const Floats x = random_floats(1, n * cols), weight = random_floats(2, cols);
  const Floats dy = random_floats(3, n * cols);
  const Doubles by_x = slopes(
      doubles(x), dy, [&](const Doubles& at) { return norm_twin(at, doubles(weight), 1e-5); });
  const Doubles by_weight = slopes(
      doubles(weight), dy, [&](const Doubles& at) { return norm_twin(doubles(x), at, 1e-5); });
  with_kernels([&](Compute& compute) {
    Floats y(x.size()), dx = dy, added(x.size(), 1.0f), gradient(weight.size(), 0.0f);
    bitnet::norm_forward(compute, x.data(), weight.data(), 1e-5f, y.data(), cols, n);
    CHECK(difference(y, norm_twin(doubles(x), doubles(weight), 1e-5)) < kTolerance);
    bitnet::norm_backward(compute, x.data(), weight.data(), 1e-5f, dx.data(), dx.data(), false,
                          cols, n);
    CHECK(difference(dx, by_x) < kTolerance);
    bitnet::norm_backward(compute, x.data(), weight.data(), 1e-5f, dy.data(), added.data(), true,
                          cols, n);
    for (size_t i = 0; i < dx.size(); ++i) CHECK_NEAR(added[i], 1 + dx[i], 1e-5);
    const std::vector<int64_t> ends = {2, n};
    bitnet::norm_weight_gradient(compute, x.data(), 1e-5f, dy.data(), ends, cols, gradient.data());
    CHECK(difference(gradient, by_weight) < kTolerance);
  });
}

TEST("the gradients of both activations are the slopes of their definitions") {
  const int64_t n = 301;
  Floats gate = random_floats(4, n);
  for (float& g : gate) g *= 6;
  const Floats up = random_floats(5, n), dy = random_floats(6, n);
  for (const Activation activation : {Activation::kSilu, Activation::kRelu2}) {
    const auto twin = [&](const Doubles& g, const Doubles& u) {
      Doubles out;
      for (size_t i = 0; i < g.size(); ++i) out.push_back(activation_of(activation, g[i]) * u[i]);
      return out;
    };
    const Doubles by_gate =
        slopes(doubles(gate), dy, [&](const Doubles& at) { return twin(at, doubles(up)); });
    const Doubles by_up =
        slopes(doubles(up), dy, [&](const Doubles& at) { return twin(doubles(gate), at); });
    with_kernels([&](Compute& compute) {
      Floats y(gate.size()), d_gate = y, d_up = dy;
      bitnet::activation_forward(compute, activation, gate.data(), up.data(), y.data(), n);
      CHECK(difference(y, twin(doubles(gate), doubles(up))) < kTolerance);
      bitnet::activation_backward(compute, activation, gate.data(), up.data(), d_up.data(),
                                  d_gate.data(), d_up.data(), n);
      CHECK(difference(d_gate, by_gate) < kTolerance);
      CHECK(difference(d_up, by_up) < kTolerance);
    });
  }
}

TEST("attention sees the keys of its document up to itself, and its gradients are the slopes") {
  // Documents of one token, of less and of more than a block of query rows.
  for (const std::vector<int64_t>& ends :
       std::vector<std::vector<int64_t>>{{7, 8, 15}, {bitnet::kQueryBlock + 6}}) {
    const AttentionTwin twin{{4, 2, 6, true, nullptr}, ends};
    const int64_t n = twin.n();
    if (bitnet::quick() && n > bitnet::kQueryBlock) continue;
    const Floats x = random_floats(7, static_cast<int64_t>(twin.q_size() + 2 * twin.k_size()));
    const Floats dy = random_floats(8, static_cast<int64_t>(twin.q_size()));
    const Doubles wanted = twin(doubles(x));
    const bool is_long = n > bitnet::kQueryBlock;  // whose slopes take too long: the first rows'
    const Doubles by_x = is_long ? Doubles{} : slopes(doubles(x), dy, twin);
    Floats first;
    with_kernels([&](Compute& compute) {
      const float *q = x.data(), *k = q + twin.q_size(), *v = k + twin.k_size();
      Floats y(twin.q_size()), gradients(x.size()), scratch(2 * twin.q_size());
      bitnet::attention_forward(compute, twin.shape, ends, q, k, v, y.data());
      CHECK(difference(y, wanted) < kTolerance);
      float* dq = gradients.data();
      bitnet::attention_backward(compute, twin.shape, ends, q, k, v, dy.data(),
                                 {dq, dq + twin.q_size(), dq + twin.q_size() + twin.k_size(),
                                  scratch.data(), scratch.data() + twin.q_size()});
      if (!is_long) CHECK(difference(gradients, by_x) < kTolerance);
      if (!bitnet::fuses_multiply_add(compute.kernels)) {
        CHECK(first.empty() || difference(gradients, doubles(first)) < kTolerance);
        return;
      }
      if (first.empty()) first = gradients;
      CHECK(gradients == first);
    });
  }
}

TEST("rope turns heads by the place in their document, and backward undoes it") {
  const std::vector<double> freqs = {1.0, 0.1, 0.01};
  const bitnet::RopeTable table(freqs, 10);
  const std::vector<int64_t> ends = {3, 10};
  const Floats before = random_floats(9, 10 * 2 * 6);
  for (const bool halves : {true, false}) {
    const AttentionShape shape{2, 1, 6, halves, &table};
    with_kernels([&](Compute& compute) {
      Floats x = before;
      bitnet::rope(compute, shape, ends, false, 2, x.data());
      const int64_t t = 5, head = 1, i = 1;  // position 2
      const int64_t a = (t * 2 + head) * 6 + (halves ? i : 2 * i), b = a + (halves ? 3 : 1);
      const double angle = 2 * freqs[static_cast<size_t>(i)];
      CHECK_NEAR(x[a], before[a] * std::cos(angle) - before[b] * std::sin(angle), 1e-6);
      CHECK_NEAR(x[b], before[a] * std::sin(angle) + before[b] * std::cos(angle), 1e-6);
      CHECK(std::equal(x.begin(), x.begin() + 12, before.begin()));  // position 0
      bitnet::rope(compute, shape, ends, true, 2, x.data());
      CHECK(difference(x, doubles(before)) < 1e-6);
    });
  }
}

TEST("losses and gradients of the head are those of its definition, frozen or trained") {
  const int64_t n_vocab = bitnet::quick() ? 300 : 1100, cols = 12, n = 6;
  const Floats values = random_floats(10, n_vocab * cols), hidden = random_floats(11, n * cols);
  const std::vector<int32_t> targets = {0, 7, 7, static_cast<int32_t>(n_vocab - 1), 100, 3};
  // [hidden, head] -> losses
  const auto twin = [&](const Doubles& h, const Doubles& w) {
    Doubles out;
    for (int64_t t = 0; t < n; ++t) {
      double sum = 0, wanted = 0;
      for (int64_t r = 0; r < n_vocab; ++r) {
        double z = 0;
        for (int64_t i = 0; i < cols; ++i) z += h[t * cols + i] * w[r * cols + i];
        sum += std::exp(z);
        if (r == targets[static_cast<size_t>(t)]) wanted = z;
      }
      out.push_back(std::log(sum) - wanted);
    }
    return out;
  };
  const float weight = 0.25f;
  const Floats dy(static_cast<size_t>(n), weight);
  const Doubles by_hidden =
      slopes(doubles(hidden), dy, [&](const Doubles& at) { return twin(at, doubles(values)); });
  bitnet::Parameter parameter;
  parameter.rows = n_vocab;
  parameter.cols = cols;
  for (auto* array : {&parameter.value, &parameter.gradient})
    *array = bitnet::AlignedArray<float>(values.size());
  std::copy(values.begin(), values.end(), parameter.value.data());
  bitnet::EmbeddingRows trained, frozen;
  trained.rows = frozen.rows = n_vocab;
  trained.cols = frozen.cols = cols;
  trained.parameter = &parameter;
  frozen.type = bitnet::TensorType::kF32;
  frozen.row_bytes = cols * 4;
  frozen.data = bitnet::AlignedArray<uint8_t>(values.size() * 4);
  std::memcpy(frozen.data.data(), values.data(), values.size() * 4);
  with_kernels([&](Compute& compute) {
    Floats first;
    for (const bitnet::EmbeddingRows* head : {&trained, &frozen}) {
      std::fill_n(parameter.gradient.data(), values.size(), 0.0f);
      bitnet::LossHead loss_head(compute, *head);
      Floats losses(targets.size()), d_hidden(hidden.size());
      loss_head.run(hidden.data(), targets, weight, losses.data(), d_hidden.data());
      CHECK(difference(losses, twin(doubles(hidden), doubles(values))) < kTolerance);
      CHECK(difference(d_hidden, by_hidden) < kTolerance);
      if (first.empty()) first = d_hidden;
      CHECK(d_hidden == first);
      if (!head->parameter) continue;
      // Of the rows of the first targets: p - 1 or p, times the hidden state.
      for (const int64_t row : {int64_t{0}, int64_t{50}}) {
        Doubles w = doubles(values);
        const int64_t at = row * cols + 3;
        const auto mean = [&](double change) {
          w[at] = double{values[at]} + change;
          double sum = 0;
          for (const double loss : twin(doubles(hidden), w)) sum += loss * double{weight};
          return sum;
        };
        CHECK_NEAR(parameter.gradient[static_cast<size_t>(at)], (mean(1e-5) - mean(-1e-5)) / 2e-5,
                   1e-5);
      }
    }
  });
}

TEST("a logit that is not finite makes the loss of its position NaN, and no other") {
  bitnet::EmbeddingRows head;
  head.rows = 40;
  head.cols = 4;
  head.row_bytes = 16;
  head.data = bitnet::AlignedArray<uint8_t>(40 * 16);
  const Floats values = random_floats(12, 160);
  std::memcpy(head.data.data(), values.data(), 640);
  Floats hidden = random_floats(13, 8);
  hidden[5] = std::nanf("");
  const std::vector<int32_t> targets = {1, 2};
  with_kernels([&](Compute& compute) {
    bitnet::LossHead loss_head(compute, head);
    Floats losses(2);
    loss_head.run(hidden.data(), targets, 1, losses.data(), nullptr);
    CHECK(std::isfinite(losses[0]));
    CHECK(std::isnan(losses[1]));
  });
}
