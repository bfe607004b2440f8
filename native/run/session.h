// A client of the engine with one sequence, one operation at a time, that waits for each: what
// tests and measurements drive.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "run/engine.h"

namespace bitnet {

class Session {
 public:
  // Throws kUsage, kNoMemory.
  Session(std::shared_ptr<Engine> engine, const SequenceOptions& options);

  struct Prefilled {
    int64_t reused, evaluated;
  };
  // Makes `tokens` the sequence: keeps what is known of its beginning, evaluates the rest, at least
  // the last token. all_logits keeps the logits of every evaluated position. Throws kUsage,
  // kAborted.
  Prefilled prefill(std::span<const int32_t> tokens, bool all_logits);

  // Evaluates the token of the previous step, if any, and samples the next one. Throws kUsage (no
  // logits yet, context full), kAborted.
  Sample step();

  // The tokens that follow `tokens`, as the engine samples them without waiting for anybody.
  struct Generated {
    std::vector<int32_t> tokens;
    Event done;
  };
  Generated generate(std::span<const int32_t> tokens, const SamplerParams& params,
                     int64_t max_tokens, bool stop_at_eog = false,
                     std::shared_ptr<const Grammar> grammar = nullptr);

  // Natural logarithms of the probabilities of tokens[from ...], each given all before it.
  std::vector<double> score(std::span<const int32_t> tokens, int64_t from);

  // The same for whole distributions: the logits [n - from, tokens of the vocabulary] of which
  // tokens[from ...] are one each, computed in blocks of `rows` positions.
  std::vector<float> distributions(std::span<const int32_t> tokens, int64_t from, int64_t rows);
  // Of all of `tokens`: [n_embd], or [tokens, n_embd] without pooling.
  std::vector<float> embed(std::span<const int32_t> tokens, Pooling pooling);

  void set_sampling(const SamplerParams& params) {
    sequence_->set_sampling(params, engine_->texts());
  }
  // Ends the running operation, and every later one until clear_abort(), within a step. Safe from
  // any thread.
  void abort();
  void clear_abort() { abort_ = false; }

  // [positions, n_vocab] of the last prefill or step; computed when first asked for.
  const std::vector<float>& logits() { return engine_->logits(*sequence_); }
  const std::vector<int32_t>& tokens() const { return sequence_->table.tokens(); }
  int64_t n_ctx() const { return sequence_->n_ctx; }
  int64_t kv_bytes() const { return sequence_->table.layout().context_bytes(n_ctx()); }
  Model& model() const { return engine_->model(); }
  Engine& engine() const { return *engine_; }

 private:
  // Runs to the end; the tokens it sampled and the last event. Throws what it failed with.
  struct Outcome {
    std::vector<Sample> samples;
    Event done;
  };
  Outcome run(Request request);

  std::shared_ptr<Engine> engine_;
  std::shared_ptr<Sequence> sequence_;
  std::mutex mutex_;
  std::shared_ptr<Operation> running_;
  std::atomic<bool> abort_{false};
};

}  // namespace bitnet
