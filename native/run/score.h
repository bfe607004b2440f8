// How likely given tokens are, without ever holding the logits of more than a few positions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"

namespace bitnet {

struct Score {
  double logprob;     // natural logarithm of the softmax over the tokens of the vocabulary
  bool is_likeliest;  // no other token has a larger logit, nor an equal one a smaller id
};

// For each hidden state [n, n_embd] the score of the token in `targets` [n]. Rows of the head
// beyond the vocabulary take no part. From the thread that owns the model's pool.
std::vector<Score> score_tokens(const Model& model, const float* hidden,
                                std::span<const int32_t> targets);

}  // namespace bitnet
