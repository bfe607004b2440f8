#include "tokenizer/special_tokens.h"

#include <algorithm>
#include <functional>

namespace bitnet {

void SpecialTokens::Set::add(std::string_view text) {
  starts[static_cast<uint8_t>(text[0])] = true;
  if (lengths.empty() || lengths.back() != text.size()) lengths.push_back(text.size());
}

void SpecialTokens::Set::finish() {
  std::sort(lengths.begin(), lengths.end(), std::greater<>());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
}

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary.text(id);
    const TokenType type = vocabulary.type(id);
    if (text.empty()) continue;
    if (type == TokenType::kUserDefined) user_defined_.add(text);
    if (type == TokenType::kUserDefined || type == TokenType::kControl ||
        type == TokenType::kUnknown)
      all_.add(text);
  }
  user_defined_.finish();
  all_.finish();
}

int32_t SpecialTokens::match(std::string_view text, bool parse_special) const {
  const int32_t id = vocabulary_.find(text);
  if (id < 0) return -1;
  const TokenType type = vocabulary_.type(id);
  if (type == TokenType::kUserDefined) return id;
  return parse_special && (type == TokenType::kControl || type == TokenType::kUnknown) ? id : -1;
}

// One pass over the text per length, the longest first: each cuts the tokens of that length out of
// the plain fragments that the passes before have left. `starts` is walked along with them.
std::vector<Fragment> SpecialTokens::split(std::string_view text, bool parse_special) const {
  std::vector<Fragment> fragments;
  if (!text.empty()) fragments.push_back({text, -1});
  const Set& set = parse_special ? all_ : user_defined_;
  std::vector<size_t> starts;  // ascending
  if (!set.lengths.empty())
    for (size_t i = 0; i < text.size(); ++i)
      if (set.starts[static_cast<uint8_t>(text[i])]) starts.push_back(i);
  if (starts.empty()) return fragments;

  std::vector<Fragment> next;
  for (const size_t length : set.lengths) {
    next.clear();
    auto start = starts.begin();
    for (const Fragment& fragment : fragments) {
      if (fragment.id >= 0) {
        next.push_back(fragment);
        continue;
      }
      size_t begin = static_cast<size_t>(fragment.text.data() - text.data());
      const size_t end = begin + fragment.text.size();
      while (start != starts.end() && *start < begin) ++start;
      for (; start != starts.end() && *start + length <= end; ++start) {
        if (*start < begin) continue;
        const std::string_view candidate = text.substr(*start, length);
        const int32_t id = match(candidate, parse_special);
        if (id < 0) continue;
        if (*start > begin) next.push_back({text.substr(begin, *start - begin), -1});
        next.push_back({candidate, id});
        begin = *start + length;
      }
      if (begin < end) next.push_back({text.substr(begin, end - begin), -1});
    }
    fragments.swap(next);
  }
  return fragments;
}

}  // namespace bitnet
