// A grammar made ready to be matched. What of it is regular becomes automata of bytes (terminals);
// only what refers to itself is left to a context-free grammar over them. The language is exactly
// what is written: where two terminals can end a text at different places, both are followed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "grammar/byte_automaton.h"
#include "grammar/expression.h"

namespace bitnet {

class Grammar {
 public:
  // Throws kUsage: too large, a root that no text matches.
  explicit Grammar(const GrammarText& text);
  static std::shared_ptr<const Grammar> from_gbnf(const std::string& text,
                                                  size_t max_bytes = kMaxGrammarBytes);

  struct Slot {
    enum class Kind : uint8_t { kNonterminal, kTerminal, kEnd };
    Kind kind;
    int32_t index;  // of a kEnd: the nonterminal that ends
  };
  struct Terminal {
    int32_t start;  // in nfa(); -1: it matches no text
    bool is_nullable;
  };

  const ByteNfa& nfa() const { return nfa_; }
  const std::vector<Terminal>& terminals() const { return terminals_; }
  // The slots of all productions, each with a kEnd behind it.
  const std::vector<Slot>& slots() const { return slots_; }
  // Where the productions of a nonterminal begin in slots().
  const std::vector<int32_t>& productions(int32_t nonterminal) const {
    return productions_[static_cast<size_t>(nonterminal)];
  }
  bool is_nullable(int32_t nonterminal) const {
    return nullable_[static_cast<size_t>(nonterminal)] != 0;
  }
  int32_t n_nonterminals() const { return static_cast<int32_t>(productions_.size()); }
  int32_t root() const { return root_; }

 private:
  friend class GrammarCompiler;
  int32_t head_of(int32_t first) const;
  // Whether every slot of a production is a terminal with `property` or a nonterminal in `those`.
  bool consists_of(int32_t first, bool (*property)(const Terminal&),
                   const std::vector<uint8_t>& those) const;
  std::vector<uint8_t> closure_of(bool (*property)(const Terminal&)) const;
  bool remove_unproductive();

  ByteNfa nfa_;
  std::vector<Terminal> terminals_;
  std::vector<Slot> slots_;
  std::vector<std::vector<int32_t>> productions_;
  std::vector<uint8_t> nullable_;
  int32_t root_ = 0;
};

}  // namespace bitnet
