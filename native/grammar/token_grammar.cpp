#include "grammar/token_grammar.h"

#include <algorithm>

#include "base/error.h"

namespace bitnet {

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
  if (matcher_.can_end()) out = ends_;
  const std::vector<TokenTrie::Node>& nodes = trie_->nodes();
  size_t depth = 0;
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    matcher_.pop(depth - node.depth);
    depth = node.depth;
    if (!matcher_.push(node.byte)) {
      i = static_cast<size_t>(node.end);
      continue;
    }
    depth += 1;
    i += 1;
    for (int32_t token = node.token; token >= 0; token = trie_->same(token)) {
      if (!is_end(token)) out.push_back(token);
    }
  }
  matcher_.pop(depth);
  std::sort(out.begin(), out.end());
  return out;
}

void TokenGrammar::accept(int32_t token) {
  if (is_end(token)) return;
  if (trie_->bytes(token).empty() || !matcher_.push_all(bytes(token)))
    throw Error(ErrorCode::kInternal, "a token that the grammar does not allow was sampled");
  matcher_.commit();
  drops_space_ = false;
}

}  // namespace bitnet
