// How the hidden states of a text become one vector.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"

namespace bitnet {

// Takes the hidden states of one text as steps compute them.
class PooledStates {
 public:
  // Of n_tokens states of n_embd numbers.
  PooledStates(Pooling pooling, int64_t n_tokens, int64_t n_embd)
      : pooling_(pooling), n_tokens_(n_tokens), n_embd_(n_embd) {}

  // Whether the state of this token is needed.
  bool wants(int64_t position) const;
  // The needed states [n, n_embd] in their order. Throws std::bad_alloc.
  void add(std::span<const float> states);
  // [n_embd], or [n_tokens, n_embd] without pooling.
  std::vector<float> take();

 private:
  const Pooling pooling_;
  const int64_t n_tokens_, n_embd_;
  std::vector<double> sum_;  // kMean: [n_embd], added in the order of the tokens, however cut
  std::vector<float> kept_;  // of the others
};

}  // namespace bitnet
