// Models and sessions: what must not change a single bit of the logits, what an abort leaves
// behind, and that a model file that lies gets a clear error and nothing worse.
#include "run/session.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <thread>

#include "base/error.h"
#include "check.h"
#include "formats/dequantize.h"
#include "run/kv_pool.h"
#include "sessions.h"
#include "tiny_model.h"

using bitnet::Error;
using bitnet::ErrorCode;
using bitnet::Model;
using bitnet::Sample;
using bitnet::SamplerParams;

namespace {

using Ids = std::vector<int32_t>;
using Logits = std::vector<float>;

const bool kQuick = std::getenv("BITNET_TEST_QUICK") != nullptr;

std::shared_ptr<Model> load(const std::string& name, int n_threads = 1,
                            const std::string& kernel = "") {
  bitnet::LoadOptions options;
  options.n_threads = n_threads;
  options.kernel = kernel;
  return Model::load(check::data("golden/" + name), options);
}

std::shared_ptr<Model> golden() {
  static const std::shared_ptr<Model> model = load("b158-small.gguf");
  return model;
}

Ids prompt_of(int n, int32_t seed = 7) {
  Ids ids;
  for (int i = 0; i < n; ++i) ids.push_back((seed + 131 * i) % 1793);
  return ids;
}

// The logits of the last token, from a new session.
Logits fresh_logits(const std::shared_ptr<Model>& model, const Ids& ids) {
  Session session(model, static_cast<int64_t>(ids.size()) + 8);
  session.prefill(ids, false);
  return session.logits();
}

bool same_bits(const Logits& a, const Logits& b) {
  return !a.empty() && a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

SamplerParams greedy() {
  SamplerParams params;
  params.temperature = 0;
  return params;
}

// What `body` throws; fails the test if it throws nothing.
template <class Body>
ErrorCode code_of(Body body) {
  try {
    body();
  } catch (const Error& error) {
    return error.code;
  }
  check::fail(__FILE__, __LINE__, "expected an error");
  return ErrorCode::kInternal;
}

}  // namespace

TEST("every layout of the weights gives the same logits, with every kernel and number of tokens") {
  for (const char* file : {"b158-small", "b158-tl1", "b158-tl2", "odd-b158", "llama-TQ2_0-q6_k"}) {
    const std::string name = std::string("golden/") + file + ".gguf";
    for (const bitnet::Kernels* kernel : bitnet::all_kernels()) {
      if (!bitnet::supported(*kernel)) continue;
      bitnet::LoadOptions options;
      options.kernel = kernel->name;
      options.n_threads = 2;
      if (std::string(file) == "b158-tl1")
        options.kernel_config = check::data("golden/tl1-kernel_config.ini");
      if (std::string(file) == "b158-tl2")
        options.kernel_config = check::data("golden/tl2-kernel_config.ini");
      options.layout = "i2_s";
      const std::shared_ptr<Model> plain = Model::load(check::data(name), options);
      CHECK(plain->layout == bitnet::WeightLayout::kI2S);
      for (const char* layout : {"auto", "pairs", "triples", "trits", "lut"}) {
        options.layout = layout;
        const std::shared_ptr<Model> other = Model::load(check::data(name), options);
        for (int n : {1, 3, 8, 9, 41}) {
          if (kQuick && n > 9) continue;
          if (!same_bits(fresh_logits(other, prompt_of(n)), fresh_logits(plain, prompt_of(n)))) {
            check::fail(__FILE__, __LINE__,
                        name + ", " + kernel->name + ", " + layout + ", tokens " +
                            std::to_string(n) + ": other logits");
          }
        }
      }
    }
  }
}

TEST("no tuning changes a bit of the logits, with any kernel and layout") {
  const bitnet::Tuning tunings[] = {{96, 32, 0, 16 * 1024, 2, 0},
                                    {192, 96, 64, 48 * 1024, 5, 20},
                                    {96 * 64, 32 * 1024, 64 * 1024, 64 << 20, 1024, 10'000}};
  for (const bitnet::Kernels* kernel : bitnet::all_kernels()) {
    if (!bitnet::supported(*kernel)) continue;
    for (const char* layout : {"i2_s", "lut", "trit"}) {
      bitnet::LoadOptions options;
      options.kernel = kernel->name;
      options.n_threads = 2;
      options.layout = layout;
      const auto model =
          std::shared_ptr<Model>(Model::load(check::data("golden/b158-small.gguf"), options));
      for (const int n : {1, 4, 11, kQuick ? 12 : 90}) {
        model->set_tuning({});
        const Logits expected = fresh_logits(model, prompt_of(n));
        for (const bitnet::Tuning& tuning : tunings) {
          model->set_tuning(tuning);
          if (same_bits(fresh_logits(model, prompt_of(n)), expected)) continue;
          check::fail(__FILE__, __LINE__,
                      std::string(kernel->name) + ", " + layout + ", tokens " + std::to_string(n) +
                          ", rows " + std::to_string(tuning.batch_rows) + ": other logits");
        }
      }
    }
  }
}

TEST("a tuning outside its bounds is refused, when loading and later, and changes nothing") {
  const std::string path = check::data("golden/b158-small.gguf");
  const bitnet::Tuning defaults;
  for (const bitnet::TuningParameter& p : bitnet::kTuningParameters) {
    std::vector<int64_t> bad = {p.least - p.step, p.most + p.step, INT64_MIN, INT64_MAX};
    if (p.step > 1) bad.push_back(p.least + 1);
    for (const int64_t value : bad) {
      bitnet::LoadOptions options;
      options.tuning.*p.field = value;
      CHECK_THROWS(Model::load(path, options), Error, p.name);
      CHECK_THROWS(golden()->set_tuning(options.tuning), Error, p.name);
    }
    CHECK(golden()->tuning.*p.field == defaults.*p.field);
    for (const int64_t value : {p.least, p.most}) {
      bitnet::LoadOptions options;
      options.tuning.*p.field = value;
      CHECK(Model::load(path, options)->tuning.*p.field == value);
    }
  }
}

TEST("the layout that is named is the one in memory, with its size in copied_bytes") {
  auto load_as = [](const char* file, const char* layout, const char* config) {
    bitnet::LoadOptions options;
    options.n_threads = 1;
    options.layout = layout;
    if (config) options.kernel_config = check::data(std::string("golden/") + config);
    return Model::load(check::data(std::string("golden/") + file), options);
  };
  using bitnet::WeightLayout;
  const auto tl1 = load_as("b158-tl1.gguf", "lut", "tl1-kernel_config.ini");
  const auto tl2 = load_as("b158-tl2.gguf", "lut", "tl2-kernel_config.ini");
  const auto trit = load_as("b158-small.gguf", "trit", nullptr);
  const auto lut = load_as("b158-small.gguf", "lut", nullptr);
  CHECK(tl1->layout == WeightLayout::kPairs && tl1->layers[0].q.ternary.layout == tl1->layout);
  CHECK(tl2->layout == WeightLayout::kTriples && tl2->layers[0].q.ternary.layout == tl2->layout);
  CHECK(lut->layout == WeightLayout::kTriples);
  CHECK(trit->layout == WeightLayout::kTrits && trit->layers[0].q.ternary.layout == trit->layout);
  CHECK(tl2->copied_bytes() < tl1->copied_bytes());
  CHECK_THROWS(load_as("b158-small.gguf", "bogus", nullptr), Error, "'bogus'");
}

TEST("a prompt that begins like the sequence gives the same bits as a new session") {
  const Ids ids = prompt_of(40);
  Session session(golden(), 64);
  session.prefill(Ids(ids.begin(), ids.begin() + 25), false);
  const auto longer = session.prefill(ids, false);
  CHECK_EQ(longer.reused, 25);
  CHECK_EQ(longer.evaluated, 15);
  CHECK(same_bits(session.logits(), fresh_logits(golden(), ids)));

  Ids other = ids;  // branches off at token 30
  other[30] = 5;
  const auto branch = session.prefill(other, false);
  CHECK_EQ(branch.reused, 30);
  CHECK_EQ(branch.evaluated, 10);
  CHECK(same_bits(session.logits(), fresh_logits(golden(), other)));
  CHECK(session.tokens() == other);

  const auto again = session.prefill(other, false);  // the last token is always evaluated
  CHECK_EQ(again.reused, 39);
  CHECK_EQ(again.evaluated, 1);
  CHECK(same_bits(session.logits(), fresh_logits(golden(), other)));

  const Ids shorter(ids.begin(), ids.begin() + 10);
  CHECK_EQ(session.prefill(shorter, false).reused, 9);
  CHECK(same_bits(session.logits(), fresh_logits(golden(), shorter)));
}

TEST("a prompt in one batch and token by token gives the same bits, with every kernel") {
  const Ids ids = prompt_of(kQuick ? 20 : 70);
  for (const bitnet::Kernels* kernels : bitnet::all_kernels()) {
    if (!bitnet::supported(*kernels)) continue;
    const auto model = load("b158-small.gguf", 1, kernels->name);
    const size_t n_vocab = static_cast<size_t>(model->config.n_vocab);
    Session batch(model, 128), single(model, 128);
    batch.prefill(ids, true);
    CHECK_EQ(batch.logits().size(), ids.size() * n_vocab);
    bool same = true;
    for (size_t i = 0; i < ids.size(); ++i) {
      single.prefill(Ids(ids.begin(), ids.begin() + static_cast<int64_t>(i) + 1), false);
      same &= single.logits().size() == n_vocab &&
              std::memcmp(single.logits().data(), &batch.logits()[i * n_vocab], n_vocab * 4) == 0;
    }
    if (!same) check::fail(__FILE__, __LINE__, std::string("batches differ with ") + kernels->name);
  }
}

TEST("a prompt longer than a batch gives the same bits as in pieces of any length") {
  if (kQuick) return;
  const Ids ids = prompt_of(bitnet::kBatchTokens + 45);
  const Logits expected = fresh_logits(golden(), ids);
  for (const size_t step : {size_t{1} << 7, size_t{99}, size_t{256}}) {
    Session session(golden(), 512);
    for (size_t end = std::min(step, ids.size());; end = std::min(end + step, ids.size())) {
      session.prefill(Ids(ids.begin(), ids.begin() + static_cast<int64_t>(end)), false);
      if (end == ids.size()) break;
    }
    CHECK(same_bits(session.logits(), expected));
  }
}

// Pieces that end before, at and after the borders of the segments in which attention takes keys.
TEST("a prompt of several segments gives the same bits in any pieces, threads and cache type") {
  if (kQuick) return;
  const int64_t segment = bitnet::kAttentionSegment;
  const Ids ids = prompt_of(static_cast<int>(2 * segment + 40));
  for (const auto type : {bitnet::CacheType::kF16, bitnet::CacheType::kQ8}) {
    Logits expected;
    for (const int n_threads : {1, 2, 3}) {
      const auto model = load("b158-small.gguf", n_threads);
      Session whole(model, 1100, type), pieces(model, 2000, type);
      whole.prefill(ids, false);
      if (expected.empty()) expected = whole.logits();
      CHECK(same_bits(whole.logits(), expected));
      std::vector<int64_t> ends{segment - 3, segment + 3, segment + 90, 2 * segment - 2};
      for (int64_t end = 2 * segment - 1; end <= static_cast<int64_t>(ids.size()); ++end)
        ends.push_back(end);
      for (const int64_t end : ends) pieces.prefill(Ids(ids.begin(), ids.begin() + end), false);
      CHECK(same_bits(pieces.logits(), expected));
    }
  }
}

TEST("an int8 cache takes half the memory and changes the logits little") {
  const Ids ids = prompt_of(60);
  Session f16(golden(), 64), q8(golden(), 64, bitnet::CacheType::kQ8);
  const bitnet::Config& c = golden()->config;
  const int64_t padded = (c.head_dim + 15) / 16 * 16;
  CHECK_EQ(f16.kv_bytes(), c.n_layers * c.n_kv_heads * 64 * 2 * (c.head_dim + padded));
  CHECK_EQ(q8.kv_bytes(), c.n_layers * c.n_kv_heads * 64 * (c.head_dim + padded + 8));
  f16.prefill(ids, false);
  q8.prefill(ids, false);
  double error = 0, norm = 0;
  for (size_t i = 0; i < f16.logits().size(); ++i) {
    error += std::pow(f16.logits()[i] - q8.logits()[i], 2);
    norm += std::pow(f16.logits()[i], 2);
  }
  CHECK(error > 0);                        // it is another cache
  CHECK(std::sqrt(error / norm) <= 0.08);  // the bound of the golden logits of random weights
}

namespace {

// The int8 blocks of one table.
class Q8Cache {
 public:
  Q8Cache(const bitnet::Config& config, int64_t n_positions)
      : table_(
            std::make_shared<bitnet::KvPool>(bitnet::KvLayout(config, bitnet::CacheType::kQ8), 0),
            false) {
    table_.reserve(n_positions);
  }
  void store(int64_t layer, int64_t head, int64_t position, const float* k, const float* v) {
    table_.layout().store(table_.block_of(position), layer, head,
                          position % bitnet::kBlockPositions, k, v);
  }
  void fill(bitnet::AttentionTile& tile, int64_t layer, int64_t head) const {
    table_.layout().fill(tile, layer, head);
    tile.blocks = table_.blocks();
  }
  // Of the first block.
  static const int8_t* keys(const bitnet::AttentionTile& tile) {
    return reinterpret_cast<const int8_t*>(tile.blocks[0] + tile.k_offset);
  }
  static const int8_t* values(const bitnet::AttentionTile& tile) {
    return reinterpret_cast<const int8_t*>(tile.blocks[0] + tile.v_offset);
  }
  static const float* k_scales(const bitnet::AttentionTile& tile) {
    return reinterpret_cast<const float*>(tile.blocks[0] + tile.k_scale_offset);
  }
  static const float* v_scales(const bitnet::AttentionTile& tile) {
    return reinterpret_cast<const float*>(tile.blocks[0] + tile.v_scale_offset);
  }

 private:
  bitnet::KvTable table_;
};

}  // namespace

// A key is off by half a step at most, so a score by half a step times the sum of |q|, a weight by
// twice that in its exponent, and a value by half a step.
TEST("attention to an int8 cache is as close to the exact one as the rounding allows") {
  bitnet::Config config{};
  config.n_layers = 2;
  config.n_kv_heads = 2;
  config.head_dim = 68;
  const int n_keys = 150, dim = 68;
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const auto floats = [&](size_t n) {
    std::vector<float> x(n);
    for (float& value : x) value = uniform(random);
    return x;
  };
  const std::vector<float> q = floats(dim), k = floats(n_keys * dim), v = floats(n_keys * dim);
  Q8Cache cache(config, n_keys);
  for (int key = 0; key < n_keys; ++key) cache.store(1, 1, key, &k[key * dim], &v[key * dim]);

  const double scale = 1 / std::sqrt(double{dim});
  double q_sum = 0, key_step = 0, value_step = 0, total = 0;
  for (const float x : q) q_sum += std::fabs(double{x});
  std::vector<double> weights(n_keys);
  for (int key = 0; key < n_keys; ++key) {
    double score = 0, k_most = 0, v_most = 0;
    for (int d = 0; d < dim; ++d) {
      score += double{q[d]} * double{k[key * dim + d]};
      k_most = std::max(k_most, std::fabs(double{k[key * dim + d]}));
      v_most = std::max(v_most, std::fabs(double{v[key * dim + d]}));
    }
    key_step = std::max(key_step, k_most / 127);
    value_step = std::max(value_step, v_most / 127);
    total += weights[key] = std::exp(score * scale);
  }
  const double drift = std::expm1(2 * scale * q_sum * key_step / 2);

  for (const bitnet::Kernels* kernels : bitnet::all_kernels()) {
    if (!bitnet::supported(*kernels)) continue;
    const float* row = q.data();
    bitnet::AttentionTile tile{};
    cache.fill(tile, 1, 1);
    tile.q = &row;
    tile.n_keys = &n_keys;
    tile.n_q = 1;
    tile.scale = static_cast<float>(scale);
    bitnet::AlignedArray<float> scratch(bitnet::kAttentionScratch), partial(96), out(dim);
    kernels->attention(tile, 0, 1, partial.data(), scratch.data());
    kernels->merge_attention(partial.data(), 0, 1, dim, tile.v_stride, out.data());
    for (int d = 0; d < dim; ++d) {
      double want = 0, magnitude = 0;
      for (int key = 0; key < n_keys; ++key) {
        want += weights[key] / total * double{v[key * dim + d]};
        magnitude += weights[key] / total * std::fabs(double{v[key * dim + d]});
      }
      const double bound = drift * (magnitude + value_step) + value_step / 2 + 1e-5;
      CHECK(bound < 0.05);
      CHECK(std::fabs(double{out[d]} - want) <= bound);
    }
  }
}

TEST("an int8 cache keeps zeros, and numbers too small or large to divide by, without a NaN") {
  bitnet::Config config{};
  config.n_layers = config.n_kv_heads = 1;
  config.head_dim = 16;
  Q8Cache cache(config, 64);
  bitnet::AttentionTile tile{};
  cache.fill(tile, 0, 0);
  int position = 0;
  for (const float magnitude : {0.0f, 1e-45f, 1e-38f, 1.0f, 3e38f}) {
    std::vector<float> x(16, 0.0f);
    x[3] = magnitude;
    x[5] = -magnitude;
    cache.store(0, 0, position, x.data(), x.data());
    for (int d = 0; d < 16; ++d) {
      const float k = cache.k_scales(tile)[position] * cache.keys(tile)[d * 16 + position];
      const float v = cache.v_scales(tile)[position] * cache.values(tile)[position * 16 + d];
      CHECK(std::fabs(double{k} - double{x[d]}) <= 1e-36 + 1e-6 * double{magnitude});
      CHECK(std::fabs(double{v} - double{x[d]}) <= 1e-36 + 1e-6 * double{magnitude});
    }
    ++position;
  }
}

// The quotient is rounded before: 127 steps of at most 1.5 units in the last place of a float.
TEST("an int8 cache is off by half a step at most, wherever a value lies between two") {
  bitnet::Config config{};
  config.n_layers = config.n_kv_heads = 1;
  config.head_dim = 20;  // values are padded to 32
  constexpr int kDim = 20, kPositions = 50;
  Q8Cache cache(config, 64);
  bitnet::AttentionTile tile{};
  cache.fill(tile, 0, 0);
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(-1, 1);
  double widest = 0;
  for (int position = 0; position < kPositions; ++position) {
    float x[2][kDim];
    for (float* vector : {x[0], x[1]})
      for (int d = 0; d < kDim; ++d) vector[d] = std::ldexp(uniform(random), position - 25);
    cache.store(0, 0, position, x[0], x[1]);
    const int8_t* k = cache.keys(tile) + position / 16 * 16 * kDim;
    const int8_t* v = cache.values(tile) + position * tile.v_stride;
    for (int d = 0; d < kDim; ++d) {
      const double k_step = cache.k_scales(tile)[position];
      const double v_step = cache.v_scales(tile)[position];
      const double k_off = x[0][d] / k_step - k[16 * d + position % 16];
      const double v_off = x[1][d] / v_step - v[d];
      CHECK(std::fabs(k_off) <= 0.5 + 127 * 0x1p-22);
      CHECK(std::fabs(v_off) <= 0.5 + 127 * 0x1p-22);
      widest = std::max({widest, std::fabs(k_off), std::fabs(v_off)});
    }
  }
  CHECK(widest > 0.49);  // or the values would not tell rounding from anything better
}

TEST("any number of threads gives the same bits") {
  for (const char* name : {"b158-small.gguf", "odd-b158.gguf", "llama-TQ2_0-q6_k.gguf"}) {
    const Ids ids = prompt_of(kQuick ? 10 : 45);
    const Logits expected = fresh_logits(load(name, 1), ids);
    for (const int n_threads : {2, 3, 7}) {
      const bool same = same_bits(fresh_logits(load(name, n_threads), ids), expected);
      if (!same) check::fail(__FILE__, __LINE__, name);
    }
  }
}

TEST("several sessions on one model, at the same time, do not disturb each other") {
  const auto model = load("b158-small.gguf", 2);
  std::vector<Ids> prompts;
  std::vector<Logits> expected;
  for (int i = 0; i < 3; ++i) {
    prompts.push_back(prompt_of(9 + 4 * i, i));
    expected.push_back(fresh_logits(model, prompts.back()));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> users;
  for (size_t i = 0; i < prompts.size(); ++i) {
    users.emplace_back([&, i] {
      Session session(model, 64);
      for (int round = 0; round < (kQuick ? 2 : 10); ++round) {
        session.prefill(Ids{1}, false);
        session.prefill(prompts[i], false);
        wrong += !same_bits(session.logits(), expected[i]);
      }
    });
  }
  for (std::thread& user : users) user.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST("steps evaluate what they sampled, as a prompt of the same tokens would") {
  Session session(golden(), 64);
  Ids ids = prompt_of(5);
  session.prefill(ids, false);
  session.set_sampling(greedy());
  for (int i = 0; i < 6; ++i) {
    ids.push_back(session.step().id);
    // The newest token is sampled, not yet evaluated.
    CHECK(session.tokens() == Ids(ids.begin(), ids.end() - 1));
    CHECK(same_bits(session.logits(), fresh_logits(golden(), session.tokens())));
  }
}

TEST("an abort keeps what was evaluated completely, and the session goes on with the same bits") {
  const Ids ids = prompt_of(40);
  Session session(golden(), 64);
  session.prefill(Ids(ids.begin(), ids.begin() + 10), false);
  session.abort();
  CHECK(code_of([&] { session.prefill(ids, false); }) == ErrorCode::kAborted);
  CHECK_EQ(session.tokens().size(), size_t{10});
  CHECK(code_of([&] { session.step(); }) == ErrorCode::kUsage);  // there are no logits
  session.clear_abort();
  CHECK_EQ(session.prefill(ids, false).reused, 10);
  CHECK(same_bits(session.logits(), fresh_logits(golden(), ids)));
}

TEST("an aborted step can be repeated") {
  Session session(golden(), 64), undisturbed(golden(), 64);
  Ids expected, got;
  for (Session* s : {&session, &undisturbed}) {
    s->prefill(prompt_of(5), false);
    s->set_sampling(greedy());
  }
  for (int i = 0; i < 4; ++i) expected.push_back(undisturbed.step().id);
  got.push_back(session.step().id);
  session.abort();
  CHECK(code_of([&] { session.step(); }) == ErrorCode::kAborted);
  session.clear_abort();
  for (int i = 0; i < 3; ++i) got.push_back(session.step().id);
  CHECK(got == expected);
}

TEST("an abort at any moment, from another thread, leaves a usable session") {
  const auto model = load("b158-small.gguf", 2);
  const Ids ids = prompt_of(kQuick ? 30 : 300);
  const Logits expected = fresh_logits(model, ids);
  int aborted = 0;
  for (int round = 0; round < (kQuick ? 3 : 20); ++round) {
    Session session(model, 512);
    std::thread interrupter([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(500 * round));
      session.abort();
    });
    try {
      session.prefill(ids, false);
    } catch (const Error& error) {
      aborted += error.code == ErrorCode::kAborted;
      CHECK(session.tokens().size() < ids.size());
      CHECK(std::equal(session.tokens().begin(), session.tokens().end(), ids.begin()));
    }
    interrupter.join();
    session.clear_abort();
    session.prefill(ids, false);
    CHECK(same_bits(session.logits(), expected));
  }
  CHECK(aborted > 0 || kQuick);
}

TEST("a full context is an error that leaves the session usable") {
  Session session(golden(), 8);
  CHECK_THROWS(session.prefill(prompt_of(9), false), Error, "more than the context of 8");
  CHECK_THROWS(session.prefill(Ids{}, false), Error, "no tokens");
  CHECK_THROWS(session.step(), Error, "prefill first");
  session.prefill(prompt_of(7), false);
  session.set_sampling(greedy());
  session.step();
  session.step();  // the eighth token is evaluated, the ninth sampled
  CHECK(code_of([&] { session.step(); }) == ErrorCode::kUsage);
  CHECK(code_of([&] { session.step(); }) == ErrorCode::kUsage);
  session.prefill(prompt_of(8), false);
  CHECK(same_bits(session.logits(), fresh_logits(golden(), prompt_of(8))));
}

TEST("ids outside the vocabulary and senseless context sizes are refused") {
  Session session(golden(), 8);
  const auto n_vocab = static_cast<int32_t>(golden()->config.n_vocab);
  for (const int32_t id : {-1, n_vocab, std::numeric_limits<int32_t>::max()}) {
    CHECK_THROWS(session.prefill(Ids{1, id}, false), Error, "outside the vocabulary");
  }
  for (const int64_t n : {int64_t{0}, int64_t{-1}, (int64_t{1} << 24) + 1}) {
    CHECK_THROWS(Session(golden(), n), Error, "context size");
  }
}

namespace {

// Loads and evaluates two tokens; the logits.
Logits run_model(const std::vector<uint8_t>& bytes) {
  const TemporaryFile file(bytes);
  bitnet::LoadOptions options;
  options.n_threads = 2;
  const std::shared_ptr<Model> model = Model::load(file.path.string(), options);
  Session session(model, 4);
  session.prefill(Ids{1, 3}, false);
  Logits logits = session.logits();
  session.set_sampling({});
  session.step();
  return logits;
}

}  // namespace

TEST("the tiny model that the tests below break is whole") {
  const Logits logits = run_model(TinyFile{}.finish());
  CHECK_EQ(logits.size(), size_t{40});
  CHECK(std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }));
  CHECK(*std::max_element(logits.begin(), logits.end()) !=
        *std::min_element(logits.begin(), logits.end()));
}

TEST("rows of the embedding beyond the vocabulary are never sampled") {
  TinyFile file;
  std::vector<uint8_t> bytes = TinyFile::f16s(128 * 64);
  file.replaced = {{"token_embd.weight", TinyFile::kF16, {128, 64}, bytes}};
  const TemporaryFile written(file.finish());
  const std::shared_ptr<Model> model = Model::load(written.path.string(), {});
  CHECK_EQ(model->tokenizer.n_vocab(), 40);
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Session session(model, 8);
    session.prefill(Ids{1, 3}, false);
    SamplerParams params;
    params.temperature = 100;  // nearly uniform
    params.top_k = 0;
    params.top_p = 1;
    params.min_p = 0;
    params.seed = seed;
    session.set_sampling(params);
    const Sample sample = session.step();
    CHECK(sample.id < 40);
  }
}

TEST("norm weights and embeddings that are not numbers end in an error, not in a crash") {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 3e38f}) {
    for (const char* name :
         {"output_norm.weight", "blk.0.attn_norm.weight", "blk.1.ffn_norm.weight"}) {
      TinyFile file;
      file.replaced = {{name, TinyFile::kF32, {128}, TinyFile::f32s(128, value)}};
      try {
        run_model(file.finish());
      } catch (const Error&) {
      }
    }
    TinyFile embedding;
    embedding.replaced = {
        {"token_embd.weight", TinyFile::kF32, {128, 40}, TinyFile::f32s(128 * 40, value)}};
    try {
      run_model(embedding.finish());
    } catch (const Error&) {
    }
  }
}

TEST("a float matrix among ternary ones needs no tables, in any layout and with any kernel") {
  for (const char* name : {"attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
    TinyFile file;
    const uint64_t rows = name[0] == 'f' && name[4] != 'd' ? 256 : name[5] == 'k' ? 64 : 128;
    const uint64_t cols = name[4] == 'd' ? 256 : 128;
    file.replaced = {{std::string("blk.0.") + name + ".weight",
                      TinyFile::kF16,
                      {cols, rows},
                      TinyFile::f16s(cols * rows)}};
    const TemporaryFile written(file.finish());
    for (const bitnet::Kernels* kernel : bitnet::all_kernels()) {
      if (!bitnet::supported(*kernel)) continue;
      bitnet::LoadOptions options;
      options.kernel = kernel->name;
      options.n_threads = 2;
      Logits expected;
      for (const char* layout : {"i2_s", "lut", "trit"}) {
        options.layout = layout;
        const std::shared_ptr<Model> model = Model::load(written.path.string(), options);
        const Logits logits = fresh_logits(model, Ids{1, 3});
        if (expected.empty()) expected = logits;
        if (same_bits(logits, expected)) continue;
        check::fail(__FILE__, __LINE__, std::string(name) + ", " + kernel->name + ", " + layout);
      }
    }
  }
}

TEST("ternary and float matrices may be mixed in any order") {
  // The same values as ternary and as floats: activations are rounded for the one and not for the
  // other, so the logits are close, not equal.
  const Logits expected = run_model(TinyFile{}.finish());
  for (const char* name : {"attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"}) {
    TinyFile file;
    const bool narrow = name[5] == 'k' || name[5] == 'v';
    const uint64_t rows = name[0] == 'f' ? 256 : narrow ? 64 : 128;
    // What I2_S says: element 32g + p of a block of 128 is in byte p, bits (7 - 2g, 6 - 2g).
    const std::vector<uint8_t> packed = TinyFile::i2_s(128, rows);
    std::vector<uint8_t> floats(128 * rows * 4);
    for (uint64_t i = 0; i < 128 * rows; ++i) {
      const int code = packed[i / 128 * 32 + i % 32] >> (6 - 2 * (i % 128 / 32)) & 3;
      const float value = 0.5f * static_cast<float>(code - 1);
      std::memcpy(&floats[i * 4], &value, 4);
    }
    const std::string tensor = std::string("blk.0.") + name + ".weight";
    file.replaced = {{tensor, TinyFile::kF32, {128, rows}, floats}};
    const Logits logits = run_model(file.finish());
    double difference = 0, size = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      difference += std::pow(logits[i] - expected[i], 2);
      size += std::pow(expected[i], 2);
    }
    if (!(std::sqrt(difference / size) < 0.05))
      check::fail(__FILE__, __LINE__,
                  tensor + " differs by " + std::to_string(std::sqrt(difference / size)));
  }
}

TEST("random damage to a model file ends in an error or in a model that runs, never in a crash") {
  const Bytes whole = TinyFile{}.finish();
  TinyFile tiny;
  tiny.finish();
  const size_t header = whole.size() - tiny.b.data.size();  // metadata and tensor infos
  std::mt19937 random(20250);
  int failed = 0, ran = 0;
  for (int round = 0; round < (kQuick ? 100 : 3000); ++round) {
    Bytes bytes = whole;
    const int flips = 1 + static_cast<int>(random() % 3);
    for (int i = 0; i < flips; ++i) {
      // Mostly the part with a meaning of its own.
      const size_t at = random() % (random() % 8 == 0 ? bytes.size() : header);
      bytes[at] = random() % 2 == 0 ? static_cast<uint8_t>(random())
                                    : static_cast<uint8_t>(bytes[at] ^ 1u << random() % 8);
    }
    if (random() % 50 == 0) bytes.resize(random() % bytes.size());
    try {
      run_model(bytes);
      ++ran;
    } catch (const Error& error) {
      ++failed;
      if (error.code == ErrorCode::kInternal) check::fail(__FILE__, __LINE__, error.what());
    }
  }
  CHECK(failed > 0);
  CHECK(ran > 0);
}
