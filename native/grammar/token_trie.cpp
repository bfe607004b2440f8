#include "grammar/token_trie.h"

#include <algorithm>
#include <numeric>
#include <string_view>

namespace bitnet {

TokenTrie::TokenTrie(int32_t n, const std::function<std::string(int32_t)>& bytes_of)
    : starts_(1, 0), same_(static_cast<size_t>(n), -1) {
  for (int32_t id = 0; id < n; ++id) {
    text_ += bytes_of(id);
    starts_.push_back(static_cast<uint32_t>(text_.size()));
  }
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [this](int32_t id) {
    return bytes(id).empty() || bytes(id).size() > UINT16_MAX;  // no vocabulary has such
  });
  std::stable_sort(order.begin(), order.end(),
                   [this](int32_t a, int32_t b) { return bytes(a) < bytes(b); });
  std::vector<int32_t> path;  // nodes from the first byte to the last token's
  const auto leave = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back())
      nodes_[static_cast<size_t>(path.back())].end = static_cast<int32_t>(nodes_.size());
  };
  std::string_view previous;
  int32_t last = -1;
  for (const int32_t id : order) {
    const std::string_view text = bytes(id);
    if (last >= 0 && text == previous) {
      same_[static_cast<size_t>(last)] = id;
      nodes_.back().is_shared = true;
      last = id;
      continue;
    }
    const auto shared = std::mismatch(text.begin(), text.end(), previous.begin(), previous.end());
    leave(static_cast<size_t>(shared.first - text.begin()));
    while (path.size() < text.size()) {
      const auto depth = static_cast<uint16_t>(path.size());
      path.push_back(static_cast<int32_t>(nodes_.size()));
      nodes_.push_back({0, -1, depth, static_cast<uint8_t>(text[depth]), false});
    }
    nodes_.back().token = id;
    depth_ = std::max(depth_, text.size());
    last = id;
    previous = text;
  }
  leave(0);
}

}  // namespace bitnet
