// Portable C++ for any CPU, and the definition of correct for every other kernel. No intrinsics, no
// tricks.
#include <utility>

#include "kernels/kernels.h"

namespace bitnet {
namespace {

#include "kernels/half.inl"
#include "kernels/unroll.inl"

using vf = float;
constexpr int kWidth = 1;
constexpr bool kPairBlocks = false;

inline vf load(const float* p) { return *p; }
inline void store(float* p, vf v) { *p = v; }
inline vf set1(float x) { return x; }
inline vf fma(vf a, vf b, vf c) { return a * b + c; }
inline float fma1(float a, float b, float c) { return a * b + c; }
inline vf vmin(vf a, vf b) { return a < b ? a : b; }
inline vf vmax(vf a, vf b) { return a > b ? a : b; }
inline vf round_vf(vf x) { return __builtin_rintf(x); }
inline vf zero_below(vf x, vf limit, vf v) { return x < limit ? 0.0f : v; }
inline vf scale_by_pow2(vf p, vf n) {
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  __builtin_memcpy(&power, &bits, 4);
  return p * power;
}
inline vf load_f16(const uint16_t* p) { return half_to_float(*p); }
inline vf load_bf16(const uint16_t* p) {
  const uint32_t bits = static_cast<uint32_t>(*p) << 16;
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
inline vf load_i8(const uint8_t* p) { return static_cast<float>(static_cast<int8_t>(*p)); }
inline float max_lane(vf v) { return v; }
inline float sum_halves(vf v) { return v; }

#include "kernels/float_ops.inl"

constexpr int kGemmRows = 4, kGemmVectors = 4;
inline vf sqrt_vf(vf x) { return __builtin_sqrtf(x); }
#include "kernels/gemm.inl"
#include "kernels/train_ops.inl"

using vi = int32_t;
constexpr int kByteVector = 16, kCodeBias = 0;
constexpr int kCoarseRows = 1, kCoarseTokens = 1, kQuadRows = 1, kQuadTokens = 1;
constexpr int kPairRows = 1, kPairTokens = 1;
inline vi zero_i32() { return 0; }
inline vf to_float(vi v) { return static_cast<float>(v); }
template <int N>
inline void store_sums(const vi (&v)[N], int32_t* out) {
  for (int i = 0; i < N; ++i) out[i] = v[i];
}
typedef uint8_t Bytes __attribute__((vector_size(kByteVector)));
struct Codes {
  int8_t v[64];
};
template <int kOffset>
inline Codes make_codes(const Bytes (&pieces)[4]) {
  Codes codes;
  for (int i = 0; i < 64; ++i) codes.v[i] = static_cast<int8_t>(pieces[i / 16][i % 16] - kOffset);
  return codes;
}
inline Codes load_codes64(const uint8_t* p) {
  Codes codes;
  __builtin_memcpy(codes.v, p, sizeof codes.v);
  return codes;
}
inline void store_codes64(uint8_t* p, const Codes& codes) {
  __builtin_memcpy(p, codes.v, sizeof codes.v);
}
inline vi add_products(vi sum, const Codes& codes, const int8_t* x) {
  for (int i = 0; i < 64; ++i) sum += codes.v[i] * x[i];
  return sum;
}
inline void quad_sums(const Codes& codes, const HeadGroup& x, vi (&sums)[16]) {
  for (int j = 0; j < 16; ++j) {
    sums[j] = 0;
    for (int i = 4 * j; i < 4 * j + 4; ++i) sums[j] += codes.v[i] * (128 * x.high[i] + x.low[i]);
  }
}
inline vf quad_scales(const float* scales, int j) { return scales[j / 4]; }
struct Words32 {
  int16_t v[32];
};
inline Words32 load_words32(const int16_t* p) {
  Words32 words;
  __builtin_memcpy(words.v, p, sizeof words.v);
  return words;
}
inline void store_words32(int16_t* p, const Words32& words) {
  __builtin_memcpy(p, words.v, sizeof words.v);
}
template <int kOffset, int kFirstScale>
inline Words32 scaled_codes(const Bytes (&pieces)[2], const int16_t* scales) {
  Words32 words;
  for (int i = 0; i < 32; ++i) {
    const int code = pieces[i / 16][i % 16] - kOffset;
    words.v[i] = static_cast<int16_t>(code * scales[kFirstScale + i / 16]);
  }
  return words;
}
template <int j>
inline vi add_pairs(vi sums, const Words32& w, const Words32& x) {
  return sums + w.v[2 * j] * x.v[2 * j] + w.v[2 * j + 1] * x.v[2 * j + 1];
}

#include "kernels/head_ops.inl"

void ternary_matmul(const TernaryMatrix& w, const QuantizedBatch& x, float* out, int64_t out_stride,
                    int64_t begin, int64_t end, uint8_t* codes) {
  for (int64_t row = begin; row < end; ++row) {
    const uint8_t* packed = w.data + row * w.row_bytes;
    for (int64_t i = 0; i < w.row_bytes; ++i) {
      uint8_t* block = codes + i / 32 * 128 + i % 32;
      for (int group = 0; group < 4; ++group)
        block[32 * group] = (packed[i] >> (6 - 2 * group)) & 3;
    }
    const float scale = w.row_scales ? w.row_scales[row] : w.scale;
    for (int64_t t = 0; t < x.n_tokens; ++t) {
      const int8_t* q = x.q + t * x.stride;
      int32_t acc = 0;
      for (int64_t c = 0; c < w.cols; ++c) acc += codes[c] * q[c];
      // The contract of the format: exact int to float, then subtract, divide, multiply, in this
      // order.
      out[t * out_stride + row] =
          (static_cast<float>(acc) - static_cast<float>(x.sum[t])) / x.scale[t] * scale;
    }
  }
}

// Codes and activations that stay in the level-1 cache.
int64_t int8_peak(int64_t iterations) {
  constexpr int64_t kCols = 4096;
  static uint8_t codes[kCols];
  static int8_t q[kCols];
  for (int64_t i = 0; i < iterations; ++i) {
    __asm__ volatile("" : : "r"(codes), "r"(q) : "memory");
    int32_t acc = 0;
    for (int64_t c = 0; c < kCols; ++c) acc += codes[c] * q[c];
    __asm__ volatile("" : : "r"(acc));
  }
  return iterations * kCols * 2;
}

constexpr auto i2s_matmul = ternary_matmul;
#include "kernels/panels.inl"

constexpr auto trit_matmul = matmul_by_panels, lut_matmul = matmul_by_panels;
constexpr decltype(Kernels::lut_tables) lut_tables = nullptr;

constexpr WeightLayout kFastestTl2 = WeightLayout::kI2S;
#include "kernels/table.inl"

}  // namespace

extern constinit const Kernels kScalar = kernel_table("scalar", 0);

}  // namespace bitnet
