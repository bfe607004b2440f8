// Finds the tokens that are recognized as whole texts before anything else is split: control tokens
// (only if asked for) and user-defined ones. Longer texts go first, wherever they are.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace bitnet {

struct Fragment {
  std::string_view text;
  int32_t id;  // -1: plain text
};

class SpecialTokens {
 public:
  explicit SpecialTokens(const Vocabulary& vocabulary);

  // Joined, the fragments are `text`; two plain ones never touch, none is empty.
  std::vector<Fragment> split(std::string_view text, bool parse_special) const;

 private:
  // What may be a special token, so that most of a text need not be looked up.
  struct Set {
    std::array<bool, 256> starts{};  // by first byte
    std::vector<size_t> lengths;     // in bytes, of all texts; descending, each once
    void add(std::string_view text);
    void finish();
  };
  int32_t match(std::string_view text, bool parse_special) const;

  const Vocabulary& vocabulary_;
  Set user_defined_, all_;  // without and with parse_special
};

}  // namespace bitnet
