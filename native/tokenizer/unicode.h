// Character classes of Unicode, as far as the pre-tokenizers tell them apart, and UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bitnet {

// Bits of Char::classes; scripts/make-unicode-tables.mjs writes the same ones.
enum : uint32_t { kLetter = 1, kNumber = 2, kPunctuation = 4, kSpace = 8 };

// One character of a text. A byte that is not part of well-formed UTF-8 is a character of its own,
// with code kInvalidCode and no class.
struct Char {
  uint32_t code : 21;
  uint32_t classes : 8;
  uint32_t bytes : 3;
};
constexpr uint32_t kInvalidCode = 0x1FFFFF;

uint32_t character_classes(uint32_t code);

struct Utf8Step {
  enum State { kWhole, kCut, kInvalid } state;
  uint32_t code;   // kWhole only
  uint32_t bytes;  // >= 1; kInvalid: what a strict decoder replaces by one U+FFFD
};
// Looks at the start of `text`, which is not empty. kCut: the text ends inside a character that is
// well-formed so far.
Utf8Step next_utf8(std::string_view text);

std::vector<Char> to_chars(std::string_view text);
void append_utf8(std::string& out, uint32_t code);

}  // namespace bitnet
