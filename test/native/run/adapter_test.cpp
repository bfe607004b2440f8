// Adapters in the pass: what they add, and that nobody's neighbours change it.
#include "model/adapter.h"

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "engine_cases.h"
#include "formats/dequantize.h"
#include "kernel_fixture.h"
#include "run/ops.h"
#include "tiny_model.h"

using namespace engine_cases;
using bitnet::Adapter;
using bitnet::AdapterSet;
using bitnet::AdapterTarget;
using bitnet::Batch;
using bitnet::Layer;
using bitnet::LayerInput;
using bitnet::Linear;
using bitnet::Ops;
using bitnet::Products;
using bitnet::TensorType;

namespace {

using Floats = std::vector<float>;

struct Shape {
  const char* name;
  Linear Layer::*linear;
};
constexpr Shape kAll[] = {{"attn_q", &Layer::q},      {"attn_k", &Layer::k},
                          {"attn_v", &Layer::v},      {"attn_output", &Layer::o},
                          {"ffn_gate", &Layer::gate}, {"ffn_up", &Layer::up},
                          {"ffn_down", &Layer::down}};

struct Recipe {
  int seed;
  int64_t rank = 8;
  float b = 0.05f;  // magnitude of B
  TensorType type = TensorType::kF32;
  size_t n_matrices = 7;  // the first so many of each layer
};

Floats rounded(Floats values, TensorType type) {
  for (float& x : values) {
    if (type == TensorType::kF16) x = bitnet::f16_to_f32(bitnet::f32_to_f16(x));
    if (type == TensorType::kBF16) x = bitnet::bf16_to_f32(bitnet::f32_to_bf16(x));
  }
  return values;
}

AdapterTarget target_of(const Model& model, int64_t layer, const Shape& shape,
                        const Recipe& recipe) {
  const Linear& linear = model.layers[static_cast<size_t>(layer)].*shape.linear;
  bitnet::Random random(static_cast<uint64_t>(recipe.seed * 1000 + layer * 10) +
                        static_cast<uint64_t>(shape.name[5]));
  const int64_t rank = recipe.rank, cols = linear.cols;
  const Floats a = rounded(bitnet::random_floats(random, rank * cols, -0.1f, 0.1f), recipe.type);
  const Floats b =
      rounded(bitnet::random_floats(random, linear.rows * rank, -recipe.b, recipe.b), recipe.type);
  return {layer,
          shape.name,
          rank,
          linear.rows,
          cols,
          2.0f,
          [=](int64_t r, float* out) { std::copy_n(a.begin() + r * cols, cols, out); },
          [=](int64_t r, float* out) { std::copy_n(b.begin() + r * rank, rank, out); },
          recipe.type};
}

std::vector<AdapterTarget> targets_of(const Model& model, const Recipe& recipe) {
  std::vector<AdapterTarget> targets;
  for (int64_t layer = 0; layer < static_cast<int64_t>(model.layers.size()); ++layer) {
    for (size_t i = 0; i < recipe.n_matrices; ++i)
      targets.push_back(target_of(model, layer, kAll[i], recipe));
  }
  return targets;
}

std::shared_ptr<const Adapter> make(const Model& model, const Recipe& recipe) {
  return Adapter::load(model, targets_of(model, recipe), false);
}

SequenceOptions with(std::vector<AdapterSet::Use> uses, bool share = true) {
  SequenceOptions options{512};
  options.adapters = std::move(uses);
  options.share = share;
  return options;
}

Floats logits_of(const std::shared_ptr<Engine>& engine, const SequenceOptions& options,
                 const Ids& ids) {
  Session session(engine, options);
  session.prefill(ids, true);
  return session.logits();
}

bitnet::LoadOptions load_options(const char* kernel, int n_threads) {
  bitnet::LoadOptions options;
  options.n_threads = n_threads;
  options.kernel = kernel;
  return options;
}

std::shared_ptr<Model> golden(const char* kernel = "", int n_threads = 2) {
  return Model::load(check::data("golden/b158-small.gguf"), load_options(kernel, n_threads));
}

}  // namespace

TEST("what an adapter adds is scale B A x, of the float rows") {
  const auto model = golden();
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    const Recipe recipe{.seed = 3, .rank = 5, .type = type};
    const auto targets = targets_of(*model, recipe);
    const AdapterSet set({{Adapter::load(*model, targets, false), 0.5f}});
    const Layer& layer = model->layers[1];
    const int64_t n = 3, cols = layer.q.cols;
    bitnet::Random random(1);
    const Floats x = bitnet::random_floats(random, n * cols);
    const auto multiply = [&](const AdapterSet* adapters) {
      Ops ops(*model, 8);
      auto pool = std::make_shared<bitnet::KvPool>(bitnet::KvLayout(model->config, CacheType::kF16),
                                                   1 << 20);
      bitnet::KvTable table(pool, false);
      table.reserve(n);
      Batch batch;
      batch.add(table, Ids(static_cast<size_t>(n), 1), adapters);
      ops.set_batch(batch);
      const Products products(*model, 1, LayerInput::kAttention, {&layer.q, &layer.k, &layer.v});
      ops.prepare(x.data(), nullptr, cols, n, products);
      Floats q(n * layer.q.rows), k(n * layer.k.rows), v(n * layer.v.rows);
      ops.multiply(products, {q.data(), k.data(), v.data()});
      return std::vector<Floats>{q, k, v};
    };
    const auto base = multiply(nullptr), adapted = multiply(&set);
    for (size_t i = 0; i < 3; ++i) {
      const AdapterTarget& target = targets[7 + i];
      for (int64_t t = 0; t < n; ++t) {
        for (int64_t r = 0; r < target.rows; ++r) {
          Floats b(5), a(static_cast<size_t>(cols));
          target.read_b(r, b.data());
          double sum = 0;
          for (int64_t j = 0; j < 5; ++j) {
            target.read_a(j, a.data());
            double dot = 0;
            for (int64_t c = 0; c < cols; ++c) dot += double{a[c]} * double{x[t * cols + c]};
            sum += double{b[j]} * dot;
          }
          const size_t at = static_cast<size_t>(t * target.rows + r);
          CHECK_NEAR(adapted[i][at], base[i][at] + sum, 2e-5);
        }
      }
    }
  }
}

TEST("B = 0, scale 0 and no adapter give the bits of the base, and its cache") {
  const auto model = golden();
  const auto engine = engine_with(model);
  const Ids ids = ids_of(150, 1);
  const Floats base = logits_of(engine, with({}), ids);
  const auto zero = make(*model, {.seed = 1, .b = 0});
  CHECK(zero->is_zero());
  const auto some = make(*model, {.seed = 1});
  for (const auto& uses : {std::vector<AdapterSet::Use>{{zero, 1.0f}}, {{some, 0.0f}}})
    CHECK(same_bits(logits_of(engine, with(uses), ids), base));
  CHECK(!same_bits(logits_of(engine, with({{some, 1.0f}}), ids), base));
  Session session(engine, with({{zero, 1.0f}}));
  CHECK_EQ(session.prefill(ids, false).reused, 128);
}

TEST("several adapters add up, in an order that is not the caller's") {
  const auto model = golden();
  const auto engine = engine_with(model);
  const auto a = make(*model, {.seed = 1}), b = make(*model, {.seed = 2, .rank = 3});
  const Ids ids = ids_of(40, 1);
  const Floats both = logits_of(engine, with({{a, 1.0f}, {b, 0.5f}}), ids);
  CHECK(same_bits(logits_of(engine, with({{b, 0.5f}, {a, 1.0f}}), ids), both));
  CHECK(!same_bits(logits_of(engine, with({{a, 1.0f}}), ids), both));
  CHECK(!same_bits(logits_of(engine, with({{a, 1.0f}, {b, 1.0f}}), ids), both));
  CHECK(AdapterSet({{a, 1}, {b, 2}}).key() == AdapterSet({{b, 2}, {a, 1}}).key());
}

TEST("keys and values are shared with the same adapters alone") {
  const auto model = golden();
  const auto engine = engine_with(model);
  const Ids ids = ids_of(200, 1);
  engine->publish(std::span(ids).first(128));
  const auto a = make(*model, {.seed = 1});
  const auto reused = [&](const SequenceOptions& options) {
    return Session(engine, options).prefill(ids, false).reused;
  };
  CHECK_EQ(reused(with({})), 0);
  CHECK_EQ(reused(with({{a, 1.0f}})), 0);  // also of what is published
  CHECK_EQ(reused(with({{a, 0.5f}})), 0);
  CHECK_EQ(reused(with({{make(*model, {.seed = 2}), 1.0f}})), 0);
  CHECK_EQ(reused(with({})), 192);
  CHECK_EQ(reused(with({{make(*model, {.seed = 1}), 1.0f}})), 192);  // the same, loaded once more
  SequenceOptions salted = with({{a, 1.0f}});
  salted.salt = "somebody else";
  CHECK_EQ(reused(salted), 128);  // what is published, with the same adapter
}

namespace {

struct Member {
  SequenceOptions options;
  Ids prompt;
  Ids tokens;  // alone
  Floats logits;
};

std::vector<Member> members_of(const std::shared_ptr<Model>& model) {
  const auto a = make(*model, {.seed = 1}), b = make(*model, {.seed = 2, .rank = 35});
  const auto c = make(*model, {.seed = 3, .rank = 1, .type = TensorType::kBF16, .n_matrices = 4});
  std::vector<Member> members;
  for (const auto& uses : {std::vector<AdapterSet::Use>{},
                           {{a, 1.0f}},
                           {{b, 0.7f}},
                           {{a, 1.0f}},
                           {{a, 0.3f}, {b, 1.0f}, {c, -1.0f}},
                           {},
                           {{c, 2.0f}}}) {
    const int i = static_cast<int>(members.size());
    members.push_back({with(uses), ids_of(5 + 23 * i, i), {}, {}});
  }
  return members;
}

SamplerParams greedy() {
  SamplerParams params;
  params.temperature = 0;
  return params;
}

Request request_of(const Member& member) {
  Request request;
  request.tokens = member.prompt;
  request.max_tokens = 6;
  request.sampling = greedy();
  return request;
}

}  // namespace

TEST("a sequence gets the same bits alone and among others with other adapters and none") {
  for (const bitnet::Kernels* kernels : bitnet::runnable_kernels()) {
    std::vector<Member> members;
    for (const int n_threads : {1, 2}) {
      const auto model = golden(kernels->name, n_threads);
      const auto fresh = members_of(model);
      if (members.empty()) members = fresh;
      for (size_t i = 0; i < members.size(); ++i) {
        members[i].options = fresh[i].options;  // of this model
        if (!members[i].tokens.empty()) continue;
        Session alone(engine_with(model), members[i].options);
        members[i].tokens = alone.generate(members[i].prompt, greedy(), 6).tokens;
        members[i].logits = alone.logits();
      }
      for (const int64_t step_rows : {int64_t{9}, int64_t{64}, bitnet::kBatchTokens}) {
        if (bitnet::quick() && step_rows != 64) continue;
        EngineOptions options;
        options.step_rows = step_rows;
        const auto engine = engine_with(model, options);
        Mailbox mailbox;
        const auto sink = mailbox.sink();
        std::vector<std::shared_ptr<Sequence>> sequences;
        std::vector<std::shared_ptr<Operation>> operations;
        engine->call([&] {
          for (const Member& member : members) {
            sequences.push_back(engine->create_sequence(member.options));
            operations.push_back(engine->submit(sequences.back(), request_of(member), sink));
          }
        });
        for (size_t i = 0; i < members.size(); ++i) {
          mailbox.wait(*operations[i]);
          CHECK_EQ(mailbox.tokens(*operations[i]), members[i].tokens);
          CHECK(same_bits(engine->logits(*sequences[i]), members[i].logits));
        }
      }
    }
  }
}

TEST("kernels with fused multiply-add agree in every bit, scalar to rounding") {
  const Ids ids = ids_of(70, 4);
  Floats fused, plain;
  for (const bitnet::Kernels* kernels : bitnet::runnable_kernels()) {
    const auto model = golden(kernels->name, 2);
    const auto engine = engine_with(model);
    const Floats out = logits_of(
        engine, with({{make(*model, {.seed = 1, .rank = 33, .type = TensorType::kF16}), 1.0f}}),
        ids);
    if (!bitnet::fuses_multiply_add(*kernels)) {
      plain = out;
    } else if (fused.empty()) {
      fused = out;
    } else {
      CHECK(same_bits(out, fused));
    }
  }
  double difference = 0, size = 0;
  for (size_t i = 0; i < fused.size(); ++i) {
    difference += std::pow(double{fused[i]} - double{plain[i]}, 2);
    size += std::pow(double{fused[i]}, 2);
  }
  CHECK(std::sqrt(difference) <= 0.02 * std::sqrt(size));  // int8 roundings may flip
}

TEST("a saved sequence is restored with the same adapters alone") {
  const auto model = golden();
  const auto engine = engine_with(model);
  const auto a = make(*model, {.seed = 1});
  const Ids ids = ids_of(100, 1);
  const std::string path = (std::filesystem::temp_directory_path() /
                            ("bitnet-adapter-" + std::to_string(std::random_device{}())))
                               .string();
  Mailbox mailbox;
  const auto sink = mailbox.sink();
  const auto save = [&](const SequenceOptions& options) {
    const auto sequence = engine->create_sequence(options);
    Request request;
    request.tokens = ids;
    mailbox.wait(*engine->submit(sequence, request, sink));
    engine->save(*sequence, path);
  };
  const auto restore = [&](const SequenceOptions& options) {
    return engine->restore(*engine->create_sequence(options), path).n_tokens;
  };
  save(with({{a, 1.0f}}));
  CHECK_EQ(restore(with({{a, 1.0f}})), 100);
  CHECK_THROWS(restore(with({})), Error, "with an adapter, and none is in use");
  CHECK_THROWS(restore(with({{a, 0.5f}})), Error, "other adapters or scales");
  save(with({}));
  CHECK_EQ(restore(with({})), 100);
  CHECK_THROWS(restore(with({{a, 1.0f}})), Error, "without adapters");
  std::filesystem::remove(path);
}

TEST("a large f32 adapter is kept in f16 without losing small numbers or the largest") {
  const auto model = golden();
  if (bitnet::quick()) return;                   // some 60 million numbers
  const int64_t rank = bitnet::kMaxAdapterRank;  // above kMostExactBytes
  const auto constant = [&](float a, float b) {
    std::vector<AdapterTarget> targets;
    for (const Shape& shape : kAll) {
      for (int64_t layer = 0; layer < 2; ++layer) {
        AdapterTarget target = target_of(*model, layer, shape, {.seed = 1, .rank = rank});
        const int64_t cols = target.cols;
        target.read_a = [=](int64_t, float* out) { std::fill_n(out, cols, a); };
        target.read_b = [=](int64_t, float* out) { std::fill_n(out, rank, b); };
        targets.push_back(target);
      }
    }
    return targets;
  };
  for (const auto& [a, b] : {std::pair{3e-7f, 1e-3f}, {1e6f, 1e-9f}}) {
    const auto adapter = Adapter::load(*model, constant(a, b), false);
    CHECK(adapter->type() == TensorType::kF16);
    const bitnet::LowRank& q = *adapter->of(0, LayerInput::kAttention);
    uint16_t a_half, b_half;
    std::memcpy(&a_half, q.a, 2);
    std::memcpy(&b_half, q.outputs[0].b, 2);
    const double product = double{bitnet::f16_to_f32(a_half)} * double{bitnet::f16_to_f32(b_half)};
    CHECK_NEAR(product * double{q.scales[0]} / (2 * double{a} * double{b}), 1, 1e-3);
  }
}

TEST("what is no adapter of the model is refused by the name of its matrix") {
  const auto model = golden();
  const auto load = [&](auto change) {
    auto targets = targets_of(*model, {.seed = 1});
    change(targets);
    return Adapter::load(*model, targets, false);
  };
  CHECK_THROWS(load([](auto& t) { t[0].layer = 99; }), Error,
               "blk.99.attn_q: the model has no such");
  CHECK_THROWS(load([](auto& t) { t[0].name = "output"; }), Error,
               "blk.0.output: the model has no");
  CHECK_THROWS(load([](auto& t) { t[1].rows += 1; }), Error, "blk.0.attn_k: is for a matrix of");
  CHECK_THROWS(load([](auto& t) { t[1] = t[0]; }), Error, "blk.0.attn_q: is there twice");
  CHECK_THROWS(load([](auto& t) { t[0].rank = 5000; }), Error, "rank is not between 1 and 4096");
  CHECK_THROWS(AdapterSet({{make(*model, {.seed = 1}), std::nanf("")}}), Error, "must be a number");
}

TEST("scaled by the weights, what is added is multiplied by the scale of each matrix") {
  TinyFile file;
  const TemporaryFile saved(file.finish());
  const auto model = Model::load(saved.path.string(), load_options("", 1));
  const auto targets = targets_of(*model, {.seed = 1, .rank = 2});
  const auto plain = Adapter::load(*model, targets, false);
  const auto scaled = Adapter::load(*model, targets, true);
  const float of_file = model->layers[0].q.ternary.scale;
  CHECK_EQ(scaled->of(0, LayerInput::kAttention)->scales[0],
           plain->of(0, LayerInput::kAttention)->scales[0] * of_file);
}
