// The passes of training over one row of documents: forward, and backward through every operation
// in turn. All memory is allocated once, for the longest row.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/aligned.h"
#include "train/linear.h"
#include "train/loss.h"
#include "train/model.h"

namespace bitnet {

constexpr int32_t kIgnoredLabel = -100;

// Documents side by side; documents[i] is where one begins, the first at 0.
struct TrainRow {
  std::vector<int32_t> ids, labels, documents;

  int64_t size() const { return static_cast<int64_t>(ids.size()); }
  int64_t n_labels() const;
};

// Losses of a row: of each document the sum in f64.
using DocumentLosses = std::vector<double>;

class TrainGraph {
 public:
  TrainGraph(TrainModel& model, Compute& compute, const TrainOptions& options);

  // Asked before each layer; true: stop.
  using Stopped = std::function<bool()>;

  // Losses of the labelled positions, and gradients of `weight` times their sum, added to those of
  // the parameters. Returns false if it was stopped, which leaves some gradients added.
  bool backward(const TrainRow& row, const DropoutKey& key, float weight, const Stopped& stopped,
                DocumentLosses& losses);
  // The losses alone.
  bool evaluate(const TrainRow& row, const Stopped& stopped, DocumentLosses& losses);
  // out [row.size(), vocabulary]
  void logits(const TrainRow& row, float* out);

 private:
  // What a layer keeps for its backward pass, [rows, ...] each.
  struct Kept {
    AlignedArray<float> q, k, v, attended, mid, gate, up;  // mid: after the attention part
    AlignedArray<float> lora[kLayerMatrices];              // empty without adapter
  };
  Kept make_kept(const TrainOptions& options) const;

  void begin(const TrainRow& row, const DropoutKey& key);
  bool run_layers(const Stopped& stopped, bool keeps);
  void forward_layer(const TrainLayer& layer, const float* x, Kept& kept, float* out);
  void forward_attention(const TrainLayer& layer, const float* x, Kept& kept);
  void forward_ffn(const TrainLayer& layer, Kept& kept, float* out);
  // dx: the gradient by the layer's result, becomes that by its input if is_wanted.
  void backward_layer(const TrainLayer& layer, const float* x, const Kept& kept, bool is_wanted);
  void backward_ffn(const TrainLayer& layer, const Kept& kept, bool is_wanted);
  void backward_attention(const TrainLayer& layer, const float* x, const Kept& kept,
                          bool is_wanted);
  void multiply(const TrainLinear& w, Kept& kept, float* y);
  void multiply_backward(const TrainLinear& w, const Kept& kept, const float* dy, float* dx);
  // out [n, cols] = the normalized rows of x; x itself without a norm.
  const float* normalize(const NormWeight& weight, const float* x, int64_t cols, float* out);
  // d becomes the gradient by the input of a norm, of x, from that by its result.
  void norm_gradients(const NormWeight& weight, const float* x, const float* dy, float* dx,
                      bool adds, int64_t cols);
  void head_losses(const TrainRow& row, float weight, bool with_gradients, DocumentLosses& losses);
  void pick_positions(const TrainRow& row);
  void head_backward();
  Kept& kept_of(int64_t layer);
  float* input_of(int64_t layer);
  bool trains(const TrainLayer& layer, std::initializer_list<int> matrices) const;
  void zero(float* x, int64_t cols);

  TrainModel& model_;
  Compute& compute_;
  const Config& config_;
  const bool is_full_, checkpointing_;
  const int64_t lowest_;  // layer with a backward pass
  LossHead head_;
  LinearInput input_;
  std::vector<Kept> kept_;                   // of the layers from lowest_ on, or one for all
  std::vector<AlignedArray<float>> inputs_;  // of the same layers
  // [longest, n_embd]
  AlignedArray<float> stream_, normed_, d_normed_, dx_, picked_;
  // [longest, wide] and [longest, key columns]
  AlignedArray<float> wide_[4], dk_, dv_;
  AlignedArray<float> spare_;    // [longest, widest], if something asks for it
  AlignedArray<float> lora_dy_;  // [longest, rank]

  // Of the row that is computed.
  int64_t n_ = 0;
  std::vector<int32_t> ids_;
  std::vector<int64_t> ends_;
  DropoutKey key_;
  std::vector<int64_t> positions_, picked_ends_;  // whose logits count, and where documents end
  std::vector<int32_t> targets_;
  std::vector<float> losses_;
};

}  // namespace bitnet
