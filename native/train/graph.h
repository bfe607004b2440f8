// The passes of training over rows of documents side by side: forward, and backward through every
// operation in turn. All memory is allocated once, for as many tokens as are computed at once.
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

// Losses of rows: of each document the sum in f64.
using DocumentLosses = std::vector<double>;

class TrainGraph {
 public:
  TrainGraph(TrainModel& model, Compute& compute, const TrainOptions& options);

  // How many of the first rows go into one pass; at least one.
  size_t n_at_once(std::span<const TrainRow> rows) const;

  // Asked before each layer; true: stop.
  using Stopped = std::function<bool()>;

  // Losses of the labelled positions, and gradients of `weight` times their sum, added to those of
  // the parameters. Returns false if it was stopped, which leaves some gradients added.
  bool backward(std::span<const TrainRow> rows, const DropoutKey& key, float weight,
                const Stopped& stopped, DocumentLosses& losses);
  // The losses alone.
  bool evaluate(std::span<const TrainRow> rows, const Stopped& stopped, DocumentLosses& losses);
  // out [row.size(), vocabulary]
  void logits(const TrainRow& row, float* out);

 private:
  // What a layer keeps for its backward pass, [rows, ...] each.
  struct Kept {
    AlignedArray<float> q, k, v, attended, mid, gate, up;  // mid: after the attention part
    AlignedArray<float> lora[kLayerMatrices];              // empty without adapter
  };
  Kept make_kept(const TrainOptions& options) const;

  void begin(std::span<const TrainRow> rows, const DropoutKey& key);
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
  void multiply_backward(const TrainLinear& w, const Kept& kept, const float* dy, float* dx,
                         bool dx_adds);
  void add_rows(const float* x, const float* y, float* out, int64_t cols);
  // out [n, cols] = the normalized rows of x; x itself without a norm.
  const float* normalize(const NormWeight& weight, const float* x, int64_t cols, float* out);
  // d becomes the gradient by the input of a norm, of x, from that by its result.
  void norm_gradients(const NormWeight& weight, const float* x, const float* dy, float* dx,
                      bool adds, int64_t cols);
  void head_losses(std::span<const TrainRow> rows, float weight, bool with_gradients,
                   DocumentLosses& losses);
  void pick_positions(std::span<const TrainRow> rows);
  void normalize_picked();
  void head_backward();
  // The gradients of the embedding, which may be the head.
  void embedding_backward();
  Kept& kept_of(int64_t layer);
  float* input_of(int64_t layer);
  bool trains(const TrainLayer& layer, std::initializer_list<int> matrices) const;

  TrainModel& model_;
  Compute& compute_;
  const Config& config_;
  const bool is_full_, checkpointing_;
  const int64_t lowest_;  // layer with a backward pass
  const bool keeps_logits_;
  const int64_t most_tokens_;  // of a pass
  LossHead head_;
  LinearInput input_;
  std::vector<Kept> kept_;                   // of the layers from lowest_ on, or one for all
  std::vector<AlignedArray<float>> inputs_;  // of the same layers
  // Of most_tokens_ each. [tokens, n_embd]
  AlignedArray<float> stream_, normed_, d_normed_, dx_, picked_;
  // [tokens, wide] and [tokens, key columns]
  AlignedArray<float> wide_[4], dk_, dv_;
  AlignedArray<float> spare_;    // [tokens, widest], if something asks for it
  AlignedArray<float> lora_dy_;  // [tokens, rank]

  // Of the rows that are computed. Ends: of documents, of rows.
  int64_t n_ = 0;
  std::vector<int32_t> ids_;
  std::vector<int64_t> ends_, row_ends_;
  DropoutKey key_;
  // Positions whose logits count, and where documents and rows end among them.
  std::vector<int64_t> positions_, picked_ends_, picked_row_ends_;
  std::vector<int32_t> targets_;
  std::vector<float> losses_;
};

}  // namespace bitnet
