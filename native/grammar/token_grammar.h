// Which tokens may come next, so that the text stays one of a grammar.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "grammar/matcher.h"
#include "grammar/token_trie.h"

namespace bitnet {

class TokenGrammar {
 public:
  // `ends`: tokens that end a text; allowed where the grammar is at an end. `drops_space`: the
  // first token loses the space that it begins with, as SentencePiece has it at the start of a
  // text.
  TokenGrammar(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie,
               std::vector<int32_t> ends, bool drops_space = false);

  bool allows(int32_t token);
  // All of them, ascending.
  std::vector<int32_t> allowed();
  // The text goes on with a token that is allowed. Throws kInternal for another.
  void accept(int32_t token);
  // The text is whole and nothing can follow.
  bool is_done() const { return matcher_.can_end() && matcher_.must_end(); }

 private:
  bool is_end(int32_t token) const;
  std::string_view bytes(int32_t token) const;
  void mark(const TokenTrie::Node& node);
  void walk(size_t first_node, size_t end);
  template <size_t kLanes>
  void walk_within(size_t n_lanes);
  void walk_below(size_t node);

  GrammarMatcher matcher_;
  std::shared_ptr<const TokenTrie> trie_;
  std::vector<int32_t> ends_;
  bool drops_space_;  // of the next token
  // Scratch of allowed().
  std::vector<uint64_t> marks_;  // bits, by token
  std::vector<int32_t> lanes_;   // [depth, terminals under way]: states
  std::string path_;             // by depth: bytes of the nodes above
};

}  // namespace bitnet
