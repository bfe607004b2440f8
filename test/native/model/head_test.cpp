// The two-stage head returns exactly what the full head returns, wherever it returns anything.
#include "model/head.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>

#include "check.h"
#include "formats/dequantize.h"
#include "formats/format.h"
#include "formats/quantize.h"

using namespace bitnet;

namespace {

constexpr int64_t kRows = 40000, kCols = 840;  // just above the size that gets a copy; odd columns

// Emulated runs are slow: they leave out types whose code the others share.
const bool kQuick = std::getenv("BITNET_TEST_QUICK") != nullptr;

struct Fixture {
  std::vector<uint8_t> data;
  Linear layer;
  ThreadPool pool{2};
  std::vector<float> hidden = std::vector<float>(kCols);
  std::mt19937 random{7};

  explicit Fixture(TensorType type, int64_t cols = kCols, int64_t rows = kRows) {
    std::normal_distribution<float> normal;
    layer.type = type;
    layer.rows = rows;
    layer.cols = cols;
    layer.row_bytes = static_cast<int64_t>(*tensor_bytes(type, static_cast<uint64_t>(cols), 1));
    data.resize(static_cast<size_t>(rows * layer.row_bytes));
    std::vector<float> row(static_cast<size_t>(cols));
    std::vector<float> draws(100'003);  // each row begins at another one: millions would take long
    for (float& x : draws) x = normal(random);
    for (int64_t r = 0; r < rows; ++r) {
      const float size = r % 97 == 0 ? 0.5f : 0.05f;  // rows of different lengths
      const size_t first = random() % (draws.size() - row.size());
      for (size_t i = 0; i < row.size(); ++i) row[i] = size * draws[first + i];
      quantize_row(type, row.data(), data.data() + r * layer.row_bytes, cols);
    }
    layer.data = data.data();
    hidden.resize(static_cast<size_t>(cols));
    draw();
  }

  void draw() {
    std::normal_distribution<float> normal;
    for (float& x : hidden) x = normal(random);
    hidden[3] *= 40;  // real hidden states have such outliers
  }
};

std::vector<int32_t> largest(const std::vector<float>& logits, int64_t k,
                             const std::vector<int32_t>& without) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < kRows; ++i)
    if (std::find(without.begin(), without.end(), i) == without.end()) ids.push_back(i);
  std::partial_sort(ids.begin(), ids.begin() + k, ids.end(), [&](int32_t a, int32_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  });
  ids.resize(static_cast<size_t>(k));
  return ids;
}

void ask(Head& head, const std::vector<float>& hidden, int64_t k,
         const std::vector<int32_t>& always, std::vector<float>& out) {
  const HeadQuery query{hidden.data(), k, always, out.data()};
  head.top({&query, 1});
}

void check_equal(Fixture& f, Head& head, int64_t k, const std::vector<int32_t>& always) {
  std::vector<float> all(kRows), top(kRows);
  head.all(f.hidden.data(), 1, all.data());
  ask(head, f.hidden, k, always, top);
  int64_t computed = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    if (top[r] == -std::numeric_limits<float>::infinity()) continue;
    CHECK(std::memcmp(&top[r], &all[r], 4) == 0);
    ++computed;
  }
  CHECK(computed < kRows / 4);  // else it would save nothing
  for (const int32_t id : largest(all, k, always)) CHECK(top[id] == all[id]);
  for (const int32_t id : always) CHECK(top[id] == all[id]);
}

}  // namespace

TEST("the largest logits of the two-stage head are those of the full head, bit for bit") {
  for (const TensorType type : {TensorType::kF16, TensorType::kBF16, TensorType::kF32}) {
    if (kQuick && type != TensorType::kF16) continue;
    Fixture f(type);
    for (const Kernels* k : all_kernels()) {
      if (!supported(*k)) continue;
      Head head(*k, f.pool, f.layer, {}, nullptr);
      CHECK(head.is_compact());
      for (const int64_t n : {1, 2, 40, 300}) {
        if (kQuick && n != 40) continue;
        f.draw();
        check_equal(f, head, n, {});
        check_equal(f, head, n, {0, 5, 97, 39999});
      }
    }
  }
}

TEST("many queries in one call give each its own answer, the same bits as alone") {
  Fixture f(TensorType::kF16, 200, 3000);
  HeadOptions options;
  options.worth_a_copy = 1;
  options.max_top = 60;
  const int64_t ks[] = {1, 40, 0, 5, 61, 60, 2};  // 0 and 61: all logits
  constexpr int kQueries = 35;                    // two groups and a rest
  std::vector<std::vector<float>> hidden, alone, together;
  std::vector<std::vector<int32_t>> always;
  for (int i = 0; i < kQueries; ++i) {
    f.draw();
    hidden.push_back(f.hidden);
    if (i == 20) hidden.back()[7] = std::numeric_limits<float>::infinity();
    if (i == 21) hidden.back()[7] = 65520;  // an infinite F16
    always.push_back({});
    for (int32_t j = 0; j < i % 4; ++j) always.back().push_back(j * 700 + i);
  }
  for (const Kernels* k : all_kernels()) {
    if (!supported(*k)) continue;
    Head head(*k, f.pool, f.layer, options, nullptr);
    CHECK(head.is_compact());
    alone.assign(kQueries, std::vector<float>(3000));
    together = alone;
    std::vector<HeadQuery> queries;
    for (int i = 0; i < kQueries; ++i) {
      ask(head, hidden[i], ks[i % 7], always[i], alone[i]);
      queries.push_back({hidden[i].data(), ks[i % 7], always[i], together[i].data()});
    }
    head.top(queries);
    for (int i = 0; i < kQueries; ++i)
      CHECK(std::memcmp(alone[i].data(), together[i].data(), 4 * 3000) == 0);
  }
}

TEST("all logits come in blocks that cover every hidden state and row once, with the same bits") {
  for (const TensorType type : {TensorType::kF16, TensorType::kF32, TensorType::kQ8_0,
                                TensorType::kQ4_0, TensorType::kQ5_0, TensorType::kQ6_K}) {
    constexpr int64_t kFew = 2 * kHeadBlockRows + 77, kWidth = 256, kStates = 2 * kHeadRows + 3;
    Fixture f(type, kWidth, kFew);
    std::vector<float> hidden;
    for (int64_t t = 0; t < kStates; ++t) {
      f.draw();
      hidden.insert(hidden.end(), f.hidden.begin(), f.hidden.end());
    }
    for (const Kernels* k : all_kernels()) {
      if (!supported(*k)) continue;
      Head head(*k, f.pool, f.layer, {}, nullptr);
      std::vector<float> one(kStates * kFew), all(one.size()), in_blocks(one.size(), -99.0f);
      for (int64_t t = 0; t < kStates; ++t)
        head.all(hidden.data() + t * kWidth, 1, one.data() + t * kFew);
      head.all(hidden.data(), kStates, all.data());
      CHECK(std::memcmp(one.data(), all.data(), 4 * one.size()) == 0);
      std::atomic<int64_t> covered{0};
      head.blocks(hidden.data(), kStates, [&](const LogitBlock& b) {
        CHECK(b.begin % kHeadBlockRows == 0 && b.first % kHeadRows == 0 && b.n <= kHeadRows);
        covered += b.n * (b.end - b.begin);
        for (int64_t t = 0; t < b.n; ++t) {
          const float* from = b.logits + t * (b.end - b.begin);
          std::copy(from, from + b.end - b.begin, &in_blocks[(b.first + t) * kFew + b.begin]);
        }
      });
      CHECK_EQ(covered.load(), kStates * kFew);
      CHECK(std::memcmp(one.data(), in_blocks.data(), 4 * one.size()) == 0);
    }
  }
}

TEST("tokens that are always wanted do not take a place among the largest") {
  Fixture f(TensorType::kF16);
  Head head(select_kernels(), f.pool, f.layer, {}, nullptr);
  std::vector<float> all(kRows);
  head.all(f.hidden.data(), 1, all.data());
  check_equal(f, head, 5, largest(all, 20, {}));
}

TEST("input and weights that are not numbers give what the full head gives") {
  Fixture f(TensorType::kF32);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(f.data.data() + 4 * (kCols * 11 + 2), &nan, 4);
  Head head(select_kernels(), f.pool, f.layer, {}, nullptr);
  std::vector<float> all(kRows), top(kRows);
  head.all(f.hidden.data(), 1, all.data());
  ask(head, f.hidden, 3, {}, top);
  CHECK(std::isnan(top[11]) && std::isnan(all[11]));
  f.hidden[0] = std::numeric_limits<float>::infinity();
  head.all(f.hidden.data(), 1, all.data());
  ask(head, f.hidden, 3, {}, top);
  for (int64_t r = 0; r < kRows; ++r) CHECK(std::memcmp(&top[r], &all[r], 4) == 0);
  std::fill(f.hidden.begin(), f.hidden.end(), 0.0f);
  ask(head, f.hidden, 3, {}, top);
  CHECK(top[0] == 0);
}

TEST("a row that agrees with the input everywhere is not lost to an overflow") {
  constexpr int64_t kFew = 8200, kWide = 4096;  // 127 * 8191 * 4096 > 2^31
  Fixture f(TensorType::kF16, kWide, kFew);
  const std::vector<float> ones(kWide, 0.5f);
  quantize_row(TensorType::kF16, ones.data(), f.data.data() + 4321 * f.layer.row_bytes, kWide);
  std::fill(f.hidden.begin(), f.hidden.end(), 3.0f);
  for (const Kernels* k : all_kernels()) {
    if (!supported(*k)) continue;
    Head head(*k, f.pool, f.layer, {}, nullptr);
    std::vector<float> top(kFew);
    ask(head, f.hidden, 1, {}, top);
    CHECK_EQ(top[4321], 0.5f * 3.0f * kWide);
  }
}

TEST("a head that is small, switched off or quantized has no copy and computes everything") {
  Fixture f(TensorType::kF16);
  HeadOptions off;
  off.compact = false;
  CHECK(!Head(select_kernels(), f.pool, f.layer, off, nullptr).is_compact());
  Linear small = f.layer;
  small.rows = 1000;
  CHECK(!Head(select_kernels(), f.pool, small, {}, nullptr).is_compact());
  Fixture q(TensorType::kQ8_0, 864);
  Head head(select_kernels(), q.pool, q.layer, {}, nullptr);
  CHECK(!head.is_compact());
  std::vector<float> all(kRows), top(kRows);
  head.all(q.hidden.data(), 1, all.data());
  ask(head, q.hidden, 3, {}, top);
  CHECK(all == top);
}

TEST("heads of every type are the dot products of their weights, the same on every kernel") {
  for (const Format* format : all_formats()) {
    const TensorType type = format->type;
    if (!format->quantize) continue;
    constexpr int64_t kFew = 1001;
    const int64_t cols = format->block_elems == 256 ? 1024 : 1024 + 32;  // half a group of columns
    const double rounding = type == TensorType::kF16 ? 0x1p-11 : 0;  // of the input, as peers do
    Fixture f(type, cols, kFew);
    std::vector<float> row(cols), first;
    for (const Kernels* k : all_kernels()) {
      if (!supported(*k)) continue;
      Head head(*k, f.pool, f.layer, {}, nullptr);
      std::vector<float> out(kFew);
      head.all(f.hidden.data(), 1, out.data());
      for (int64_t r = 0; r < kFew; r += 10) {
        dequantize_row(type, f.data.data() + r * f.layer.row_bytes, row.data(), cols);
        double sum = 0, w = 0, most = 0;
        for (int64_t i = 0; i < cols; ++i) {
          sum += static_cast<double>(row[i]) * f.hidden[i];
          w += std::fabs(row[i]);
          most = std::max(most, std::fabs(static_cast<double>(f.hidden[i])));
        }
        // Half a unit of the 14-bit input per weight, and float rounding.
        CHECK_NEAR(out[r], sum, w * most * (0.51 / kHeadRange + 1e-5 + rounding));
      }
      if (first.empty()) first = out;
      if (std::strcmp(k->name, "scalar") != 0) CHECK(out == first);
    }
  }
}

// ---- The bound, where it is tight. Weights and inputs are chosen so that the int8 copy and the
// quantized input are exact (largest weight 127, largest input kHeadRange) but for the one error
// that a test is about.

namespace {

// A head of F32 rows with a copy, however small.
struct TightHead {
  std::vector<float> rows;  // [n, cols]
  Linear layer;
  ThreadPool pool{1};

  explicit TightHead(std::vector<float> values, int64_t cols) : rows(std::move(values)) {
    layer.type = TensorType::kF32;
    layer.cols = cols;
    layer.rows = static_cast<int64_t>(rows.size()) / cols;
    layer.row_bytes = 4 * cols;
    layer.data = reinterpret_cast<const uint8_t*>(rows.data());
  }

  // The largest logits that the copy finds must be those of the full head.
  void check_top(const std::vector<float>& hidden, int64_t k) {
    HeadOptions options;
    options.worth_a_copy = 1;
    for (const Kernels* kernels : all_kernels()) {
      if (!supported(*kernels)) continue;
      Head head(*kernels, pool, layer, options, nullptr);
      CHECK(head.is_compact());
      std::vector<float> all(layer.rows), top(layer.rows);
      head.all(hidden.data(), 1, all.data());
      ask(head, hidden, k, {}, top);
      std::sort(all.begin(), all.end(), std::greater<>());
      std::sort(top.begin(), top.end(), std::greater<>());
      CHECK(std::equal(top.begin(), top.begin() + k, all.begin()));
    }
  }
};

void append(std::vector<float>& rows, int64_t n, float value) {
  rows.insert(rows.end(), static_cast<size_t>(n), value);
}

}  // namespace

TEST("rows that only the rounding of float sums tells apart are all considered") {
  constexpr int64_t kWide = 8192, kFew = 50;
  std::mt19937 random(3);
  const std::vector<float> hidden(kWide, kHeadRange);
  for (int trial = 0; trial < 8; ++trial) {
    // Sums that rise far and come back: the same exact sum in every order, other roundings.
    std::vector<float> row(kWide), rows;
    for (int64_t i = 0; i < kWide / 2; ++i) {
      row[i] = static_cast<float>(60 + random() % 68);
      row[i + kWide / 2] = -row[i];
    }
    row[0] = 127;
    row[kWide / 2] = -126;
    for (int64_t r = 0; r < kFew; ++r) {
      std::shuffle(row.begin(), row.begin() + kWide / 2, random);
      std::shuffle(row.begin() + kWide / 2, row.end(), random);
      rows.insert(rows.end(), row.begin(), row.end());
    }
    TightHead head(std::move(rows), kWide);
    for (const int64_t k : {1, 3}) head.check_top(hidden, k);
  }
}

TEST("a row whose int8 copy errs along the input is not lost") {
  constexpr int64_t kWide = 256;
  const std::vector<float> hidden(kWide, kHeadRange);
  std::vector<float> rows;
  append(rows, 1, 127);
  append(rows, kWide - 1, 50.49f);  // the copy says 50
  append(rows, 1, 127);
  append(rows, kWide / 4, 51);  // 50.25 on average, and the copy says so
  append(rows, kWide - 1 - kWide / 4, 50);
  TightHead(rows, kWide).check_top(hidden, 1);
}

TEST("a row along which the quantized input errs is not lost") {
  constexpr int64_t kHalf = 128;
  std::vector<float> hidden = {kHeadRange}, rows;
  append(hidden, kHalf, 2.49f);  // 2 when quantized
  append(hidden, kHalf, 1.49f);  // 1
  append(rows, 1, 0);
  append(rows, 2 * kHalf, 100);  // 38400 of the quantized input, 50944 of the true one
  append(rows, 1, 0);
  append(rows, kHalf, 127);  // 38912 and 50013
  append(rows, kHalf, 50);
  TightHead(rows, 2 * kHalf + 1).check_top(hidden, 1);
}
