// A grammar as it is written: what front ends make and the compiler takes apart.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "grammar/code_points.h"

namespace bitnet {

struct Expression {
  enum class Kind { kText, kCharacters, kSequence, kChoice, kRepeat, kRule, kBoth, kNot };
  Kind kind;
  std::string text{};         // of kText: bytes
  CodePointSet characters{};  // of kCharacters: one of them
  // Of kSequence, kChoice and kBoth, which is texts of all of them; kRepeat has one, and kNot,
  // which is texts that are none of it.
  std::vector<int32_t> parts{};
  int64_t least = 0;  // of kRepeat
  int64_t most = 0;   // ... kUnbounded: no limit
  int32_t rule = 0;   // of kRule
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
constexpr size_t kMaxMadeGrammarBytes = 4 << 20;  // of a text that a front end made
constexpr size_t kMaxRules = 10'050;         // a schema's 10,000 and those that all schemas share
constexpr int kMaxGrammarDepth = 64;         // of groups within groups
constexpr int64_t kMaxRepeats = 100'000;     // of the numbers in {m,n}
constexpr size_t kMaxAutomaton = 1'000'000;  // states
constexpr size_t kMaxSlots = 1'000'000;      // symbols of all productions
constexpr int64_t kMaxCompileSteps = 20'000'000;  // about 0.2 s
constexpr size_t kMaxAutomatonBytes = 24 << 20;   // of the states that one text makes

// The syntax of llama.cpp's grammars: rules `name ::= ...` with "text", [classes], ., ( ), |, *, +,
// ?, {m,n} and # comments. Beyond it, a & b is what is both, and ~a any text that is not a; both
// need parts that do not refer to themselves. Throws kUsage with line and column.
GrammarText parse_gbnf(const std::string& text, size_t max_bytes = kMaxGrammarBytes);

}  // namespace bitnet
