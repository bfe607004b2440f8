// Grammars from anywhere: every text either is refused with kUsage or is followed without a crash,
// going back leaves no trace, and a mask of tokens is what they are one by one. The input is a
// grammar, a zero byte, and a text, whose bytes also choose tokens.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "grammar/matcher.h"
#include "grammar/token_grammar.h"

namespace {

constexpr size_t kMaxText = 256;  // ambiguous grammars take a time that grows with its cube
constexpr size_t kMaxTokens = 12;

// All bytes, some of them twice, longer tokens with common beginnings, one that is no text, and
// last the one that ends a text.
const std::vector<std::string>& vocabulary() {
  static const std::vector<std::string> tokens = [] {
    std::vector<std::string> list{""};
    for (int byte = 0; byte < 256; ++byte) list.emplace_back(1, static_cast<char>(byte));
    std::istringstream longer(
        "aa|ab|abc|abcd|ba|a|b|bb|0|00|01|12|  | a| ab|\"|\"a|a\"|\":|\",|{\"|\"}|[[|]]|\n|\n\n|"
        "\xC3|\xC3\xA9|\xC3\xA9z|\xE2\x82|\xE2\x82\xAC|\xF0\x9F\x98\x80|\xFF\xFF");
    for (std::string token; std::getline(longer, token, '|');) list.push_back(token);
    list.emplace_back("</s>");
    return list;
  }();
  return tokens;
}

// Large repetitions are right but slow to build.
bool is_small(std::string_view grammar) {
  size_t digits = 0;
  for (const char c : grammar) {
    digits = c >= '0' && c <= '9' ? digits + 1 : 0;
    if (digits > 2) return false;
  }
  return grammar.size() <= 2048;
}

void follow(const std::string& text, std::shared_ptr<const bitnet::Grammar> grammar) {
  bitnet::GrammarMatcher matcher(grammar), twin(grammar);
  for (const char c : text.substr(0, kMaxText)) {
    const auto byte = static_cast<uint8_t>(c);
    // A step ahead and back is no step.
    if (matcher.push(static_cast<uint8_t>(byte ^ 1))) matcher.pop(1);
    const bool goes_on = matcher.push(byte);
    if (goes_on != twin.push(byte) || matcher.can_end() != twin.can_end()) std::abort();
    if (matcher.must_end() && !matcher.can_end()) std::abort();  // every beginning has an end
    if (!goes_on) return;
    twin.commit();
  }
}

// A text of tokens that the mask allows.
void sample(const std::string& choices, std::shared_ptr<const bitnet::Grammar> grammar) {
  static const auto n = static_cast<int32_t>(vocabulary().size());
  static const auto trie = std::make_shared<const bitnet::TokenTrie>(
      n, [](int32_t id) { return vocabulary()[static_cast<size_t>(id)]; });
  const bool drops_space = choices.size() % 2 == 1;
  bitnet::TokenGrammar tokens(grammar, trie, {n - 1}, drops_space);
  for (const char choice : choices.substr(0, kMaxTokens)) {
    const std::vector<int32_t> allowed = tokens.allowed();
    std::vector<int32_t> one_by_one;
    for (int32_t id = 0; id < n; ++id) {
      if (tokens.allows(id)) one_by_one.push_back(id);
    }
    if (allowed != one_by_one) std::abort();
    if (allowed.empty()) std::abort();  // all bytes are tokens
    const int32_t id = allowed[static_cast<uint8_t>(choice) % allowed.size()];
    tokens.accept(id);
    if (id == n - 1) return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\0');
  const std::string grammar = input.substr(0, end);
  if (!is_small(grammar)) return 0;
  try {
    const auto compiled = bitnet::Grammar::from_gbnf(grammar);
    const std::string text = end == std::string::npos ? "" : input.substr(end + 1);
    follow(text, compiled);
    sample(text, compiled);
  } catch (const bitnet::Error& error) {
    if (error.code != bitnet::ErrorCode::kUsage) std::abort();
  }
  return 0;
}
