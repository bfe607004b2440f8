// The bytes of all tokens of a vocabulary as one tree, so that what tokens have in common is looked
// at once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace bitnet {

class TokenTrie {
 public:
  // `bytes_of(id)` for ids below n; "" for tokens that are no text, which are left out.
  TokenTrie(int32_t n, const std::function<std::string(int32_t)>& bytes_of);

  // In preorder.
  struct Node {
    int32_t end;    // the first node that is not below this one
    int32_t token;  // the first of those with just these bytes, or -1
    uint16_t depth;
    uint8_t byte;
    bool is_shared;  // there are more tokens with these bytes: same(token)
  };
  const std::vector<Node>& nodes() const { return nodes_; }
  size_t depth() const { return depth_; }  // of the deepest node, counted from 1
  // The next token with the same bytes, or -1.
  int32_t same(int32_t token) const { return same_[static_cast<size_t>(token)]; }
  std::string_view bytes(int32_t token) const {
    const auto i = static_cast<size_t>(token);
    return std::string_view(text_).substr(starts_[i], starts_[i + 1] - starts_[i]);
  }
  int32_t n_tokens() const { return static_cast<int32_t>(same_.size()); }

 private:
  std::string text_;  // of all tokens
  std::vector<uint32_t> starts_;
  std::vector<int32_t> same_;
  std::vector<Node> nodes_;
  size_t depth_ = 0;
};

}  // namespace bitnet
