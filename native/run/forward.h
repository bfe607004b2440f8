// The forward pass of every supported family over a batch of tokens, and the state it needs: KV
// cache and scratch.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned.h"
#include "model/model.h"

namespace bitnet {

// Tokens evaluated at once; bounds the scratch memory.
constexpr int64_t kBatchTokens = 256;

enum class CacheType { kF16, kQ8 };

// Keys and values of one sequence, per layer and key/value head: f16, or int8 with one f32 factor
// for each key and each value of a head (largest magnitude / 127). Keys are stored in groups of 16
// with the positions side by side, [position / 16, head_dim, 16], so that scores need no horizontal
// sums; values as [position, v_stride]; then, if int8, the factors of the keys and of the values.
// Pages are taken from the OS only when positions are first used.
class KvCache {
 public:
  KvCache(const Config& config, int64_t n_ctx, CacheType type);  // throws kNoMemory

  // Points a tile at a head of a layer.
  void fill(AttentionTile& tile, int64_t layer, int64_t head) const;
  int64_t v_stride() const { return v_stride_; }
  int64_t n_bytes() const { return n_bytes_; }
  CacheType type() const { return type_; }
  // k and v [head_dim] of one head at one position, rounded.
  void store(int64_t layer, int64_t head, int64_t position, const float* k, const float* v);

 private:
  template <class T>
  struct Head {
    T *k, *v;
    float *k_scale, *v_scale;
  };
  template <class T>
  Head<T> head(int64_t layer, int64_t index) const;

  CacheType type_;
  int64_t n_heads_, head_dim_, v_stride_, positions_, head_bytes_, n_bytes_;
  HugeArray data_;
};

class Forward {
 public:
  Forward(Model& model, int64_t n_ctx, CacheType cache_type);

  enum class Hidden { kNone, kLast, kAll };

  // Evaluates tokens (at most kBatchTokens) at positions [position, position + n), which overwrites
  // the cache there. Appends the normalized hidden states [1 or n, n_embd] that the head turns into
  // logits. Returns false if `abort` was raised; the cache then holds nothing useful from
  // `position` on. Takes the model's pool for the time of the call.
  bool run(std::span<const int32_t> tokens, int64_t position, Hidden wanted,
           std::vector<float>& hidden, const std::atomic<bool>& abort);

  const KvCache& cache() const { return cache_; }

 private:
  void embed(std::span<const int32_t> tokens);
  void rope_tables(int64_t n, int64_t position);
  void attention_block(const Layer& layer, int64_t index, int64_t n, int64_t position);
  void ffn_block(const Layer& layer, int64_t n);
  void rotate(float* head, int64_t token) const;
  void attend(int64_t index, int64_t n, int64_t position);
  void attend_tiles(int64_t index, int64_t n, int64_t position);
  void attend_segments(int64_t index, int64_t n, int64_t position);
  struct Queries;
  void fill_queries(int64_t index, int64_t head, int64_t first, int64_t n, int64_t position,
                    Queries& to) const;
  // before(t), then rms_norm (skipped if weight is null) and quantization of row t of `x`, for n
  // rows, into normed_ and activations_.
  template <class Before>
  void prepare(const float* x, const float* weight, int64_t cols, int64_t n, bool quantized,
               Before&& before);
  // Several layers that read the same prepared input, in one job: out[i] is [n, layers[i]->rows].
  struct Product {
    const Linear* layer;
    float* out;
  };
  void multiply(std::span<const Product> products, int64_t n);
  void make_tables();
  void final_norm(int64_t first, int64_t n, std::vector<float>& hidden);

  Model& model_;
  const Config& config_;
  const Kernels& kernels_;
  KvCache cache_;
  // Scratch of a batch, [kBatchTokens, ...]:
  AlignedArray<float> x_, normed_, q_, k_, v_, attended_, gate_, up_, cos_, sin_, scales_;
  AlignedArray<int8_t> quantized_;
  AlignedArray<int32_t> sums_;
  AlignedArray<TokenPairs> pairs_;  // if the kernels want them
  AlignedArray<uint8_t> tables_;    // of look-up layouts, [kFewTokens, ...]
  QuantizedBatch activations_;
  FloatInput float_input_;
  int64_t normed_stride_ = 0;
  AlignedArray<uint8_t> thread_scratch_;  // for products and attention, per thread
  HugeArray partials_;                    // of attend_segments
  uint8_t* scratch(int thread) const;
};

}  // namespace bitnet
