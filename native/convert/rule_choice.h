// The first pass over a source of ternary weights: the one scale of its codes, or the rule that
// turns its floats into codes.
#pragma once

#include <vector>

#include "convert/row_loop.h"
#include "convert/source_rows.h"
#include "formats/ternarize.h"

namespace bitnet {

struct RuleChoice {
  TernaryRule rule{};
  std::vector<RowMagnitude> magnitudes;  // of the rows of a float source
};

// Throws kUnsupported if rows differ in scale, or if floats are not ternary and not declared so.
RuleChoice choose_rule(const SourceRows& source, RowLoop& loop);

}  // namespace bitnet
