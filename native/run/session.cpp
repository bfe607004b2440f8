#include "run/session.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace bitnet {

namespace {

int64_t checked_context(const Model& model, int64_t n_ctx) {
  if (n_ctx < 1 || n_ctx > (int64_t{1} << 24)) {
    throw Error(ErrorCode::kUsage, "the context size must be between 1 and 16777216 tokens");
  }
  (void)model;
  return n_ctx;
}

}  // namespace

Session::Session(std::shared_ptr<Model> model, int64_t n_ctx, CacheType cache_type)
    : model_(std::move(model)),
      n_ctx_(checked_context(*model_, n_ctx)),
      forward_(*model_, n_ctx_, cache_type),
      sampler_({}) {}

Session::Prefilled Session::prefill(std::span<const int32_t> tokens, bool all_logits) {
  const int64_t n = static_cast<int64_t>(tokens.size());
  if (n == 0) throw Error(ErrorCode::kUsage, "the prompt has no tokens");
  if (n > n_ctx_) {
    throw Error(ErrorCode::kUsage, "the prompt has " + std::to_string(n) +
                                       " tokens, more than the context of " +
                                       std::to_string(n_ctx_));
  }
  for (const int32_t id : tokens) {
    if (id < 0 || id >= model_->config.n_vocab) {
      throw Error(ErrorCode::kUsage, "token id " + std::to_string(id) +
                                         " is outside the vocabulary of " +
                                         std::to_string(model_->config.n_vocab));
    }
  }
  int64_t reused = 0;
  const int64_t most = std::min<int64_t>(n - 1, static_cast<int64_t>(tokens_.size()));
  while (reused < most && tokens_[reused] == tokens[reused]) ++reused;
  tokens_.resize(static_cast<size_t>(reused));
  pending_.reset();
  evaluate(tokens.subspan(static_cast<size_t>(reused)), all_logits);
  return {reused, n - reused};
}

// Appends tokens to the sequence. After an abort the sequence is what was evaluated completely.
void Session::evaluate(std::span<const int32_t> tokens, bool all_logits) {
  hidden_.clear();
  logits_.clear();
  while (!tokens.empty()) {
    const auto batch = tokens.first(std::min<size_t>(tokens.size(), kBatchTokens));
    const bool last = batch.size() == tokens.size();
    const auto wanted = all_logits ? Forward::Hidden::kAll
                        : last     ? Forward::Hidden::kLast
                                   : Forward::Hidden::kNone;
    if (!forward_.run(batch, static_cast<int64_t>(tokens_.size()), wanted, hidden_, abort_)) {
      hidden_.clear();
      throw Error(ErrorCode::kAborted, "stopped");
    }
    tokens_.insert(tokens_.end(), batch.begin(), batch.end());
    tokens = tokens.subspan(batch.size());
  }
}

Sample Session::step() {
  if (pending_) {
    if (static_cast<int64_t>(tokens_.size()) >= n_ctx_) {
      throw Error(ErrorCode::kUsage,
                  "the context of " + std::to_string(n_ctx_) + " tokens is full");
    }
    const int32_t id = *pending_;
    evaluate({&id, 1}, false);
    pending_.reset();
  }
  if (hidden_.empty()) {
    throw Error(ErrorCode::kUsage, "there is nothing to continue: prefill first");
  }
  Sample sample = sampler_.sample(logits_to_sample());
  sampler_.accept(sample.id);
  pending_ = sample.id;
  return sample;
}

const std::vector<float>& Session::logits() {
  if (logits_.empty() && !hidden_.empty()) {
    const size_t n = hidden_.size() / static_cast<size_t>(model_->config.n_embd);
    logits_.resize(n * static_cast<size_t>(model_->config.n_vocab));
    std::lock_guard<std::mutex> lock(model_->compute);
    model_->head->all(hidden_.data(), static_cast<int64_t>(n), logits_.data());
  }
  return logits_;
}

// A sampler that looks only at the largest logits gets them without computing the others. Rows of
// the head that have no token, which pad some models to a round number, are never sampled.
std::span<const float> Session::logits_to_sample() {
  const int64_t k = sampler_.n_needed();
  const size_t n_vocab = static_cast<size_t>(model_->config.n_vocab);
  const size_t n_tokens = static_cast<size_t>(model_->tokenizer.n_vocab());
  if (k == 0 || !logits_.empty() || !model_->head->is_compact() || n_tokens < n_vocab) {
    return std::span(logits()).last(n_vocab).first(n_tokens);
  }
  top_logits_.resize(n_vocab);
  const float* last = hidden_.data() + hidden_.size() - model_->config.n_embd;
  std::vector<int32_t> adjusted = sampler_.adjusted_ids();
  std::erase_if(adjusted,
                [n_vocab](int32_t id) { return id < 0 || static_cast<size_t>(id) >= n_vocab; });
  std::lock_guard<std::mutex> lock(model_->compute);
  const HeadQuery query{last, k, adjusted, top_logits_.data()};
  model_->head->top({&query, 1});
  return top_logits_;
}

void Session::set_sampling(const SamplerParams& params) {
  Sampler sampler(params, token_texts_of(model_->tokenizer));
  for (const int32_t id : tokens_) sampler.accept(id);
  sampler_ = std::move(sampler);
}

}  // namespace bitnet
