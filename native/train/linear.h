// A linear layer in training: int8 activations per token, ternary weights, an adapter beside them.
// Gradients pass straight through rounding, clipping and both scales.
#pragma once

#include <cstdint>
#include <span>

#include "base/aligned.h"
#include "train/compute.h"

namespace bitnet {

// A tensor that is trained, or one of its parts: [rows, cols].
struct Parameter;

// y += scaling (B (A x)), A [rank, cols], B [rows, rank].
struct TrainAdapter {
  Parameter* a = nullptr;
  Parameter* b = nullptr;
  int64_t rank = 0;
  float scaling = 0;
  float dropout = 0;  // share of x that is zeroed; what is kept grows by 1 / (1 - dropout)
};

struct TrainLinear {
  int64_t rows = 0, cols = 0;
  TernaryMatrix weights;           // what forward and dx multiply with
  Parameter* master = nullptr;     // null: frozen
  TrainAdapter adapter;            // null: none
  uint64_t id = 0;                 // of the module, layer by layer: keys dropout
  AlignedArray<uint8_t> codes;     // memory of the weights
  AlignedArray<float> row_scales;  // likewise, where rows have their own
};

// Where the tokens of a pass come from: keys dropout. row: the first one. active: false in
// evaluation.
struct DropoutKey {
  uint64_t seed = 0, step = 0, row = 0;
  bool active = false;
};

// The input of linear layers, x [n, cols], and its int8 rows. The arrays hold the tokens of the
// largest pass in the widest layer.
class LinearInput {
 public:
  LinearInput(Compute& compute, int64_t most_tokens, int64_t widest);
  static int64_t bytes(const Kernels& kernels, int64_t most_tokens, int64_t widest);

  // Where the rows of documents end whose tokens come; must stay.
  void set_rows(std::span<const int64_t> ends) { row_ends_ = ends; }
  // x must stay. is_quantized: whether anybody asks for the int8 rows.
  void set(const float* x, int64_t cols, bool is_quantized = true);

  const float* x() const { return x_; }
  int64_t cols() const { return cols_; }
  int64_t n() const { return row_ends_.back(); }
  std::span<const int64_t> row_ends() const { return row_ends_; }
  // Rows [begin, begin + n), for kernels.
  QuantizedBatch part(int64_t begin, int64_t n) const;
  // out [n, cols] = the quantized rows as floats.
  void dequantize(float* out) const;

 private:
  Compute& compute_;
  const float* x_ = nullptr;
  std::span<const int64_t> row_ends_;
  int64_t cols_ = 0, stride_ = 0;
  AlignedArray<int8_t> quantized_;
  AlignedArray<float> scales_;
  AlignedArray<int32_t> sums_;
  AlignedArray<TokenPairs> pairs_;
};

// y [n, rows] of the input. lora [n, rank]: kept for backward, scaling (A x); null without adapter.
// spare [n, cols] holds the input after dropout.
void linear_forward(Compute& compute, const TrainLinear& w, const LinearInput& input,
                    const DropoutKey& key, float* y, float* lora, float* spare);

// Gradients given dy [n, rows]: adds those of the adapter and of the master to theirs, and that of
// the input to dx [n, cols] unless it is null; or dx becomes that of the input unless dx_adds.
// lora, spare: as above; the latter also holds the quantized rows. lora_dy: scratch, [n, rank].
struct LinearBackward {
  const float* dy;
  const float* lora;
  float* dx;
  bool dx_adds;
  float* spare;
  float* lora_dy;
};
void linear_backward(Compute& compute, const TrainLinear& w, const LinearInput& input,
                     const DropoutKey& key, const LinearBackward& arrays);

}  // namespace bitnet
