#include "session.h"

#include <algorithm>
#include <string>

#include "error.h"

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

Session::Session(std::shared_ptr<Model> model, int64_t n_ctx)
    : model_(std::move(model)),
      n_ctx_(checked_context(*model_, n_ctx)),
      forward_(*model_, n_ctx_),
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
  logits_.clear();
  while (!tokens.empty()) {
    const auto batch = tokens.first(std::min<size_t>(tokens.size(), kBatchTokens));
    const bool last = batch.size() == tokens.size();
    const auto wanted = all_logits ? Forward::Logits::kAll
                        : last     ? Forward::Logits::kLast
                                   : Forward::Logits::kNone;
    if (!forward_.run(batch, static_cast<int64_t>(tokens_.size()), wanted, logits_, abort_)) {
      logits_.clear();
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
  const size_t n_vocab = static_cast<size_t>(model_->config.n_vocab);
  if (logits_.size() < n_vocab)
    throw Error(ErrorCode::kUsage, "there is nothing to continue: prefill first");
  Sample sample = sampler_.sample(std::span(logits_).last(n_vocab));
  sampler_.accept(sample.id);
  pending_ = sample.id;
  return sample;
}

void Session::set_sampling(const SamplerParams& params) {
  Sampler sampler(params);
  for (const int32_t id : tokens_) sampler.accept(id);
  sampler_ = std::move(sampler);
}

}  // namespace bitnet
