// One sequence of tokens on a model: what is in its KV cache, its logits, its sampler. One
// operation at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "run/forward.h"
#include "run/sampler.h"

namespace bitnet {

class Session {
 public:
  // n_ctx: tokens the cache holds. Throws kUsage, kNoMemory.
  Session(std::shared_ptr<Model> model, int64_t n_ctx, CacheType cache_type = CacheType::kF16);

  struct Prefilled {
    int64_t reused, evaluated;
  };
  // Makes `tokens` the sequence: keeps the longest common prefix in the cache, evaluates the rest,
  // at least the last token. all_logits keeps the logits of every evaluated position. Throws
  // kUsage, kAborted.
  Prefilled prefill(std::span<const int32_t> tokens, bool all_logits);

  // Evaluates the token of the previous step, if any, and samples the next one. Throws kUsage (no
  // logits yet, context full), kAborted.
  Sample step();

  void set_sampling(const SamplerParams& params);
  // Ends the running operation at the next layer. Safe from any thread.
  void abort() { abort_ = true; }
  // Called before an operation is started, so that an abort() between start and run is not lost.
  void clear_abort() { abort_ = false; }

  // [positions, n_vocab] of the last prefill or step; computed when first asked for.
  const std::vector<float>& logits();
  const std::vector<int32_t>& tokens() const { return tokens_; }
  int64_t n_ctx() const { return n_ctx_; }
  int64_t kv_bytes() const { return forward_.cache().n_bytes(); }
  Model& model() const { return *model_; }

 private:
  void evaluate(std::span<const int32_t> tokens, bool all_logits);
  std::span<const float> logits_to_sample();

  std::shared_ptr<Model> model_;
  int64_t n_ctx_;
  Forward forward_;
  Sampler sampler_;
  std::vector<int32_t> tokens_;     // in the cache
  std::optional<int32_t> pending_;  // sampled, not evaluated
  std::vector<float> hidden_;       // [positions, n_embd] of the last evaluation
  std::vector<float> logits_;       // all of hidden_'s logits, or empty
  std::vector<float> top_logits_;   // of the last position, as far as the sampler needs them
  std::atomic<bool> abort_{false};
};

}  // namespace bitnet
