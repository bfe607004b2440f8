// "Don't repeat yourself": makes tokens that go on with a repetition less likely.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "run/candidates.h"
#include "run/sampler_params.h"

namespace bitnet {

// What a parameter that is a text asks of the vocabulary.
struct TokenTexts {
  int32_t n = 0;                                                 // ids are below
  std::function<std::string(int32_t)> text;                      // control tokens have theirs, too
  std::function<std::vector<int32_t>(std::string_view)> encode;  // nothing is added to the text
};

class Tokenizer;
// Refers to `tokenizer`.
TokenTexts token_texts_of(const Tokenizer& tokenizer);

// Texts after which a repetition begins anew: names and quotes may come again and again.
class SequenceBreakers {
 public:
  SequenceBreakers() = default;
  SequenceBreakers(const std::vector<std::string>& breakers, const TokenTexts& texts);
  // How many of the last n tokens come after the last breaker.
  int64_t tokens_since(std::span<const int32_t> history, int64_t n) const;
  // Whether a breaker stands in this token's text.
  bool has_whole(int32_t id) const;

 private:
  // Tokens in whose text a breaker begins, each with the tokens of the rest of it.
  std::unordered_multimap<int32_t, std::vector<int32_t>> rests_;
};

// Where the last tokens of `history` have stood before, a token that followed them then is the less
// likely the more of them there are. `history` is as long as dry_penalty_last_n at most.
void append_dry(std::span<const int32_t> history, const SamplerParams& params,
                const SequenceBreakers& breakers, std::vector<Adjustment>& out);

}  // namespace bitnet
