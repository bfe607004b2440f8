// The operations that differ per CPU. Everything else in the core is portable C++.
//
// There is one Kernels table per instruction set, in kernels/<name>.cpp, the only files with
// intrinsics. Scalar always exists and defines what is correct: the integer part of every kernel
// equals it exactly, for every shape, batch and thread count. Floating-point sums have one fixed
// order (see kernels/float_ops.inl), so kernels with fused multiply-add agree bit for bit with each
// other, and with scalar to rounding.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/numbers.h"  // the .inl files round with it
#include "base/tuning.h"
#include "formats/tensor_type.h"

namespace bitnet {

// CPU features a kernel may need.
enum CpuFeature : uint32_t {
  kCpuAvx2 = 1u << 0,  // with FMA and F16C
  kCpuAvxVnni = 1u << 1,
  kCpuAvx512 = 1u << 2,  // F, BW, DQ, VL
  kCpuAvx512Vnni = 1u << 3,
  kCpuNeon = 1u << 4,
  kCpuDotprod = 1u << 5,
  kCpuI8mm = 1u << 6,
  kCpuAmx = 1u << 7,  // int8 tiles, granted by the OS
};
uint32_t cpu_features();
// Those that kernels of this architecture need, as people know them.
struct CpuFeatureName {
  CpuFeature feature;
  const char* name;  // "AVX-512 VNNI"
};
std::span<const CpuFeatureName> cpu_feature_names();

// Rows of int8 activations are padded with zeros to a multiple of this many columns.
constexpr int64_t kActivationPad = 256;

// How the weights of a ternary matrix lie in memory.
enum class WeightLayout : uint8_t {
  kI2S,  // canonical I2_S, row-aligned (formats/ternary.h): codes t + 1 in 2 bits, blocks of 128
  // The others are made at load by packing.h for one kernel, as they follow the order in which that
  // kernel keeps its activations:
  kTrits,    // five codes in a byte, 1.6 bits per weight
  kPairs,    // for table look-ups, as TL1: 2 bits per weight
  kTriples,  // for table look-ups, as TL2: 1.67 bits per weight
};

// Their names, wherever one is printed or read.
struct WeightLayoutName {
  const char* name;
  WeightLayout layout;
};
constexpr WeightLayoutName kWeightLayouts[] = {
    {"i2_s", WeightLayout::kI2S},
    {"trits", WeightLayout::kTrits},
    {"pairs", WeightLayout::kPairs},
    {"triples", WeightLayout::kTriples},
};
// The layout of that name, which may be an earlier one or that of the file type whose rows it
// holds; nullopt if there is none.
std::optional<WeightLayout> find_layout(std::string_view name);
// "i2_s, trits, pairs, triples"
std::string layout_names();

struct TernaryMatrix {
  const uint8_t* data = nullptr;  // I2_S, trits: [rows, row_bytes]; look-ups: [rows / 32, 32 rows]
  int64_t rows = 0, cols = 0;
  int64_t row_bytes = 0;              // of one row, on average; I2_S: cols rounded up to 128, / 4
  float scale = 1;                    // multiplies; used if row_scales is null
  const float* row_scales = nullptr;  // [rows]
  WeightLayout layout = WeightLayout::kI2S;
};

// What Winograd's inner product has to know of a token (kernels/avx512_gemm.inl); columns in the
// order of the kernel.
constexpr int kMostTop = 14;
struct TokenPairs {
  int32_t products;       // the part of each sum that is the token's alone
  int32_t n_top;          // pairs with a +127
  int32_t top[kMostTop];  // the first columns of so many of them
};

// Activations of a batch, quantized per token (spec of BitNet b1.58: q = round(x * 127 / max|x|)).
struct QuantizedBatch {
  int64_t n_tokens = 0;
  int64_t stride = 0;      // bytes between tokens: cols rounded up to kActivationPad
  int8_t* q = nullptr;     // [n_tokens, stride], columns in the order of the kernel that wrote it
  float* scale = nullptr;  // [n_tokens]: 127 / max|x|
  int32_t* sum = nullptr;  // [n_tokens]: sum of q, which takes the +1 of the codes out again
  // [n_tokens, lut_table_bytes()] as Kernels::lut_tables writes them; read by lut_matmul if there
  // are at most kFewTokens.
  const uint8_t* tables = nullptr;
  const TokenPairs* pairs = nullptr;  // [n_tokens], as Kernels::find_pairs writes them; or null
  // See tuning.h.
  int64_t block_bytes = Tuning{}.block_bytes, tile_tokens = Tuning{}.tile_tokens;
  int64_t prefetch_bytes = Tuning{}.prefetch_bytes;
};

// Up to so many tokens, the kernels of the denser layouts read the packed weights for each; with
// more they unpack a panel of rows once for all.
constexpr int64_t kFewTokens = 8;

// Look-up tables of one token: 32 bytes for each pair or triple of columns. `stride` as above.
constexpr int64_t lut_blocks(WeightLayout layout, int64_t stride) {  // 8 look-ups each
  return layout == WeightLayout::kPairs ? stride / 16 : (stride + 23) / 24;
}
constexpr int64_t lut_table_bytes(WeightLayout layout, int64_t stride) {
  return lut_blocks(layout, stride) * 8 * 32;
}

constexpr int kAttentionChunk = 64;  // keys per step of the running softmax, and per block
// One tile of attention: n_q query rows of a sequence that share a key/value head. Row i sees the
// keys [0, n_keys[i]). Keys and values are f16, or int8 with an f32 factor for each vector, and lie
// in blocks of kAttentionChunk positions.
struct AttentionTile {
  const float* const* q;         // [n_q] -> [head_dim]
  const int32_t* n_keys;         // [n_q], at least 1
  int n_q;                       // at most kAttentionRows
  const uint8_t* const* blocks;  // [keys / kAttentionChunk, rounded up]
  // Bytes from the start of every block: keys [kAttentionChunk / 16, head_dim, 16], whose lanes are
  // positions, and values [kAttentionChunk, v_stride], zero beyond head_dim.
  int64_t k_offset, v_offset;
  bool is_q8;
  int64_t k_scale_offset, v_scale_offset;  // if is_q8: [kAttentionChunk] floats each
  int head_dim, v_stride;                  // v_stride: head_dim rounded up to 16
  float scale;                             // 1 / sqrt(head_dim)
};
constexpr int kAttentionRows = 32;
// Keys are taken in segments of this many, always the same ones. What a row gets from a segment is
// a partial result: [v_stride] weighted sums of values, the largest score, the sum of weights.
// Partial results are merged in the order of the keys. So a segment is what threads can share out
// of one head without changing a bit: of 2 threads and 5 heads at 4096 keys, decoding gained a
// fifth to a third. The size is chosen, not measured: 8 chunks, beside which a merge of head_dim +
// 2 numbers is small, and 256 KiB of keys and values with heads of 128 in f16, which fit level 2.
constexpr int kAttentionSegment = 512;
constexpr int attention_partial(int v_stride) { return v_stride + 16; }  // floats

// Activations as products with integer head weights read them: |x| <= kHeadRange as 128 * high +
// low, both small enough that two products with bytes fit 16 bits; zero beyond the columns.
constexpr int kHeadRange = 8191;
constexpr int64_t kHeadMaxCols = 16384;  // the products of a row with `high` alone fit 31 bits
struct alignas(64) HeadGroup {           // 64 columns
  int8_t high[64], low[64];
  int32_t minus[16];  // -(x[4 i] + ... + x[4 i + 3])
};
struct alignas(64) HeadWords {  // 64 columns of the same
  int16_t x[64];
};
constexpr int64_t head_groups(int64_t cols) { return (cols + 63) / 64; }

struct HeadBatch {
  int64_t n_tokens = 0, n_groups = 0;
  const HeadGroup* groups = nullptr;  // [n_tokens, n_groups]
  const float* units = nullptr;       // [n_tokens]: the activation is units * x
  const int32_t* sums = nullptr;      // [n_tokens]: sum of x
  const HeadWords* words = nullptr;   // [n_tokens, n_groups]; block_matmul alone reads them
};

// What an int8 copy of a row keeps beside the quants: row = scale * q + an error of Euclidean
// length `error`; `norm` is the length of the row. Both lengths are rounded up.
struct CoarseRow {
  float scale, error, norm;
};

// ---- Training: products of floats.
// So many elements of the summed dimension are added up from zero with one fused operation each, in
// ascending order, before the sum is added to the result.
constexpr int64_t kGemmDepth = 256;
constexpr int64_t kGemmScratch = 1024 * kGemmDepth;  // floats
// A matrix that is multiplied: element (row, col) at data[row * row_step + col * col_step]; one of
// the steps is 1.
struct GemmFactor {
  const float* data;
  int64_t row_step, col_step;
};

// A step of AdamW: g is multiplied by gradient_scale; m = beta1 m + (1 - beta1) g, v = beta2 v + (1
// - beta2) g^2; w = decay w - lr m m_correction / (sqrt(v v_correction) + epsilon).
struct AdamStep {
  float gradient_scale, beta1, beta2, epsilon, lr;
  float decay;                       // 1 - lr * weight decay
  float m_correction, v_correction;  // 1 / (1 - beta^t)
};

// Rows of an adapter's matrix B that lie side by side, see Kernels::add_low_rank.
constexpr int64_t kLowRankRows = 16;

struct Kernels {
  const char* name;  // "scalar", "avx2", ...: also the value of BITNET_KERNEL
  uint32_t needs;    // CpuFeature bits

  // x [cols] -> q [stride] in this kernel's column order, zero padded; *scale = 127 / max(|x|,
  // 1e-5); *sum = sum of q.
  void (*quantize)(const float* x, int64_t cols, int64_t stride, int8_t* q, float* scale,
                   int32_t* sum);

  // out[t * out_stride + r] = (sum_c code[r, c] * q[t, c] - sum[t]) / scale[t] * w.scale for r in
  // [begin, end). scratch: kMatmulScratch bytes, aligned to 64, private to the calling thread.
  void (*ternary_matmul)(const TernaryMatrix& w, const QuantizedBatch& x, float* out,
                         int64_t out_stride, int64_t begin, int64_t end, uint8_t* scratch);

  // The same for the other layouts, and the same bits as ternary_matmul of the same weights.
  void (*trit_matmul)(const TernaryMatrix& w, const QuantizedBatch& x, float* out,
                      int64_t out_stride, int64_t begin, int64_t end, uint8_t* scratch);
  void (*lut_matmul)(const TernaryMatrix& w, const QuantizedBatch& x, float* out,
                     int64_t out_stride, int64_t begin, int64_t end, uint8_t* scratch);
  // Tables of the blocks [begin, end) of lut_blocks() for one token. Null if lut_matmul needs none.
  void (*lut_tables)(WeightLayout layout, const int8_t* q, int64_t stride, int64_t begin,
                     int64_t end, uint8_t* tables);
  // For batches of tile_tokens and more. Null if ternary_matmul has no use for it.
  // May negate the token: q, *scale and *sum, which changes no result.
  void (*find_pairs)(int8_t* q, int64_t stride, float* scale, int32_t* sum, TokenPairs* pairs);
  // Where column c of a row lies in q.
  int64_t (*activation_index)(int64_t c);
  // What to make of a TL2 file that is too large for the caches (measured, see docs/layouts.md).
  WeightLayout fastest_tl2;

  // out[t * out_stride + r] = sum_c w[r, c] * x[t, c], w of type F32, F16 or BF16, for r in [begin,
  // end).
  void (*float_matmul)(TensorType type, const uint8_t* w, int64_t row_bytes, int64_t cols,
                       const float* x, int64_t x_stride, int64_t n_tokens, float* out,
                       int64_t out_stride, int64_t begin, int64_t end);
  // The dot product that float_matmul computes, for rows that the caller has dequantized.
  float (*dot)(const float* a, const float* b, int64_t n);

  // The second product of an adapter: out[t * out_stride + r] += sum_j b[r, j] * u[t * u_stride +
  // j] for r in [begin, end), begin a multiple of kLowRankRows. b: type F32, F16 or BF16, panels of
  // kLowRankRows rows, each [rank, kLowRankRows], the last one filled up.
  void (*add_low_rank)(TensorType type, const uint8_t* b, int64_t rank, const float* u,
                       int64_t u_stride, int64_t n_tokens, float* out, int64_t out_stride,
                       int64_t begin, int64_t end);

  // Output heads. Each token of a batch gets the bits that it gets alone.
  // A row of type F32, F16 or BF16 -> int8 quants [cols rounded up to 32, zero padded].
  void (*compress_row)(TensorType type, const uint8_t* row, int64_t cols, int8_t* q,
                       CoarseRow* out);
  // out[t * out_stride + r] = sum_c w[r, c] * x[t, c], exact, then rounded to a float, for r in
  // [begin, end); w: [rows, 64 * n_groups].
  void (*coarse_matmul)(const int8_t* w, const HeadBatch& x, float* out, int64_t out_stride,
                        int64_t begin, int64_t end);
  // out[t * out_stride + r] = units[t] * sum_c w[r, c] * x[t, c], w of type Q8_0, Q6_K, Q5_0 or
  // Q4_0. scratch: kMatmulScratch bytes, aligned to 64.
  void (*block_matmul)(TensorType type, const uint8_t* w, int64_t row_bytes, int64_t cols,
                       const HeadBatch& x, float* out, int64_t out_stride, int64_t begin,
                       int64_t end, uint8_t* scratch);

  // partials[i] = segments [first, last) of row i, which has a key in the first of them. partials:
  // [n_q, attention_partial(v_stride)]; scratch: kAttentionScratch floats.
  void (*attention)(const AttentionTile& tile, int first_segment, int last_segment, float* partials,
                    float* scratch);
  // out [head_dim] = n partial results of a row, `step` floats apart, together. Overwrites the
  // first.
  void (*merge_attention)(float* partials, int64_t step, int n, int head_dim, int v_stride,
                          float* out);

  // out = x / sqrt(mean(x^2) + eps) * weight
  void (*rms_norm)(const float* x, const float* weight, float eps, float* out, int64_t n);
  void (*silu_mul)(float* gate, const float* up, int64_t n);   // gate = silu(gate) * up
  void (*relu2_mul)(float* gate, const float* up, int64_t n);  // gate = relu(gate)^2 * up
  // gate = gelu(gate) * up, gelu with a hyperbolic tangent in the place of the error function
  void (*gelu_mul)(float* gate, const float* up, int64_t n);
  void (*add)(float* x, const float* y, int64_t n);  // x += y

  // c [m, n] += A [m, k] B [k, n], in the order of sums of kGemmDepth. Rows of c are c_stride
  // apart. scratch: kGemmScratch floats, aligned to 64, private to the calling thread.
  void (*gemm)(const GemmFactor& a, const GemmFactor& b, int64_t m, int64_t n, int64_t k, float* c,
               int64_t c_stride, float* scratch);
  // c [m, end - begin] += A [m, w.rows] W, columns [begin, end) of the weights, which are I2_S;
  // begin is a multiple of 128. What transposes a product in forward: gradients of its input.
  void (*ternary_gemm_t)(const GemmFactor& a, const TernaryMatrix& w, int64_t m, int64_t begin,
                         int64_t end, float* c, int64_t c_stride, float* scratch);
  void (*exp_shifted)(const float* x, float shift, float* out, int64_t n);  // e^(x - shift)
  // One step of AdamW on n elements: values, moments and gradient.
  void (*adamw)(const AdamStep& step, float* w, float* m, float* v, const float* g, int64_t n);
  // Sums in f64 of a fixed order, and what is made of them.
  double (*sum_f64)(const float* x, int64_t n);
  double (*dot_f64)(const float* x, const float* y, int64_t n);
  // The gradient by a row x of RMSNorm, from dy, that by its result: becomes dx, which may be dy,
  // or is added to it.
  void (*norm_backward)(const float* x, const float* weight, float eps, const float* dy, float* dx,
                        bool adds, int64_t n);
  // sums += the row's part of the gradient by the weight; r = 1 / sqrt(mean(x^2) + eps)
  void (*norm_weight_backward)(const float* x, const float* dy, double r, double* sums, int64_t n);
  // Gradients by gate and up from dy, that by silu(gate) * up or relu(gate)^2 * up. d_up may be dy.
  void (*silu_backward)(const float* gate, const float* up, const float* dy, float* d_gate,
                        float* d_up, int64_t n);
  void (*relu2_backward)(const float* gate, const float* up, const float* dy, float* d_gate,
                         float* d_up, int64_t n);
  void (*scale)(float* x, float factor, int64_t n);
  // x = e^(factor x - *largest) with *largest = max(factor x); n > 0. Returns their sum.
  double (*exponentials)(float* x, float factor, int64_t n, float* largest);
  // dp, the gradient by the softmax p of factor x, becomes that by x.
  void (*softmax_backward)(const float* p, float factor, float* dp, int64_t n);
  // out = round(x scale) / scale, half to even, |x scale| < 2^22
  void (*rounded)(const float* x, float scale, float* out, int64_t n);
  // Turns the pairs (a[i], b[i]) by angles, or back.
  void (*rotate)(const float* cos, const float* sin, bool backward, float* a, float* b, int64_t n);

  // For measuring: this kernel's own int8 multiply-add on registers alone, again and again. Returns
  // the operations done, a multiply-add counting as two.
  int64_t (*int8_peak)(int64_t iterations);
};

// What a panel of unpacked rows may take, and the rows that are brought to I2_S for it.
constexpr int64_t kPanelScratch = 256 * 1024, kRepackScratch = 256 * 1024;
constexpr int64_t kMatmulScratch = kPanelScratch + kRepackScratch;
constexpr int kAttentionMaxHeadDim = 512;
constexpr int64_t kAttentionScratch =
    kAttentionRows * (attention_partial(kAttentionMaxHeadDim) + kAttentionChunk);
static_assert(kAttentionSegment % kAttentionChunk == 0);

// The function for a layout.
inline auto matmul_of(const Kernels& kernels, WeightLayout layout) {
  return layout == WeightLayout::kI2S     ? kernels.ternary_matmul
         : layout == WeightLayout::kTrits ? kernels.trit_matmul
                                          : kernels.lut_matmul;
}

// Every kernel of this build, best first; scalar last.
const std::vector<const Kernels*>& all_kernels();
bool supported(const Kernels& kernels);
// Whether a small product in this layout has the bits that scalar gives. The kernels are supported.
bool passes_self_test(const Kernels& kernels, WeightLayout layout);
// The named kernel; empty: BITNET_KERNEL, else the best that this CPU supports. Self-tested against
// scalar the first time. Throws kUsage for a name that does not exist or that this CPU cannot run,
// kInternal if the self-test fails.
const Kernels& select_kernels(const std::string& name = "");

}  // namespace bitnet
