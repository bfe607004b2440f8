// A model in training: frozen weights, ternary copies of a master, and all parameters.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "train/attention.h"
#include "train/compute.h"
#include "train/embedding.h"
#include "train/linear.h"
#include "train/optimizer.h"
#include "train/source.h"

namespace bitnet {

enum class TrainMode : uint8_t { kLora, kFull };

struct AdapterOptions {
  int64_t rank = 0;
  float alpha = 0;
  bool rslora = false;  // the product is scaled by alpha / sqrt(rank) instead of alpha / rank
  float dropout = 0;
  bool matrices[kLayerMatrices] = {};  // that get an adapter
  std::vector<bool> layers;            // likewise; empty: all
};

struct TrainOptions {
  TrainMode mode = TrainMode::kLora;
  AdapterOptions adapter;      // of kLora
  uint64_t seed = 0;           // of initial adapters and dropout
  int64_t max_length = 0;      // tokens of a row
  bool checkpointing = false;  // keep only the inputs of layers
  int n_threads = 0;           // 0: physical_cores()
  std::string kernel;          // empty: select_kernels() decides
};

// Whether a matrix of a layer gets an adapter.
bool has_adapter(const TrainOptions& options, int64_t layer, int matrix);
// The lowest layer that needs a backward pass: the lowest one with an adapter, or 0.
int64_t lowest_layer(const TrainOptions& options, int64_t n_layers);
// Rows are computed side by side as far as they fit so many tokens: products of more rows are
// divided among threads with less loss. One that is longer is computed alone. has_head: apart from
// the embedding.
int64_t tokens_at_once(const TrainOptions& options, const Config& config, bool has_head);
// Whether gradients by logits wait for those of the embedding that the head is: row by row, first
// what a row adds through the head, then through its tokens. Else rows are computed one by one.
bool keeps_logits(const TrainOptions& options, const Config& config, bool has_head);
// Throws kUsage for options that no model takes.
void check_options(const TrainOptions& options, const Config& config);

// The weight of a norm: trained, or frozen. False if the family has no such norm.
struct NormWeight {
  Parameter* parameter = nullptr;
  AlignedArray<float> frozen;

  const float* data() const { return parameter ? parameter->value.data() : frozen.data(); }
  explicit operator bool() const { return data() != nullptr; }
};

struct TrainLayer {
  NormWeight attn_norm, attn_sub_norm, ffn_norm, ffn_sub_norm;
  TrainLinear linear[kLayerMatrices];
};

// How many weights of a matrix are -1, 0 and 1.
struct WeightCounts {
  int64_t minus = 0, zero = 0, plus = 0;
};

class TrainModel {
 public:
  // Reads the weights. Throws kUnsupported (no master for kFull, weights that are not ternary),
  // kBadFile, kAborted.
  TrainModel(TrainSource& source, const TrainOptions& options, Compute& compute);
  TrainModel(const TrainModel&) = delete;

  // Makes the ternary weights of a master anew, if its values have changed.
  void ternarize();
  void set_changed() { is_changed_ = true; }
  // Of the weights as they were ternarized last.
  WeightCounts count(const TrainLinear& w) const;

  const Config config;
  Parameters parameters;
  std::vector<TrainLayer> layers;
  EmbeddingRows embedding;
  EmbeddingRows own_head;  // empty if the embedding is the head
  NormWeight output_norm;
  AttentionShape attention{};  // refers to rope_

  int64_t n_trained() const;  // elements
  int64_t n_total() const;    // of the model and its adapters
  const EmbeddingRows& head() const { return own_head.rows > 0 ? own_head : embedding; }

 private:
  friend class ModelReader;
  void ternarize(TrainLinear& w);

  Compute& compute_;
  std::unique_ptr<RopeTable> rope_;
  bool is_changed_ = false;
};

}  // namespace bitnet
