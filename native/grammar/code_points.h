// Sets of Unicode code points, and the bytes of UTF-8 that spell them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "grammar/byte_automaton.h"

namespace bitnet {

constexpr uint32_t kMaxCodePoint = 0x10FFFF;

struct CodePointRange {
  uint32_t least, most;
};
// Ascending, not touching.
using CodePointSet = std::vector<CodePointRange>;

// Any order, overlaps allowed. Surrogates, which are no characters, are left out.
CodePointSet make_set(std::vector<CodePointRange> ranges);
CodePointSet complement(const CodePointSet& set);

std::vector<ByteSequence> spell(const CodePointSet& set);

}  // namespace bitnet
