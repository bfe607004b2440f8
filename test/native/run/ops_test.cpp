// Each operation of the network alone, against plain arithmetic in double precision.
#include "run/ops.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "check.h"
#include "formats/dequantize.h"
#include "tiny_model.h"

using bitnet::Batch;
using bitnet::CacheType;
using bitnet::KvLayout;
using bitnet::KvPool;
using bitnet::KvTable;
using bitnet::Model;
using bitnet::Ops;
using bitnet::Products;

namespace {

using Floats = std::vector<float>;

std::shared_ptr<Model> golden() {
  static const std::shared_ptr<Model> model = [] {
    bitnet::LoadOptions options;
    options.n_threads = 2;
    return Model::load(check::data("golden/b158-small.gguf"), options);
  }();
  return model;
}

Floats random_floats(std::mt19937& random, int64_t n) {
  std::normal_distribution<float> normal;
  Floats out(static_cast<size_t>(n));
  for (float& x : out) x = normal(random);
  return out;
}

// The largest difference in units of the largest value.
double difference(const Floats& a, const std::vector<double>& b) {
  double most = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    most = std::max(most, std::fabs(double{a[i]} - b[i]));
    size = std::max(size, std::fabs(b[i]));
  }
  return most / size;
}

}  // namespace

TEST("norm divides each vector by its root mean square and multiplies with the weights") {
  std::mt19937 random(1);
  const int64_t cols = 100, n = 21;
  const Floats weight = random_floats(random, cols);
  Floats x = random_floats(random, n * cols);
  std::vector<double> expected;
  for (int64_t t = 0; t < n; ++t) {
    double squares = 0;
    for (int64_t i = 0; i < cols; ++i) squares += double{x[t * cols + i]} * x[t * cols + i];
    const double scale = 1 / std::sqrt(squares / cols + double{golden()->config.rms_eps});
    for (int64_t i = 0; i < cols; ++i) expected.push_back(x[t * cols + i] * scale * weight[i]);
  }
  Ops ops(*golden(), 32);
  const Floats before = x;
  ops.norm(x.data(), nullptr, cols, n);
  CHECK(x == before);  // a family without this norm
  ops.norm(x.data(), weight.data(), cols, n);
  CHECK(difference(x, expected) < 1e-6);
}

TEST("rope turns pairs of each head by the angle of the row's own position") {
  std::mt19937 random(2);
  const bitnet::Config& c = golden()->config;
  const auto pool = std::make_shared<KvPool>(KvLayout(c, CacheType::kF16), 0);
  KvTable first(pool, false), second(pool, false);
  first.append(std::vector<int32_t>(70, 1));
  Batch batch;
  batch.add(first, std::vector<int32_t>(5, 1));  // positions 70 to 74
  batch.add(second, std::vector<int32_t>(3, 1));
  Ops ops(*golden(), 32);
  ops.set_batch(batch);
  const int64_t n_heads = c.n_heads, dim = c.head_dim, half = dim / 2;
  Floats x = random_floats(random, 8 * n_heads * dim);
  std::vector<double> expected(x.size());
  for (int64_t t = 0; t < 8; ++t) {
    const double position = t < 5 ? 70 + t : t - 5;
    for (int64_t h = 0; h < n_heads; ++h) {
      const size_t at = static_cast<size_t>((t * n_heads + h) * dim);
      for (int64_t i = 0; i < half; ++i) {
        const double angle = position * golden()->rope_freqs[i];
        const double a = x[at + i], b = x[at + i + half];  // NEOX: i and i + dim / 2
        expected[at + i] = a * std::cos(angle) - b * std::sin(angle);
        expected[at + i + half] = a * std::sin(angle) + b * std::cos(angle);
      }
    }
  }
  ops.rope(x.data(), n_heads, 8);
  CHECK(difference(x, expected) < 1e-6);
}

TEST("activate and add work on every row") {
  std::mt19937 random(3);
  const int64_t cols = 37, n = 20;
  Floats gate = random_floats(random, n * cols), sum = gate;
  const Floats up = random_floats(random, n * cols);
  std::vector<double> activated, added;
  for (size_t i = 0; i < gate.size(); ++i) {
    const double positive = std::max(double{gate[i]}, 0.0);  // this family's relu squared
    activated.push_back(positive * positive * up[i]);
    added.push_back(double{gate[i]} + up[i]);
  }
  Ops ops(*golden(), 32);
  ops.activate(gate.data(), up.data(), cols, n);
  CHECK(difference(gate, activated) < 1e-6);
  ops.add(sum.data(), up.data(), cols, n);
  CHECK(difference(sum, added) < 1e-6);
}

// Activations are rounded to 8 bits: half a step of each row's largest value, which adds up like a
// random walk over the columns.
TEST("products are those of the weights, and the prepared input is shared by several") {
  std::mt19937 random(4);
  const bitnet::Layer& layer = golden()->layers[0];
  const int64_t cols = layer.q.cols, n = 11;
  const Products products(*golden(), 0, bitnet::LayerInput::kAttention, {&layer.q, &layer.k});
  CHECK(products.quantized && !products.integers && !products.tables);
  const Floats x = random_floats(random, n * cols);
  Floats q(static_cast<size_t>(n * layer.q.rows)), k(static_cast<size_t>(n * layer.k.rows));
  Ops ops(*golden(), 32);
  ops.prepare(x.data(), nullptr, cols, n, products);
  ops.multiply(products, {q.data(), k.data()});
  for (const auto& [w, out] : {std::pair(&layer.q, &q), std::pair(&layer.k, &k)}) {
    std::vector<double> expected;
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t r = 0; r < w->rows; ++r) {
        double sum = 0;  // canonical I2_S: element 32 g + p of 128 in byte p, bits 7 - 2 g
        for (int64_t c = 0; c < cols; ++c) {
          const uint8_t byte = w->ternary.data[r * w->ternary.row_bytes + c / 128 * 32 + c % 32];
          const int code = byte >> (6 - 2 * (c % 128 / 32)) & 3;
          sum += (code - 1) * double{x[static_cast<size_t>(t * cols + c)]};
        }
        const float scale = w->ternary.row_scales ? w->ternary.row_scales[r] : w->ternary.scale;
        expected.push_back(sum * scale * w->output_scale);
      }
    }
    CHECK(difference(*out, expected) < 0.02);
  }
}

TEST("attend weighs values by the softmax of the scores up to each row's own position") {
  std::mt19937 random(5);
  const bitnet::Config& c = golden()->config;
  const int64_t dim = c.head_dim, heads = c.n_heads, kv_heads = c.n_kv_heads;
  const auto pool = std::make_shared<KvPool>(KvLayout(c, CacheType::kF16), 0);
  // A long part, a short one with several segments of keys, and one that begins.
  struct Sequence {
    int64_t known, n;
  };
  const Sequence sequences[] = {{30, 60}, {700, 1}, {0, 3}};
  std::vector<std::unique_ptr<KvTable>> tables;
  std::vector<Floats> keys, values;
  Batch batch;
  Ops ops(*golden(), 128);
  for (const Sequence& s : sequences) {
    tables.push_back(std::make_unique<KvTable>(pool, false));
    KvTable& table = *tables.back();
    table.reserve(s.known + s.n);
    keys.push_back(random_floats(random, (s.known + s.n) * kv_heads * dim));
    values.push_back(random_floats(random, (s.known + s.n) * kv_heads * dim));
    for (Floats* list : {&keys.back(), &values.back()})
      for (float& x : *list) x = bitnet::f16_to_f32(bitnet::f32_to_f16(x));
    for (int64_t p = 0; p < s.known + s.n; ++p) {
      for (int64_t h = 0; h < kv_heads; ++h) {
        const size_t at = static_cast<size_t>((p * kv_heads + h) * dim);
        table.layout().store(table.block_of(p), 1, h, p % bitnet::kBlockPositions, &keys.back()[at],
                             &values.back()[at]);
      }
    }
    table.append(std::vector<int32_t>(static_cast<size_t>(s.known), 1));
    batch.add(table, std::vector<int32_t>(static_cast<size_t>(s.n), 1));
  }
  const Floats q = random_floats(random, batch.size() * heads * dim);
  Floats out(q.size());
  ops.set_batch(batch);
  ops.attend(1, q.data(), out.data());
  std::vector<double> expected;
  for (int64_t t = 0; t < batch.size(); ++t) {
    const size_t s = batch.part_of[static_cast<size_t>(t)];
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t kv = h / (heads / kv_heads), n_keys = batch.positions[t] + 1;
      std::vector<double> weights;
      double total = 0;
      for (int64_t p = 0; p < n_keys; ++p) {
        double score = 0;
        for (int64_t d = 0; d < dim; ++d)
          score += double{q[(t * heads + h) * dim + d]} * keys[s][(p * kv_heads + kv) * dim + d];
        weights.push_back(std::exp(score / std::sqrt(double(dim))));
        total += weights.back();
      }
      for (int64_t d = 0; d < dim; ++d) {
        double sum = 0;
        for (int64_t p = 0; p < n_keys; ++p)
          sum += weights[p] / total * values[s][(p * kv_heads + kv) * dim + d];
        expected.push_back(sum);
      }
    }
  }
  CHECK(difference(out, expected) < 1e-5);
}
