// Texts that several regular languages have in common, some of them turned around.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "grammar/byte_automaton.h"

namespace bitnet {

struct CombinedPart {
  std::unique_ptr<ByteNfa> nfa;  // finished
  int32_t start;                 // of the part that was closed
  bool is_negated;               // every text but those
};

// Texts, that is valid UTF-8, which every part accepts. Throws kUsage beyond the budget.
ByteTable combine(std::vector<CombinedPart> parts, StepBudget& budget);

}  // namespace bitnet
