// How likely given tokens are, without ever holding the logits of more than a few positions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"

namespace bitnet {

constexpr int64_t kMaxScoreTop = 20;

struct TokenScore {
  int32_t id;
  double logprob;
};

struct Score {
  double logprob;     // natural logarithm of the softmax over the tokens of the vocabulary
  bool is_likeliest;  // no other token has a larger logit, nor an equal one a smaller id
  std::vector<TokenScore> top;  // the n_top likeliest, best first, of equal ones the smaller id
};

// For each hidden state [n, n_embd] the score of the token in `targets` [n]. n_top: 0 to
// kMaxScoreTop. Rows of the head beyond the vocabulary take no part. From the thread that owns the
// model's pool.
std::vector<Score> score_tokens(const Model& model, const float* hidden,
                                std::span<const int32_t> targets, int64_t n_top);

}  // namespace bitnet
