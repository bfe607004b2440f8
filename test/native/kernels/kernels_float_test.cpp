// The floating-point operations against references in double precision, with tolerances derived
// from the number of roundings, and the promise that results depend neither on the batch nor on the
// instruction set.
#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "check.h"
#include "formats/dequantize.h"
#include "kernel_fixture.h"
#include "kernels/kernels.h"

namespace bitnet {
namespace {

constexpr double kRounding = 0x1p-24;  // the largest relative error of one rounding to float

// ---- Matrices of floats

struct FloatMatrix {
  TensorType type;
  int64_t rows, cols, row_bytes;
  std::vector<uint8_t> bytes;
  std::vector<float> values;  // what the bytes mean
};

FloatMatrix random_matrix(Random& random, TensorType type, int64_t rows, int64_t cols) {
  const int64_t size = type == TensorType::kF32 ? 4 : 2;
  FloatMatrix w{type, rows, cols, size * cols, std::vector<uint8_t>(size * cols * rows), {}};
  for (int64_t i = 0; i < rows * cols; ++i) {
    const float x = random.between(-2, 2) * (i % 7 == 0 ? 1e-6f : 1.0f);  // f16: subnormal, too
    const uint16_t half = type == TensorType::kF16 ? f32_to_f16(x) : f32_to_bf16(x);
    if (size == 4) std::memcpy(&w.bytes[4 * i], &x, 4);
    if (size == 2) std::memcpy(&w.bytes[2 * i], &half, 2);
    w.values.push_back(size == 4                  ? x
                       : type == TensorType::kF16 ? f16_to_f32(half)
                                                  : bf16_to_f32(half));
  }
  return w;
}

std::vector<float> multiply(const Kernels& k, const FloatMatrix& w, const float* x,
                            int64_t x_stride, int64_t n_tokens, int64_t out_stride) {
  std::vector<float> out((n_tokens - 1) * out_stride + w.rows, -99.0f);
  k.float_matmul(w.type, w.bytes.data(), w.row_bytes, w.cols, x, x_stride, n_tokens, out.data(),
                 out_stride, 0, w.rows);
  return out;
}

// The order of summation that float_ops.inl promises, one operation at a time.
float ordered_dot(const float* a, const float* b, int64_t n) {
  float lanes[32] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i % 32] = std::fma(a[i], b[i], lanes[i % 32]);
  for (int half = 16; half >= 1; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

constexpr TensorType kFloatTypes[] = {TensorType::kF32, TensorType::kF16, TensorType::kBF16};

TEST("float_matmul agrees with double precision for odd numbers of rows, columns and tokens") {
  Random random(1);
  for (TensorType type : kFloatTypes) {
    for (int64_t cols : {1, 2, 3, 15, 31, 32, 33, 63, 64, 65, 100, 257, 1000}) {
      const FloatMatrix w = random_matrix(random, type, 5, cols);
      for (int64_t n_tokens : {1, 2, 3, 4, 5, 7}) {
        const int64_t x_stride = cols + n_tokens % 2, out_stride = 5 + n_tokens % 3;
        const auto x = random_floats(random, (n_tokens - 1) * x_stride + cols);
        for (const Kernels* k : runnable_kernels()) {
          const auto out = multiply(*k, w, x.data(), x_stride, n_tokens, out_stride);
          for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
            const int64_t t = i / out_stride, r = i % out_stride;
            double want = 0, magnitude = 0;
            for (int64_t c = 0; c < cols && r < w.rows; ++c) {
              const double term = double{w.values[r * cols + c]} * double{x[t * x_stride + c]};
              want += term;
              magnitude += std::fabs(term);
            }
            if (r >= w.rows) want = -99;  // between the rows of the output: untouched
            // A term is rounded once as a product, at most cols / 32 + 1 times in its lane, 5 times
            // among lanes.
            const double roundings = static_cast<double>(cols / 32 + 7);
            check_near(std::string(k->name) + " float_matmul", out[i], want,
                       1.01 * roundings * kRounding * magnitude);
          }
        }
      }
    }
  }
}

TEST("float_matmul gives a token the same bits alone and in a batch") {
  Random random(2);
  for (TensorType type : kFloatTypes) {
    for (int64_t cols : {31, 64, 100, 300}) {
      const FloatMatrix w = random_matrix(random, type, 5, cols);
      const auto x = random_floats(random, 7 * cols);
      for (const Kernels* k : runnable_kernels()) {
        std::vector<float> one_by_one;
        for (int64_t t = 0; t < 7; ++t) {
          const auto out = multiply(*k, w, &x[t * cols], cols, 1, w.rows);
          one_by_one.insert(one_by_one.end(), out.begin(), out.end());
        }
        check_same_bits(std::string(k->name) + " float_matmul",
                        multiply(*k, w, x.data(), cols, 7, w.rows), one_by_one);
      }
    }
  }
}

TEST("float_matmul writes only the rows it is asked for") {
  Random random(3);
  const FloatMatrix w = random_matrix(random, TensorType::kF16, 9, 65);
  const auto x = random_floats(random, 4 * 65);
  for (const Kernels* k : runnable_kernels()) {
    const auto all = multiply(*k, w, x.data(), 65, 4, 9);
    for (auto [begin, end] : {std::pair<int, int>{0, 0}, {0, 1}, {3, 6}, {2, 9}, {9, 9}}) {
      std::vector<float> out(all.size(), -99.0f), want = out;
      k->float_matmul(w.type, w.bytes.data(), w.row_bytes, 65, x.data(), 65, 4, out.data(), 9,
                      begin, end);
      for (int t = 0; t < 4; ++t) {
        for (int r = begin; r < end; ++r) want[t * 9 + r] = all[t * 9 + r];
      }
      check_same_bits(std::string(k->name) + " float_matmul", out, want);
    }
  }
}

TEST("every kernel with fused multiply-add sums in the one fixed order") {
  Random random(4);
  for (const Kernels* k : runnable_kernels()) {
    for (TensorType type : kFloatTypes) {
      for (int64_t cols : {1, 31, 32, 33, 100, 511}) {
        const FloatMatrix w = random_matrix(random, type, 3, cols);
        const auto x = random_floats(random, cols);
        const auto out = multiply(*k, w, x.data(), cols, 1, 3);
        for (int64_t r = 0; r < 3; ++r) {
          const float* row = &w.values[r * cols];
          CHECK_EQ(k->dot(row, x.data(), cols), out[r]);
          if (fuses_multiply_add(*k)) CHECK_EQ(out[r], ordered_dot(row, x.data(), cols));
        }
      }
    }
  }
}

// ---- Adapters

// B [rows, rank] as add_low_rank reads it.
std::vector<uint8_t> panels_of(const FloatMatrix& b) {
  const int64_t size = b.row_bytes / b.cols;
  std::vector<uint8_t> out((b.rows + kLowRankRows - 1) / kLowRankRows * kLowRankRows * b.row_bytes);
  for (int64_t r = 0; r < b.rows; ++r) {
    for (int64_t j = 0; j < b.cols; ++j) {
      const int64_t at = (r / kLowRankRows * b.cols + j) * kLowRankRows + r % kLowRankRows;
      std::memcpy(&out[at * size], &b.bytes[(r * b.cols + j) * size], size);
    }
  }
  return out;
}

TEST("add_low_rank sums over the rank in its order, for every number of rows and tokens") {
  Random random(4);
  for (TensorType type : kFloatTypes) {
    for (int64_t rank : {1, 2, 7, 32, 33}) {
      for (int64_t rows : {1, 15, 16, 17, 64, 100}) {
        const FloatMatrix b = random_matrix(random, type, rows, rank);
        const auto panels = panels_of(b);
        const int64_t n = 6, u_stride = rank + 3, out_stride = rows + 2;
        const auto u = random_floats(random, n * u_stride);
        const auto before = random_floats(random, n * out_stride);
        for (const Kernels* k : runnable_kernels()) {
          for (int64_t n_tokens : {int64_t{1}, int64_t{2}, int64_t{5}, n}) {
            auto out = before;
            for (int64_t begin = 0; begin < rows; begin += 48) {  // in chunks
              k->add_low_rank(type, panels.data(), rank, u.data(), u_stride, n_tokens, out.data(),
                              out_stride, begin, std::min(begin + 48, rows));
            }
            for (int64_t i = 0; i < n * out_stride; ++i) {
              const int64_t t = i / out_stride, r = i % out_stride;
              float sum = 0;
              for (int64_t j = 0; j < rank && r < rows; ++j) {
                const float w = b.values[r * rank + j], x = u[t * u_stride + j];
                sum = fuses_multiply_add(*k) ? std::fma(w, x, sum) : w * x + sum;
              }
              const bool is_written = t < n_tokens && r < rows;
              check_same_bits(std::string(k->name) + " add_low_rank", {out[i]},
                              {is_written ? before[i] + sum : before[i]});
            }
          }
        }
      }
    }
  }
}

TEST("float_matmul reads every f16 value exactly") {
  for (const Kernels* k : runnable_kernels()) {
    const float one = 1;
    std::vector<uint16_t> halves;  // one column: every row is a dot product of length 1
    for (uint32_t h = 0; h < 65536; ++h) {
      if ((h & 0x7c00) != 0x7c00) halves.push_back(static_cast<uint16_t>(h));
    }
    const auto n = static_cast<int64_t>(halves.size());
    std::vector<float> in_tail(n), in_vectors(1);
    const auto* bytes = reinterpret_cast<const uint8_t*>(halves.data());
    k->float_matmul(TensorType::kF16, bytes, 2, 1, &one, 1, 1, in_tail.data(), n, 0, n);
    for (int64_t i = 0; i < n; i += 32) {  // whole vectors: one factor is 1, the others are 0
      std::vector<float> x(32);
      for (int64_t j = 0; j < 32; ++j) {
        x[j] = 1;
        k->float_matmul(TensorType::kF16, bytes + 2 * i, 64, 32, x.data(), 32, 1, in_vectors.data(),
                        1, 0, 1);
        x[j] = 0;
        CHECK_EQ(in_vectors[0], f16_to_f32(halves[i + j]));
        CHECK_EQ(in_tail[i + j], f16_to_f32(halves[i + j]));
      }
    }
  }
}

// ---- Attention

struct AttentionCase {
  int head_dim, v_stride, n_q;
  std::vector<int32_t> n_keys;  // [n_q]
  std::vector<float> q;         // [n_q, head_dim]
  std::vector<uint16_t> k, v;   // [keys / 16, head_dim, 16] and [keys, v_stride]; or else:
  std::vector<int8_t> k8, v8;
  std::vector<float> k_scale, v_scale;

  bool is_q8() const { return !k8.empty(); }
  double key(int at, int d) const {
    const int64_t i = (int64_t{at} / 16 * head_dim + d) * 16 + at % 16;
    return is_q8() ? double{k_scale[at]} * k8[i] : double{f16_to_f32(k[i])};
  }
  double value(int at, int d) const {
    const int64_t i = int64_t{at} * v_stride + d;
    return is_q8() ? double{v_scale[at]} * v8[i] : double{f16_to_f32(v[i])};
  }
};

// Keys beyond those that any row sees, up to the next multiple of 16, hold what must not matter.
AttentionCase make_attention(Random& random, int head_dim, std::vector<int32_t> n_keys,
                             float reach) {
  AttentionCase c{};
  c.head_dim = head_dim;
  c.v_stride = (head_dim + 15) / 16 * 16;
  c.n_q = static_cast<int>(n_keys.size());
  c.n_keys = n_keys;
  const int most = *std::max_element(n_keys.begin(), n_keys.end());
  c.q = random_floats(random, int64_t{c.n_q} * head_dim, -reach, reach);
  c.k.assign(int64_t{(most + 15) / 16 * 16} * head_dim, f32_to_f16(60000));
  c.v.assign(int64_t{most} * c.v_stride, 0);
  for (int key = 0; key < most; ++key) {
    for (int d = 0; d < head_dim; ++d) {
      c.k[(key / 16 * head_dim + d) * 16 + key % 16] = f32_to_f16(random.between(-1, 1));
      c.v[key * c.v_stride + d] = f32_to_f16(random.between(-2, 2));
    }
  }
  return c;
}

// The same shape with int8 keys and values; the factors of keys that no row sees are huge.
AttentionCase make_q8_attention(Random& random, int head_dim, std::vector<int32_t> n_keys,
                                float reach) {
  AttentionCase c = make_attention(random, head_dim, std::move(n_keys), reach);
  const auto bytes = [&random](size_t n) {
    std::vector<int8_t> out(n);
    for (auto& x : out) x = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
    return out;
  };
  c.k8 = bytes(c.k.size());
  c.v8 = bytes(c.v.size());
  for (size_t i = 0; i < c.v8.size(); ++i)
    if (static_cast<int>(i % c.v_stride) >= head_dim) c.v8[i] = 0;
  const int most = *std::max_element(c.n_keys.begin(), c.n_keys.end());
  const size_t padded = static_cast<size_t>((most + kAttentionChunk - 1) / kAttentionChunk) *
                        static_cast<size_t>(kAttentionChunk);
  c.k_scale.assign(padded, 1e30f);
  c.v_scale.assign(padded, 1e30f);
  for (int key = 0; key < most; ++key) {
    c.k_scale[key] = random.between(0.5f, 1) / 127;
    c.v_scale[key] = random.between(0.5f, 2) / 127;
  }
  c.k.clear();
  c.v.clear();
  return c;
}

// Keys and values of a case in blocks, as AttentionTile wants them; what no row sees is garbage.
class Blocks {
 public:
  explicit Blocks(const AttentionCase& c) {
    const int64_t size = c.is_q8() ? 1 : 2, keys = kAttentionChunk * size;
    v_offset_ = keys * c.head_dim;
    k_scale_offset_ = v_offset_ + keys * c.v_stride;
    const int64_t n_bytes = k_scale_offset_ + (c.is_q8() ? 8 * kAttentionChunk : 0);
    const int most = *std::max_element(c.n_keys.begin(), c.n_keys.end());
    const uint8_t* k = c.is_q8() ? reinterpret_cast<const uint8_t*>(c.k8.data())
                                 : reinterpret_cast<const uint8_t*>(c.k.data());
    const uint8_t* v = c.is_q8() ? reinterpret_cast<const uint8_t*>(c.v8.data())
                                 : reinterpret_cast<const uint8_t*>(c.v.data());
    for (int first = 0; first < most; first += kAttentionChunk) {
      memory_.emplace_back(static_cast<size_t>(n_bytes), uint8_t{0x7e});  // NaN as f16
      uint8_t* block = memory_.back().data();
      const int64_t n = std::min(most - first, kAttentionChunk), rows = (n + 15) / 16 * 16;
      std::memcpy(block, k + size * first * c.head_dim, size * rows * c.head_dim);
      std::memcpy(block + v_offset_, v + size * first * c.v_stride, size * n * c.v_stride);
      if (c.is_q8()) {
        std::memcpy(block + k_scale_offset_, &c.k_scale[first], 4 * kAttentionChunk);
        std::memcpy(block + k_scale_offset_ + 4 * kAttentionChunk, &c.v_scale[first],
                    4 * kAttentionChunk);
      }
      blocks_.push_back(block);
    }
  }
  void fill(AttentionTile& tile, bool is_q8) const {
    tile.blocks = blocks_.data();
    tile.k_offset = 0;
    tile.v_offset = v_offset_;
    tile.is_q8 = is_q8;
    tile.k_scale_offset = k_scale_offset_;
    tile.v_scale_offset = k_scale_offset_ + 4 * kAttentionChunk;
  }

 private:
  int64_t v_offset_, k_scale_offset_;
  std::vector<std::vector<uint8_t>> memory_;
  std::vector<const uint8_t*> blocks_;
};

float attention_scale(const AttentionCase& c) {
  return 1.0f / std::sqrt(static_cast<float>(c.head_dim));
}

// How the segments of a tile are divided among calls.
enum class Split { kTogether, kApart };

// Rows [begin, end) of the case in one tile.
std::vector<float> attend(const Kernels& k, const AttentionCase& c, int begin, int end,
                          Split split = Split::kTogether) {
  const int n = end - begin;
  std::vector<float> out(int64_t{n} * c.head_dim);
  std::vector<const float*> q(n);
  for (int i = 0; i < n; ++i) q[i] = &c.q[int64_t{begin + i} * c.head_dim];
  AttentionTile tile{};
  tile.q = q.data();
  tile.n_keys = &c.n_keys[begin];
  tile.n_q = n;
  const Blocks blocks(c);
  blocks.fill(tile, c.is_q8());
  tile.head_dim = c.head_dim;
  tile.v_stride = c.v_stride;
  tile.scale = attention_scale(c);
  Scratch scratch(kAttentionScratch * sizeof(float));
  const auto segments = [&](int i) {
    return (c.n_keys[begin + i] + kAttentionSegment - 1) / kAttentionSegment;
  };
  int most = 0;
  for (int i = 0; i < n; ++i) most = std::max(most, segments(i));
  const int64_t stride = attention_partial(c.v_stride), step = n * stride;
  const bool apart = split == Split::kApart;
  Scratch partials((apart ? most : 1) * step * sizeof(float));
  if (apart) {  // last first: the order of the calls must not matter
    for (int s = most - 1; s >= 0; --s)
      k.attention(tile, s, s + 1, partials.floats() + s * step, scratch.floats());
  } else {
    k.attention(tile, 0, most, partials.floats(), scratch.floats());
  }
  for (int i = 0; i < n; ++i) {
    k.merge_attention(partials.floats() + i * stride, step, apart ? segments(i) : 1, c.head_dim,
                      c.v_stride, &out[int64_t{i} * c.head_dim]);
  }
  return out;
}

void check_attention_row(const std::string& label, const AttentionCase& c, int i,
                         const float* got) {
  const int n = c.n_keys[i];
  std::vector<double> weights(n);
  double top = -1e300, score_error = 0, reach = 0;
  for (int key = 0; key < n; ++key) {
    double score = 0, magnitude = 0;
    for (int d = 0; d < c.head_dim; ++d) {
      const double term = double{c.q[int64_t{i} * c.head_dim + d]} * c.key(key, d);
      score += term;
      magnitude += std::fabs(term);
    }
    const double scale = attention_scale(c);
    weights[key] = score * scale;
    // head_dim sums and products in a row, then the scale and the key's factor.
    score_error = std::max(score_error, (c.head_dim + 4) * kRounding * magnitude * scale);
    top = std::max(top, weights[key]);
    reach = std::max(reach, std::fabs(weights[key]));
  }
  double sum = 0;
  for (double& weight : weights) sum += weight = std::exp(weight - top);
  // A weight is the product of an exponential for each chunk, then for each segment: score -
  // maximum rounded, then about 8 roundings. Numerator and denominator both have it; the values are
  // then summed one by one, and there is the division.
  const double chunks =
      std::min(n, kAttentionSegment) / kAttentionChunk + n / kAttentionSegment + 3;
  const double relative =
      2 * (score_error + chunks * (2 * reach + 10) * kRounding) + (n + 12) * kRounding;
  for (int d = 0; d < c.head_dim; ++d) {
    double want = 0, magnitude = 0;
    for (int key = 0; key < n; ++key) {
      const double term = weights[key] / sum * c.value(key, d);
      want += term;
      magnitude += std::fabs(term);
    }
    check_near(label, got[d], want, 1.01 * relative * magnitude + 1e-36);
  }
}

std::vector<int32_t> random_key_counts(Random& random, int n_q, int most) {
  std::vector<int32_t> n_keys(n_q);
  for (auto& n : n_keys) n = 1 + static_cast<int32_t>(random.below(most));
  return n_keys;
}

TEST("attention agrees with double precision for every number of keys") {
  Random random(5);
  for (int head_dim : {64, 96, 100, 128, 256}) {
    for (int n = 1; n <= 300; n += quick() ? 37 : head_dim == 64 ? 1 : 13) {
      const AttentionCase c = make_attention(random, head_dim, {n}, n % 2 ? 1.0f : 20.0f);
      for (const Kernels* k : runnable_kernels()) {
        const auto out = attend(*k, c, 0, 1);
        check_attention_row(std::string(k->name) + " attention over " + std::to_string(n) + " keys",
                            c, 0, out.data());
      }
    }
  }
}

TEST("attention gives a row the same bits whatever tile it is in, and each row its own keys") {
  Random random(6);
  for (int head_dim : {64, 96, 100, 128, 256}) {
    for (int n_q : {1, 2, 3, 4, 5, 8, 31, kAttentionRows}) {
      const AttentionCase c =
          make_attention(random, head_dim, random_key_counts(random, n_q, n_q == 3 ? 16 : 300), 4);
      std::vector<float> first;
      for (const Kernels* k : runnable_kernels()) {
        const std::string label =
            std::string(k->name) + " attention of " + std::to_string(n_q) + " rows";
        const auto all = attend(*k, c, 0, n_q);
        std::vector<float> one_by_one;
        for (int i = 0; i < n_q; ++i) {
          check_attention_row(label, c, i, &all[int64_t{i} * head_dim]);
          const auto row = attend(*k, c, i, i + 1);
          one_by_one.insert(one_by_one.end(), row.begin(), row.end());
        }
        check_same_bits(label, all, one_by_one);
        if (!fuses_multiply_add(*k)) continue;
        if (first.empty()) first = all;
        check_same_bits(label + ", instruction sets", all, first);
      }
    }
  }
}

// One segment, its end, two, and a third that has one key or almost all.
const std::vector<int32_t> kSegmentCounts = {1,
                                             kAttentionSegment - 1,
                                             kAttentionSegment,
                                             kAttentionSegment + 1,
                                             2 * kAttentionSegment,
                                             2 * kAttentionSegment + 1,
                                             3 * kAttentionSegment - 1,
                                             2977};

TEST("attention over several segments agrees with double precision, together or apart") {
  Random random(15);
  for (const bool q8 : {false, true}) {
    for (int head_dim : {64, 100, 128}) {
      const auto make = q8 ? make_q8_attention : make_attention;
      const AttentionCase c = make(random, head_dim, kSegmentCounts, 8);
      std::vector<float> first;
      for (const Kernels* k : runnable_kernels()) {
        const std::string label = std::string(k->name) + (q8 ? " q8" : " f16") + " segments";
        const auto all = attend(*k, c, 0, c.n_q);
        std::vector<float> one_by_one, apart;
        for (int i = 0; i < c.n_q; ++i) {
          check_attention_row(label, c, i, &all[int64_t{i} * head_dim]);
          for (const Split split : {Split::kTogether, Split::kApart}) {
            const auto row = attend(*k, c, i, i + 1, split);
            auto& rows = split == Split::kApart ? apart : one_by_one;
            rows.insert(rows.end(), row.begin(), row.end());
          }
        }
        check_same_bits(label + ", one by one", all, one_by_one);
        check_same_bits(label + ", apart", all, apart);
        check_same_bits(label + ", a tile apart", all, attend(*k, c, 0, c.n_q, Split::kApart));
        if (!fuses_multiply_add(*k)) continue;
        if (first.empty()) first = all;
        check_same_bits(label + ", instruction sets", all, first);
      }
    }
  }
}

TEST("attention to int8 keys and values agrees with double precision in every tile") {
  Random random(16);
  for (int head_dim : {64, 96, 100, 128, 256}) {
    for (int n_q : {1, 3, 4, 8, 31}) {
      const AttentionCase c =
          make_q8_attention(random, head_dim, random_key_counts(random, n_q, 200), 6);
      std::vector<float> first;
      for (const Kernels* k : runnable_kernels()) {
        const std::string label = std::string(k->name) + " q8 attention";
        const auto all = attend(*k, c, 0, n_q);
        for (int i = 0; i < n_q; ++i) {
          check_attention_row(label, c, i, &all[int64_t{i} * head_dim]);
          const std::vector<float> in_tile(all.begin() + int64_t{i} * head_dim,
                                           all.begin() + int64_t{i + 1} * head_dim);
          check_same_bits(label, attend(*k, c, i, i + 1), in_tile);
        }
        if (!fuses_multiply_add(*k)) continue;
        if (first.empty()) first = all;
        check_same_bits(label + ", instruction sets", all, first);
      }
    }
  }
}

TEST("attention to a single key returns its value exactly") {
  Random random(7);
  const AttentionCase c = make_attention(random, 100, {1, 1, 1, 1, 1}, 30);
  std::vector<float> want;
  for (int i = 0; i < 5; ++i) {
    for (int d = 0; d < 100; ++d) want.push_back(f16_to_f32(c.v[d]));
  }
  for (const Kernels* k : runnable_kernels()) {
    check_same_bits(std::string(k->name) + " attention", attend(*k, c, 0, 5), want);
  }
}

TEST("attention takes the largest head it promises") {
  Random random(8);
  const AttentionCase c = make_attention(random, kAttentionMaxHeadDim,
                                         random_key_counts(random, kAttentionRows, 70), 1);
  for (const Kernels* k : runnable_kernels()) {
    const auto out = attend(*k, c, 0, kAttentionRows);
    for (int i = 0; i < kAttentionRows; ++i) {
      check_attention_row(std::string(k->name) + " attention", c, i,
                          &out[int64_t{i} * kAttentionMaxHeadDim]);
    }
  }
}

// ---- Elementwise

TEST("rms_norm agrees with double precision and is the same on every kernel") {
  Random random(9);
  for (int64_t n : {1, 2, 7, 8, 9, 15, 33, 2560}) {
    for (float size : {1e-3f, 1.0f, 3000.0f}) {
      const auto x = random_floats(random, n, -size, size),
                 weight = random_floats(random, n, -2, 2);
      double squares = 0;
      for (float value : x) squares += double{value} * double{value};
      const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + double{1e-5f});
      std::vector<float> first;
      for (const Kernels* k : runnable_kernels()) {
        std::vector<float> out(n);
        k->rms_norm(x.data(), weight.data(), 1e-5f, out.data(), n);
        for (int64_t i = 0; i < n; ++i) {
          // Roundings: the mean and + eps, which the root halves; root, reciprocal, two products.
          const double want = x[i] * scale * weight[i];
          check_near(std::string(k->name) + " rms_norm", out[i], want,
                     5.01 * kRounding * std::fabs(want));
        }
        if (first.empty()) first = out;
        check_same_bits(std::string(k->name) + " rms_norm", out, first);
      }
    }
  }
}

const std::vector<float>& silu_inputs() {
  static const std::vector<float> inputs = [] {
    std::vector<float> x = {0.0f,  1e-40f, 1e-30f, 1e-8f, 0.3f,   1.0f, 19.9f, 20.0f, 86.9f, 87.0f,
                            87.1f, 88.0f,  88.8f,  89.0f, 100.0f, 1e3f, 1e10f, 1e30f, 3e38f};
    for (size_t i = 0, n = x.size(); i < n; ++i) x.push_back(-x[i]);
    Random random(10);
    for (int i = 0; i < 2000; ++i) x.push_back(random.between(-90, 90));
    for (int i = 0; i < 2000; ++i) x.push_back(random.between(-5, 5));
    return x;
  }();
  return inputs;
}

TEST("silu_mul agrees with double precision for every size of gate") {
  const auto& x = silu_inputs();
  const auto n = static_cast<int64_t>(x.size());
  std::vector<float> up(n, 0.75f), first;
  for (const Kernels* k : runnable_kernels()) {
    std::vector<float> out = x;
    k->silu_mul(out.data(), up.data(), n);
    for (int64_t i = 0; i < n; ++i) {
      const double g = x[i], want = g / (1 + std::exp(-g)) * 0.75;
      // About 8 roundings for the exponential, then sum, quotient and product; below -87 the result
      // may be 0.
      check_near(std::string(k->name) + " silu_mul at " + std::to_string(g), out[i], want,
                 11 * kRounding * std::fabs(want) + (g < -86 ? 1e-35 : 1e-45));
    }
    if (!fuses_multiply_add(*k)) continue;
    if (first.empty()) first = out;
    check_same_bits(std::string(k->name) + " silu_mul, instruction sets", out, first);
  }
}

TEST("gelu_mul agrees with double precision, to the same bits wherever an element stands") {
  const auto& x = silu_inputs();
  const auto n = static_cast<int64_t>(x.size());
  std::vector<float> up(n, 0.75f), first;
  for (const Kernels* k : runnable_kernels()) {
    std::vector<float> out = x;
    k->gelu_mul(out.data(), up.data(), n);
    for (int64_t i = 0; i < n; ++i) {
      const double g = x[i], z = 2 * std::sqrt(2 / std::acos(-1.0)) * (g + 0.044715 * g * g * g);
      const double want = g / (1 + std::exp(-z)) * 0.75;
      // The exponential makes the rounding of its argument |z| times as large.
      check_near(std::string(k->name) + " gelu_mul at " + std::to_string(g), out[i], want,
                 (11 + 4 * std::min(std::fabs(z), 87.0)) * kRounding * std::fabs(want) +
                     (z < -86 ? 1e-34 : 1e-45));
      float alone = x[i];
      k->gelu_mul(&alone, &up[i], 1);
      CHECK_EQ(float_bits(alone), float_bits(out[i]));
    }
    if (!fuses_multiply_add(*k)) continue;
    if (first.empty()) first = out;
    check_same_bits(std::string(k->name) + " gelu_mul, instruction sets", out, first);
  }
}

// FNV-1a over the bits of the numbers.
uint64_t digest(const std::vector<float>& x) {
  uint64_t hash = 14695981039346656037u;
  for (float value : x) hash = (hash ^ float_bits(value)) * 1099511628211u;
  return hash;
}

// The digests are of what AVX2, AVX-512 and NEON alike compute; a change of the order of operations
// changes them.
TEST("attention and silu_mul give the same bits on x86 and Arm") {
  Random random(12);
  const AttentionCase c = make_attention(random, 128, {1, 17, 64, 65, 300}, 6);
  const AttentionCase q8 = make_q8_attention(random, 128, {40, 600, 1025}, 6);
  for (const Kernels* k : runnable_kernels()) {
    if (!fuses_multiply_add(*k)) continue;
    CHECK_EQ(digest(attend(*k, c, 0, c.n_q)), 13072559813885513752u);
    CHECK_EQ(digest(attend(*k, q8, 0, q8.n_q)), 12653712137058205949u);
    std::vector<float> gate = silu_inputs();
    k->silu_mul(gate.data(), silu_inputs().data(), static_cast<int64_t>(gate.size()));
    CHECK_EQ(digest(gate), 16194136604135475897u);
  }
}

TEST("silu_mul gives an element the same bits wherever it stands") {
  const auto& x = silu_inputs();
  for (const Kernels* k : runnable_kernels()) {
    for (int64_t n = 1; n <= 67; ++n) {
      std::vector<float> gate(x.begin(), x.begin() + n), up(n, 1.5f), want;
      for (float g : gate) {
        k->silu_mul(&g, up.data(), 1);
        want.push_back(g);
      }
      k->silu_mul(gate.data(), up.data(), n);
      check_same_bits(std::string(k->name) + " silu_mul", gate, want);
    }
  }
}

TEST("relu2_mul and add round once for each operation") {
  Random random(11);
  for (int64_t n : {1, 3, 16, 31, 100}) {
    const auto x = random_floats(random, n, -3, 3), y = random_floats(random, n, -3, 3);
    std::vector<float> want_relu2(n), want_add(n);
    for (int64_t i = 0; i < n; ++i) {
      const double g = std::max(x[i], 0.0f);
      const auto square = static_cast<float>(g * g);  // exact in double: rounded once
      want_relu2[i] = static_cast<float>(double{square} * double{y[i]});
      want_add[i] = static_cast<float>(double{x[i]} + double{y[i]});
    }
    for (const Kernels* k : runnable_kernels()) {
      auto gate = x, sum = x;
      k->relu2_mul(gate.data(), y.data(), n);
      k->add(sum.data(), y.data(), n);
      check_same_bits(std::string(k->name) + " relu2_mul", gate, want_relu2);
      check_same_bits(std::string(k->name) + " add", sum, want_add);
    }
  }
}

}  // namespace
}  // namespace bitnet
