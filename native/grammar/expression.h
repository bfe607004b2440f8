// A grammar as it is written: what front ends make and the compiler takes apart.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "grammar/code_points.h"

namespace bitnet {

struct Expression {
  enum class Kind { kText, kCharacters, kSequence, kChoice, kRepeat, kRule };
  Kind kind;
  std::string text{};            // of kText: bytes
  CodePointSet characters{};     // of kCharacters: one of them
  std::vector<int32_t> parts{};  // of kSequence and kChoice; kRepeat has one
  int64_t least = 0;             // of kRepeat
  int64_t most = 0;              // ... kUnbounded: no limit
  int32_t rule = 0;              // of kRule
};

constexpr int64_t kUnbounded = -1;

struct Rule {
  std::string name;
  int32_t expression = -1;  // -1: not defined
};

struct GrammarText {
  std::vector<Expression> expressions;
  std::vector<Rule> rules;
  int32_t root = 0;  // the rule that a text must be

  int32_t add(Expression expression) {
    expressions.push_back(std::move(expression));
    return static_cast<int32_t>(expressions.size()) - 1;
  }
};

// What a grammar from outside may cost. Front ends and the compiler throw kUsage beyond.
constexpr size_t kMaxGrammarBytes = 256 << 10;
constexpr size_t kMaxRules = 10'000;
constexpr int kMaxGrammarDepth = 64;         // of groups within groups
constexpr int64_t kMaxRepeats = 100'000;     // of the numbers in {m,n}
constexpr size_t kMaxAutomaton = 1'000'000;  // states
constexpr size_t kMaxSlots = 1'000'000;      // symbols of all productions

// The syntax of llama.cpp's grammars: rules `name ::= ...` with "text", [classes], ., ( ), |, *, +,
// ?, {m,n} and # comments. Throws kUsage with line and column.
GrammarText parse_gbnf(const std::string& text);

}  // namespace bitnet
