// The integer kernels: quantization of activations, ternary matrix products, and which kernel is
// chosen.
#include "kernels/kernels.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>

#include "base/error.h"
#include "check.h"
#include "formats/ternary.h"
#include "kernel_fixture.h"

namespace bitnet {
namespace {

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

enum class Activations {
  kRandom,
  kPlus,
  kMinus,
  kAlternating,
  kZero,
  kOutlier,
  kTiny,
  kWideRange,
  kTops,
  kCount
};

void fill(Activations kind, Random& random, float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    switch (kind) {
      case Activations::kPlus:
        x[i] = 2.5f;
        break;
      case Activations::kMinus:
        x[i] = -2.5f;
        break;
      case Activations::kAlternating:
        x[i] = i % 2 ? -0.75f : 0.75f;
        break;
      case Activations::kZero:
        x[i] = 0;
        break;
      case Activations::kTiny:
        x[i] = random.between(-9e-6f, 9e-6f);
        break;
      case Activations::kWideRange:
        x[i] = std::exp(random.between(-20, 20));
        break;
      default:
        x[i] = random.between(-3, 3);
        break;
    }
  }
  if (kind == Activations::kOutlier) x[random.below(n)] = -4000;
  if (kind == Activations::kTops) {  // the largest magnitude some times, with either sign, also in
    const int64_t n_tops = 1 + random.below(20);  // columns c and c + 4, which may be multiplied
    for (int64_t i = 0; i < n_tops; ++i) {        // together
      const int64_t c = random.below(n);
      x[c] = random.below(4) ? 3.5f : -3.5f;
      if (random.below(2) && c + 4 < n) x[c + 4] = x[c];
    }
  }
}

// The codes of a matrix, a batch of activations, and the exact product of the codes and the
// quantized activations.
struct Problem {
  int64_t rows, cols, n_tokens;
  std::vector<uint8_t> codes;     // [rows, cols]
  std::vector<float> row_scales;  // [rows]
  std::vector<float> x;           // [n_tokens, cols]
  std::vector<float> act_scales;  // [n_tokens]
  std::vector<int64_t> sums;      // [n_tokens, rows]: sum of (code - 1) * q
};

// As the format defines it, in plain arithmetic: q = x * 127 / max|x| rounded half to even.
int nearest_even(double v) {
  const double lower = std::floor(v), rest = v - lower;
  const int whole = static_cast<int>(lower);
  if (rest != 0.5) return rest < 0.5 ? whole : whole + 1;
  return whole % 2 == 0 ? whole : whole + 1;
}
float reference_scale(const float* x, int64_t n) {
  double most = 1e-5;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::fabs(static_cast<double>(x[i])));
  return static_cast<float>(127 / most);
}
int reference_quant(float x, float scale) {
  const float scaled = x * scale;  // rounded to float, as every kernel does
  return nearest_even(scaled);
}

// fixed_code: 0..2, or -1 for random codes.
Problem make_problem(int64_t rows, int64_t cols, int64_t n_tokens, Activations kind, int fixed_code,
                     uint64_t seed) {
  Random random(seed);
  Problem p{rows, cols, n_tokens, std::vector<uint8_t>(rows * cols), {}, {}, {}, {}};
  for (auto& code : p.codes) {
    code = static_cast<uint8_t>(fixed_code >= 0 ? fixed_code : random.below(3));
  }
  p.row_scales = random_floats(random, rows, 0.01f, 2);
  p.x.resize(n_tokens * cols);
  for (int64_t t = 0; t < n_tokens; ++t) fill(kind, random, &p.x[t * cols], cols);
  std::vector<int32_t> q(cols);
  p.sums.resize(n_tokens * rows);
  for (int64_t t = 0; t < n_tokens; ++t) {
    const float scale = reference_scale(&p.x[t * cols], cols);
    p.act_scales.push_back(scale);
    for (int64_t c = 0; c < cols; ++c) q[c] = reference_quant(p.x[t * cols + c], scale);
    for (int64_t r = 0; r < rows; ++r) {
      int64_t sum = 0;
      for (int64_t c = 0; c < cols; ++c) sum += (p.codes[r * cols + c] - 1) * q[c];
      p.sums[t * rows + r] = sum;
    }
  }
  return p;
}

struct Quantized {
  int64_t stride;
  std::vector<int8_t> q;
  std::vector<float> scale;
  std::vector<int32_t> sum;
  std::vector<TokenPairs> pairs;  // empty if the kernel wants none

  QuantizedBatch first(int64_t n) {
    QuantizedBatch batch{n, stride, q.data(), scale.data(), sum.data()};
    if (!pairs.empty()) batch.pairs = pairs.data();
    if (n % 2) batch.tile_tokens = 2;  // so that both ways are taken
    return batch;
  }
};

Quantized quantize(const Kernels& k, const Problem& p, int64_t n_tokens) {
  Quantized batch{round_up(p.cols, kActivationPad), {}, {}, {}, {}};
  batch.q.assign(n_tokens * batch.stride, 99);
  batch.scale.resize(n_tokens);
  batch.sum.resize(n_tokens);
  for (int64_t t = 0; t < n_tokens; ++t) {
    k.quantize(&p.x[t * p.cols], p.cols, batch.stride, &batch.q[t * batch.stride], &batch.scale[t],
               &batch.sum[t]);
  }
  return batch;
}

void find_pairs(const Kernels& k, Quantized& batch) {
  if (k.find_pairs) batch.pairs.resize(batch.sum.size());
  for (int64_t t = 0; t < static_cast<int64_t>(batch.pairs.size()); ++t)
    k.find_pairs(&batch.q[t * batch.stride], batch.stride, &batch.scale[t], &batch.sum[t],
                 &batch.pairs[t]);
}

// Rows [begin, end) of the first n_rows rows, in buffers that hold no byte more than the contract
// says.
void check_matmul(const Kernels& k, const Problem& p, int64_t n_rows, int64_t begin, int64_t end,
                  int64_t n_tokens, bool use_row_scales) {
  constexpr float kUntouched = -123456.0f;
  const int64_t row_bytes = round_up(p.cols, 128) / 4, out_stride = n_rows + n_tokens % 3;
  std::vector<uint8_t> weights(n_rows * row_bytes);
  for (int64_t r = 0; r < n_rows; ++r) {
    pack_i2_s_row(&p.codes[r * p.cols], p.cols, &weights[r * row_bytes]);
  }
  const std::vector<float> row_scales(p.row_scales.begin(), p.row_scales.begin() + n_rows);
  const TernaryMatrix w{weights.data(), n_rows, p.cols,
                        row_bytes,      0.3f,   use_row_scales ? row_scales.data() : nullptr};
  Quantized batch = quantize(k, p, n_tokens);
  find_pairs(k, batch);
  Scratch scratch(kMatmulScratch);
  std::vector<float> out((n_tokens - 1) * out_stride + n_rows, kUntouched), want = out;
  k.ternary_matmul(w, batch.first(n_tokens), out.data(), out_stride, begin, end, scratch.bytes());
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t r = begin; r < end; ++r) {
      // The sums of the codes and of the activations are rounded to float apart, which matters from
      // 2^24 on. The kernel may have negated the token.
      const int64_t sum = batch.scale[t] < 0 ? -batch.sum[t] : batch.sum[t];
      const int64_t with_codes = p.sums[t * p.rows + r] + sum;
      want[t * out_stride + r] = (static_cast<float>(with_codes) - static_cast<float>(sum)) /
                                 p.act_scales[t] * (use_row_scales ? p.row_scales[r] : 0.3f);
    }
  }
  check_same_bits(std::string(k.name) + " rows [" + std::to_string(begin) + ", " +
                      std::to_string(end) + ") of " + std::to_string(n_rows) + ", columns " +
                      std::to_string(p.cols) + ", tokens " + std::to_string(n_tokens),
                  out, want);
}

TEST("quantize rounds half to even, scales by the largest value and pads with zeros") {
  for (const Kernels* k : runnable_kernels()) {
    for (int64_t cols : {1, 2, 31, 32, 33, 100, 127, 128, 255, 256, 257, 300, 511, 1000}) {
      for (int kind = 0; kind < static_cast<int>(Activations::kCount); ++kind) {
        const Problem p = make_problem(1, cols, 1, static_cast<Activations>(kind), -1, cols);
        const Quantized batch = quantize(*k, p, 1);
        CHECK_EQ(batch.scale[0], p.act_scales[0]);
        int64_t sum = 0;
        for (int64_t start = 0; start < batch.stride; start += 256) {
          std::vector<int> got(batch.q.begin() + start, batch.q.begin() + start + 256), want(256);
          for (int64_t c = start; c < std::min(start + 256, cols); ++c) {
            sum += want[c - start] = reference_quant(p.x[c], p.act_scales[0]);
          }
          std::sort(got.begin(), got.end());  // a kernel may reorder columns within 256
          std::sort(want.begin(), want.end());
          CHECK_EQ(got, want);
        }
        CHECK_EQ(batch.sum[0], sum);
      }
    }
  }
}

TEST("quantize rounds ties to the even neighbour on both sides of zero") {
  std::vector<float> x = {127};  // makes the scale 1
  std::vector<int> want = {127};
  for (int i = -127; i < 127; ++i) {
    x.push_back(static_cast<float>(i) + 0.5f);
    want.push_back(i % 2 == 0 ? i : i + 1);
  }
  std::sort(want.begin(), want.end());
  for (const Kernels* k : runnable_kernels()) {
    std::vector<int8_t> q(256);
    float scale;
    int32_t sum;
    k->quantize(x.data(), static_cast<int64_t>(x.size()), 256, q.data(), &scale, &sum);
    CHECK_EQ(scale, 1.0f);
    CHECK_EQ(sum, std::accumulate(want.begin(), want.end(), 0));
    std::vector<int> got(q.begin(), q.end());
    std::sort(got.begin(), got.end());
    std::vector<int> padded = want;
    padded.push_back(0);
    std::sort(padded.begin(), padded.end());
    CHECK_EQ(got, padded);
  }
}

TEST("quantize of NaN with any payload is defined behaviour") {
  for (uint32_t bits : {0x7fc00000u, 0x7fffffffu, 0xffffffffu}) {
    float nan;
    std::memcpy(&nan, &bits, 4);
    const std::vector<float> x(1000, nan);
    for (const Kernels* k : runnable_kernels()) {
      std::vector<int8_t> q(1024, 99);
      float scale;
      int32_t sum;
      k->quantize(x.data(), 1000, 1024, q.data(), &scale, &sum);
      CHECK_EQ(scale, 127 / 1e-5f);
      CHECK(std::count(q.begin(), q.end(), 0) >= 24);  // the padding
    }
  }
}

TEST("ternary_matmul is exact for every number of rows, columns and tokens") {
  std::vector<int64_t> all_cols = {1,   31,  32,  100, 127, 128,  129,  160,  255,
                                   256, 257, 320, 424, 864, 2560, 6912, 14336};
  std::vector<int64_t> all_rows = {1, 2, 3, 4, 5, 7, 8, 9, 17, 64};
  std::vector<int64_t> all_tokens = {1, 2, 3, 4, 5, 6, 7, 8, 13, 33};
  if (quick()) {
    all_cols = {1, 100, 128, 129, 256, 424, 2560};
    all_rows = {1, 2, 3, 4, 7, 8, 17};
    all_tokens = {1, 2, 3, 4, 5, 7, 8, 13};
  }
  for (int64_t cols : all_cols) {
    const Problem p =
        make_problem(all_rows.back(), cols, all_tokens.back(), Activations::kRandom, -1, cols);
    for (const Kernels* k : runnable_kernels()) {
      for (int64_t rows : all_rows) {
        for (int64_t n_tokens : all_tokens) {
          check_matmul(*k, p, rows, 0, rows, n_tokens, (rows + n_tokens) % 2 == 0);
        }
      }
    }
  }
}

TEST("ternary_matmul is exact for extreme activations and weights") {
  for (int64_t cols : {127, 1024, 2176, 6912}) {
    if (quick() && cols > 2176) continue;
    for (int kind = 0; kind < static_cast<int>(Activations::kCount); ++kind) {
      for (int code : {-1, 0, 2}) {
        const Problem p = make_problem(9, cols, 9, static_cast<Activations>(kind), code, cols);
        for (const Kernels* k : runnable_kernels()) {
          for (int64_t n_tokens : {1, 9}) check_matmul(*k, p, 9, 0, 9, n_tokens, kind % 2 == 0);
        }
      }
    }
  }
}

TEST(
    "batches are exact for whole and partial panels of rows, blocks of columns and tiles of "
    "tokens") {
  for (int64_t cols : {200, 1000, 2304, 6912}) {
    if (quick() && cols > 1000) continue;
    for (int code : {-1, 2}) {
      const Problem p = make_problem(100, cols, 40, Activations::kTops, code, cols);
      for (const Kernels* k : runnable_kernels()) {
        for (int64_t rows : {15, 16, 17, 32, 33, 48, 49, 100}) {
          for (int64_t n_tokens : {7, 8, 11, 13, 17, 19, 23, 29, 33, 40}) {
            check_matmul(*k, p, rows, 0, rows, n_tokens, n_tokens % 2 == 0);
          }
        }
      }
    }
  }
  const Problem many = make_problem(5, 300, 700, Activations::kTops, -1, 1);
  for (const Kernels* k : runnable_kernels()) check_matmul(*k, many, 5, 0, 5, 700, true);
}

TEST("activations of -128, which a NaN may turn into, are multiplied exactly") {
  const Problem p = make_problem(20, 300, 33, Activations::kTops, -1, 3);
  const int64_t row_bytes = round_up(p.cols, 128) / 4;
  std::vector<uint8_t> weights(20 * row_bytes);
  for (int64_t r = 0; r < 20; ++r) {
    pack_i2_s_row(&p.codes[r * p.cols], p.cols, &weights[r * row_bytes]);
  }
  const TernaryMatrix w{weights.data(), 20, p.cols, row_bytes, 0.3f, nullptr};
  std::vector<float> want;
  for (auto k = runnable_kernels().rbegin(); k != runnable_kernels().rend(); ++k) {
    Quantized batch = quantize(**k, p, 33);
    for (const int64_t c : {5, 6, 150}) {
      int8_t& q = batch.q[7 * batch.stride + (*k)->activation_index(c)];
      batch.sum[7] += -128 - q;
      q = -128;
    }
    find_pairs(**k, batch);
    Scratch scratch(kMatmulScratch);
    std::vector<float> out(33 * 20);
    (*k)->ternary_matmul(w, batch.first(33), out.data(), 20, 0, 20, scratch.bytes());
    if (want.empty()) want = out;  // of scalar, which is last in the list
    check_same_bits((*k)->name, out, want);
  }
}

TEST("a product of zero is +0 whatever the signs of the activations") {
  // Weights of zero; tokens that a kernel may negate, in whole panels and in few rows.
  for (const Activations kind : {Activations::kTops, Activations::kPlus}) {
    const Problem p = make_problem(20, 256, 9, kind, 1, 1);
    for (const Kernels* k : runnable_kernels()) {
      for (int64_t n_tokens : {8, 9}) check_matmul(*k, p, 20, 0, 20, n_tokens, true);
    }
  }
}

TEST("ternary_matmul writes only the rows it is asked for") {
  const Problem p = make_problem(23, 424, 33, Activations::kRandom, -1, 7);
  for (const Kernels* k : runnable_kernels()) {
    for (int64_t begin : {0, 1, 3, 8, 22, 23}) {
      for (int64_t end : {0, 1, 4, 9, 15, 22, 23}) {
        if (end < begin) continue;
        for (int64_t n_tokens : {1, 2, 7, 33}) check_matmul(*k, p, 23, begin, end, n_tokens, true);
      }
    }
  }
}

TEST("ternary_matmul is exact when rows are too wide for a panel and tokens for a block") {
  // 256 KiB of scratch hold 7 rows of 33,024 columns, 3 of 70,016, one of 140,032. 33 tokens of
  // 14,336 columns are more than one block of every kernel.
  for (auto [cols, n_tokens] :
       {std::pair<int64_t, int64_t>{33024, 3}, {70016, 2}, {140032, 2}, {14336, 33}}) {
    const Problem p = make_problem(9, cols, n_tokens, Activations::kRandom, -1, cols);
    const Problem most = make_problem(2, cols, 2, Activations::kPlus, 2, cols);
    for (const Kernels* k : runnable_kernels()) {
      check_matmul(*k, p, 9, 0, 9, n_tokens, false);
      check_matmul(*k, p, 9, 0, 9, 1, true);
      for (int64_t n : {1, 2}) check_matmul(*k, most, 2, 0, 2, n, false);
    }
  }
}

TEST("ternary_matmul is exact for random shapes") {
  for (uint64_t seed = 1; seed <= (quick() ? 40 : 250); ++seed) {
    Random random(seed);
    const int64_t rows = 1 + random.below(40), cols = 1 + random.below(1500);
    const int64_t n_tokens = 1 + random.below(40);
    const auto kind = static_cast<Activations>(random.below(static_cast<int>(Activations::kCount)));
    const Problem p = make_problem(rows, cols, n_tokens, kind, -1, seed);
    const int64_t begin = random.below(rows), end = begin + 1 + random.below(rows - begin);
    for (const Kernels* k : runnable_kernels()) {
      check_matmul(*k, p, rows, begin, end, n_tokens, seed % 2 == 0);
    }
  }
}

// Sets an environment variable (nullptr: removes it) and puts the old value back.
class WithEnv {
 public:
  WithEnv(const char* name, const char* value) : name_(name) {
    const char* old = std::getenv(name);
    had_ = old != nullptr;
    old_ = old ? old : "";
    set(value);
  }
  ~WithEnv() { set(had_ ? old_.c_str() : nullptr); }

 private:
  void set(const char* value) {
#ifdef _WIN32
    _putenv_s(name_, value ? value : "");
#else
    value ? setenv(name_, value, 1) : unsetenv(name_);
#endif
  }
  const char* name_;
  bool had_;
  std::string old_;
};

void check_usage_error(const std::string& name, const std::string& text) {
  try {
    select_kernels(name);
    check::fail(__FILE__, __LINE__, "expected a usage error for the kernel '" + name + "'");
  } catch (const Error& e) {
    CHECK(e.code == ErrorCode::kUsage);
    for (const std::string& part : {text, std::string("scalar")}) {
      if (std::string(e.what()).find(part) == std::string::npos) {
        check::fail(__FILE__, __LINE__, "'" + part + "' is not in the message: " + e.what());
      }
    }
  }
}

TEST("the best kernel of this CPU runs unless one is named") {
  const WithEnv unset("BITNET_KERNEL", nullptr);
  CHECK_EQ(std::string(select_kernels().name), runnable_kernels().front()->name);
  CHECK(&scalar() == runnable_kernels().back());
  CHECK_EQ(std::string(scalar().name), "scalar");
  CHECK_EQ(scalar().needs, 0u);
}

TEST("the kernel that is named is the one that runs") {
  for (const Kernels* k : runnable_kernels()) {
    const WithEnv other("BITNET_KERNEL", "no-such-kernel");  // a name goes before the environment
    CHECK(&select_kernels(k->name) == k);
  }
}

TEST("BITNET_KERNEL chooses the kernel, and empty means none is chosen") {
  for (const Kernels* k : runnable_kernels()) {
    const WithEnv forced("BITNET_KERNEL", k->name);
    CHECK(&select_kernels() == k);
  }
  const WithEnv empty("BITNET_KERNEL", "");
  CHECK(&select_kernels() == runnable_kernels().front());
}

TEST("a kernel that does not exist or that this CPU cannot run is a usage error") {
  check_usage_error("no-such-kernel", "'no-such-kernel'");
  for (const Kernels* k : all_kernels()) {
    if (!supported(*k)) check_usage_error(k->name, "cannot run");
  }
  const WithEnv forced("BITNET_KERNEL", "bogus");
  check_usage_error("", "'bogus'");
}

}  // namespace
}  // namespace bitnet

TEST("every kernel that this CPU can run passes its test in every layout") {
  for (const bitnet::Kernels* kernels : bitnet::all_kernels()) {
    if (!bitnet::supported(*kernels)) continue;
    for (const auto& entry : bitnet::kWeightLayouts)
      CHECK(bitnet::passes_self_test(*kernels, entry.layout));
  }
}

TEST("a kernel that computes something else fails its test in that layout alone") {
  bitnet::Kernels wrong = *bitnet::all_kernels().back();
  wrong.trit_matmul = [](const bitnet::TernaryMatrix&, const bitnet::QuantizedBatch& x, float* out,
                         int64_t out_stride, int64_t begin, int64_t end, uint8_t*) {
    for (int64_t t = 0; t < x.n_tokens; ++t)
      for (int64_t r = begin; r < end; ++r) out[t * out_stride + r] = 1;
  };
  CHECK(bitnet::passes_self_test(wrong, bitnet::WeightLayout::kI2S));
  CHECK(!bitnet::passes_self_test(wrong, bitnet::WeightLayout::kTrits));
}

TEST("the features that a kernel needs have names") {
  for (const bitnet::Kernels* kernels : bitnet::all_kernels()) {
    uint32_t named = 0;
    for (const auto& entry : bitnet::cpu_feature_names()) named |= entry.feature;
    CHECK_EQ(kernels->needs & ~named, 0u);
  }
}
