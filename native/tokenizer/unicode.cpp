#include "tokenizer/unicode.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace bitnet {
namespace {

// Runs of characters with the same classes: first code << 8 | classes, ascending.
constexpr uint32_t kRuns[] = {
#include "tokenizer/unicode_tables.inc"
};

// Of the last run that begins at or before the code; 0xFF is above all classes.
constexpr uint32_t classes_by_search(uint32_t code) {
  const uint32_t key = code << 8 | 0xFF;
  return *(std::upper_bound(std::begin(kRuns), std::end(kRuns), key) - 1) & 0xFF;
}

constexpr auto kAscii = [] {
  std::array<uint8_t, 128> table{};
  for (uint32_t code = 0; code < 128; ++code)
    table[code] = static_cast<uint8_t>(classes_by_search(code));
  return table;
}();

struct Lead {
  uint32_t length;                 // of the whole sequence, 0: not a lead byte
  uint8_t second_min, second_max;  // excludes overlong forms, surrogates and codes past U+10FFFF
};

Lead lead_of(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

uint32_t character_classes(uint32_t code) {
  return code < kAscii.size() ? kAscii[code] : classes_by_search(code);
}

Utf8Step next_utf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (byte(0) < 0x80) return {Utf8Step::kWhole, byte(0), 1};
  const Lead lead = lead_of(byte(0));
  if (lead.length == 0) return {Utf8Step::kInvalid, 0, 1};
  uint32_t code = byte(0) & (0x7Fu >> lead.length);
  for (uint32_t i = 1; i < lead.length; ++i) {
    if (i == text.size()) return {Utf8Step::kCut, 0, i};
    const uint8_t min = i == 1 ? lead.second_min : 0x80, max = i == 1 ? lead.second_max : 0xBF;
    if (byte(i) < min || byte(i) > max) return {Utf8Step::kInvalid, 0, i};
    code = code << 6 | (byte(i) & 0x3F);
  }
  return {Utf8Step::kWhole, code, lead.length};
}

std::vector<Char> to_chars(std::string_view text) {
  std::vector<Char> chars;
  chars.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = next_utf8(text);
    const bool whole = step.state == Utf8Step::kWhole;
    const uint32_t n_bytes = whole ? step.bytes : 1;
    if (whole)
      chars.push_back({step.code, character_classes(step.code), n_bytes});
    else
      chars.push_back({kInvalidCode, 0, n_bytes});
    text.remove_prefix(n_bytes);
  }
  return chars;
}

void append_utf8(std::string& out, uint32_t code) {
  const auto push = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) return push(code);
  if (code < 0x800) {
    push(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    push(0xE0 | code >> 12);
    push(0x80 | (code >> 6 & 0x3F));
  } else {
    push(0xF0 | code >> 18);
    push(0x80 | (code >> 12 & 0x3F));
    push(0x80 | (code >> 6 & 0x3F));
  }
  push(0x80 | (code & 0x3F));
}

}  // namespace bitnet
