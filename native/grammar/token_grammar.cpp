#include "grammar/token_grammar.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace bitnet {
namespace {

constexpr size_t kMaxLanes = 16;  // terminals under way; with more, one by one is as good

}  // namespace

TokenGrammar::TokenGrammar(std::shared_ptr<const Grammar> grammar,
                           std::shared_ptr<const TokenTrie> trie, std::vector<int32_t> ends,
                           bool drops_space)
    : matcher_(std::move(grammar)),
      trie_(std::move(trie)),
      ends_(std::move(ends)),
      drops_space_(drops_space) {}

bool TokenGrammar::is_end(int32_t token) const {
  return std::find(ends_.begin(), ends_.end(), token) != ends_.end();
}

std::string_view TokenGrammar::bytes(int32_t token) const {
  const std::string_view bytes = trie_->bytes(token);
  return bytes.substr(drops_space_ && bytes.starts_with(' ') ? 1 : 0);
}

bool TokenGrammar::allows(int32_t token) {
  if (is_end(token)) return matcher_.can_end();
  const std::string_view text = bytes(token);
  if (trie_->bytes(token).empty() || !matcher_.push_all(text)) return false;
  matcher_.pop(text.size());
  return true;
}

std::vector<int32_t> TokenGrammar::allowed() {
  std::vector<int32_t> out;
  if (drops_space_) {  // once per text: not worth a tree of its own
    for (int32_t token = 0; token < trie_->n_tokens(); ++token) {
      if (allows(token)) out.push_back(token);
    }
    return out;
  }
  marks_.assign(static_cast<size_t>(trie_->n_tokens() + 63) / 64, 0);
  const size_t n_lanes = matcher_.n_under_way();
  if (n_lanes == 1) {
    walk_within<1>(1);
  } else if (n_lanes > kMaxLanes) {
    walk(0, trie_->nodes().size());
  } else if (n_lanes > 0) {  // else nothing can follow
    walk_within<0>(n_lanes);
  }
  for (const int32_t end : ends_) {
    if (end < 0 || end >= trie_->n_tokens()) continue;
    uint64_t& word = marks_[static_cast<size_t>(end) / 64];
    const uint64_t bit = uint64_t{1} << (end % 64);
    word = matcher_.can_end() ? word | bit : word & ~bit;
  }
  size_t n = 0;
  for (const uint64_t word : marks_) n += static_cast<size_t>(std::popcount(word));
  out.reserve(n);
  for (size_t i = 0; i < marks_.size(); ++i) {
    for (uint64_t word = marks_[i]; word != 0; word &= word - 1)
      out.push_back(static_cast<int32_t>(i * 64) + std::countr_zero(word));
  }
  return out;
}

// The tokens that end at a node.
inline void TokenGrammar::mark(const TokenTrie::Node& node) {
  for (int32_t token = node.token; token >= 0;
       token = node.is_shared ? trie_->same(token) : int32_t{-1})
    marks_[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64);
}

// Marks the tokens from a node on up to another one; the matcher stands in front of the first one.
void TokenGrammar::walk(size_t first_node, size_t end) {
  const std::vector<TokenTrie::Node>& nodes = trie_->nodes();
  if (first_node == end) return;
  const size_t least = nodes[first_node].depth;
  size_t depth = least;
  for (size_t i = first_node; i < end;) {
    const TokenTrie::Node& node = nodes[i];
    matcher_.pop(depth - node.depth);
    depth = node.depth;
    if (!matcher_.push(node.byte)) {
      i = static_cast<size_t>(node.end);
      continue;
    }
    depth += 1;
    i += 1;
    mark(node);
  }
  matcher_.pop(depth - least);
}

// The same for all nodes, where it takes only steps of automata to stay within terminals: most
// tokens do within a string. What is below the end of a terminal is walked as it must be. kLanes:
// their number if it is known, which is worth half of the time; else 0.
template <size_t kLanes>
void TokenGrammar::walk_within(size_t n_lanes) {
  const size_t n = kLanes > 0 ? kLanes : n_lanes;
  const std::vector<TokenTrie::Node>& nodes = trie_->nodes();
  lanes_.resize((trie_->depth() + 1) * n);
  path_.resize(trie_->depth());
  for (size_t lane = 0; lane < n; ++lane) lanes_[lane] = matcher_.under_way(lane);
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    const int32_t* above = &lanes_[node.depth * n];
    int32_t* here = &lanes_[(node.depth + size_t{1}) * n];
    bool goes_on = false, ends = false;
    for (size_t lane = 0; lane < n; ++lane) {
      const bool is_dead = above[lane] == ByteDfa::kDead;
      const int32_t state = is_dead ? above[lane] : matcher_.step(above[lane], node.byte);
      here[lane] = state;
      if (state == ByteDfa::kDead) continue;
      goes_on = true;
      ends = ends || matcher_.is_end(state);
    }
    path_[node.depth] = static_cast<char>(node.byte);
    if (ends) walk_below(i);
    if (ends || !goes_on) {
      i = static_cast<size_t>(node.end);
      continue;
    }
    mark(node);
    i += 1;
  }
}

// A node and all below, from the beginning of the path on.
void TokenGrammar::walk_below(size_t at) {
  const TokenTrie::Node& node = trie_->nodes()[at];
  const auto above = std::string_view(path_).substr(0, node.depth);
  matcher_.push_all(above);
  walk(at, static_cast<size_t>(node.end));
  matcher_.pop(above.size());
}

void TokenGrammar::accept(int32_t token) {
  if (is_end(token)) return;
  if (trie_->bytes(token).empty() || !matcher_.push_all(bytes(token)))
    throw Error(ErrorCode::kInternal, "a token that the grammar does not allow was sampled");
  matcher_.commit();
  drops_space_ = false;
}

}  // namespace bitnet
