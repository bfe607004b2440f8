// Sampling under a grammar: which tokens the sampler may choose from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "grammar/token_grammar.h"
#include "run/sampler.h"

namespace bitnet {

// So many of the largest logits are looked at one by one before a grammar is asked for all tokens
// that it allows.
constexpr int64_t kGrammarLogits = 512;

// The tokens that the grammar allows, as far as they decide what the sampler chooses: with them
// alone it gives the same as with all that are allowed. Logits that are not known are -infinity;
// nullopt: too many of those that decide are not known. `is_whole`: all are known.
std::optional<std::vector<int32_t>> choose_allowed(TokenGrammar& grammar, const Sampler& sampler,
                                                   std::span<const float> logits, bool is_whole);

}  // namespace bitnet
