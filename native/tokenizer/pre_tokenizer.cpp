#include "tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "tokenizer/unicode.h"

namespace bitnet {
namespace {

using Chars = std::span<const Char>;

// How many characters an expression takes at the start of `rest` (not empty); 0: no match.
using Matcher = size_t (*)(Chars rest);

bool is_newline(Char c) { return c.code == '\r' || c.code == '\n'; }
bool is_ascii_digit(Char c) { return c.code >= '0' && c.code <= '9'; }
bool is_other(Char c) { return !(c.classes & (kSpace | kLetter | kNumber)); }

// How many characters from `from` on have the property.
template <class Property>
size_t run(Chars chars, size_t from, Property has) {
  size_t end = from;
  while (end < chars.size() && has(chars[end])) ++end;
  return end - from;
}
size_t run_of(Chars chars, size_t from, uint32_t classes) {
  return run(chars, from, [classes](Char c) { return (c.classes & classes) != 0; });
}

// 's|'t|'re|'ve|'m|'ll|'d
size_t match_contraction(Chars rest, bool any_case) {
  if (rest.size() < 2 || rest[0].code != '\'') return 0;
  const auto letter = [&](size_t i) -> uint32_t {
    if (i >= rest.size()) return 0;
    const uint32_t code = rest[i].code;
    return any_case && code >= 'A' && code <= 'Z' ? code + ('a' - 'A') : code;
  };
  switch (letter(1)) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return 2;
    case 'r':
    case 'v':
      return letter(2) == 'e' ? 3 : 0;
    case 'l':
      return letter(2) == 'l' ? 3 : 0;
    default:
      return 0;
  }
}

// \s+(?!\S)|\s+ on a run of n > 0 white-space characters: gives the last one back if text follows.
size_t match_space_run(Chars rest, size_t n) { return n == rest.size() || n == 1 ? n : n - 1; }

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)
// White space that this leaves is one character before text, which becomes a piece either way.
size_t match_gpt2(Chars rest) {
  if (const size_t n = match_contraction(rest, false)) return n;
  const size_t space = rest[0].code == ' ' ? 1 : 0;
  if (const size_t n = run_of(rest, space, kLetter)) return space + n;
  if (const size_t n = run_of(rest, space, kNumber)) return space + n;
  if (const size_t n = run(rest, space, is_other)) return space + n;
  return match_space_run(rest, run_of(rest, 0, kSpace));
}

// (?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,MAX}|
//  ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
size_t match_llama3(Chars rest, size_t max_digits) {
  if (const size_t n = match_contraction(rest, true)) return n;
  const Char first = rest[0];
  const bool prefix = !is_newline(first) && !(first.classes & (kLetter | kNumber));
  if (const size_t n = run_of(rest, prefix, kLetter)) return prefix + n;
  if (first.classes & kNumber)
    return run_of(rest.first(std::min(rest.size(), max_digits)), 0, kNumber);
  const size_t space = first.code == ' ' ? 1 : 0;
  if (const size_t n = run(rest, space, is_other))
    return space + n + run(rest, space + n, is_newline);
  const size_t n_space = run_of(rest, 0, kSpace);
  for (size_t end = n_space; end > 0; --end)
    if (is_newline(rest[end - 1])) return end;
  return match_space_run(rest, n_space);
}
size_t match_llama_bpe(Chars rest) { return match_llama3(rest, 3); }
size_t match_qwen2(Chars rest) { return match_llama3(rest, 1); }

// [\p{P}\$\+<=>\^~\|]+
bool is_symbol(Char c) {
  return (c.classes & kPunctuation) ||
         (c.code < 128 && c.code > 0 && std::strchr("$+<=>^~|", static_cast<int>(c.code)));
}
size_t match_symbols(Chars rest) { return run(rest, 0, is_symbol); }
// [\p{P}\$\+<=>\^~\|`]+
size_t match_symbols_or_backtick(Chars rest) {
  return run(rest, 0, [](Char c) { return is_symbol(c) || c.code == '`'; });
}
// \p{N}+
size_t match_numbers(Chars rest) { return run_of(rest, 0, kNumber); }
// [0-9]
size_t match_digit(Chars rest) { return is_ascii_digit(rest[0]) ? 1 : 0; }
// [0-9][0-9][0-9]
size_t match_three_digits(Chars rest) {
  return run(rest.first(std::min<size_t>(rest.size(), 3)), 0, is_ascii_digit) == 3 ? 3 : 0;
}

constexpr Matcher kDefaultStages[] = {match_symbols, match_gpt2, match_numbers, match_three_digits};
constexpr Matcher kGpt2Stages[] = {match_gpt2};
constexpr Matcher kLlamaBpeStages[] = {match_llama_bpe};
constexpr Matcher kQwen2Stages[] = {match_qwen2};
constexpr Matcher kFalconStages[] = {match_symbols_or_backtick, match_gpt2, match_three_digits};
constexpr Matcher kFalcon3Stages[] = {match_symbols_or_backtick, match_gpt2, match_digit};

struct Entry {
  std::string_view name;
  PreTokenizer pre;
  std::span<const Matcher> stages;  // each splits the pieces of the one before
};
// The first name of a pre-tokenizer is the one it is reported by.
constexpr Entry kEntries[] = {
    {"default", PreTokenizer::kDefault, kDefaultStages},
    {"gpt-2", PreTokenizer::kGpt2, kGpt2Stages},
    {"llama-bpe", PreTokenizer::kLlamaBpe, kLlamaBpeStages},
    {"llama3", PreTokenizer::kLlamaBpe, kLlamaBpeStages},
    {"llama-v3", PreTokenizer::kLlamaBpe, kLlamaBpeStages},
    {"qwen2", PreTokenizer::kQwen2, kQwen2Stages},
    {"falcon", PreTokenizer::kFalcon, kFalconStages},
    {"falcon3", PreTokenizer::kFalcon3, kFalcon3Stages},
    {"falcon_e", PreTokenizer::kFalconE, kFalcon3Stages},
};

const Entry& entry_of(PreTokenizer pre) {
  for (const Entry& entry : kEntries)
    if (entry.pre == pre) return entry;
  return kEntries[0];
}

// Appends the sizes of the pieces of `piece`: the matches, and the text between them.
void split(Matcher match, Chars piece, std::vector<size_t>& sizes) {
  size_t gap = 0;  // unmatched characters before pos
  for (size_t pos = 0; pos < piece.size();) {
    const size_t n = match(piece.subspan(pos));
    if (n == 0) {
      ++gap, ++pos;
      continue;
    }
    if (gap > 0) sizes.push_back(gap);
    sizes.push_back(n);
    gap = 0;
    pos += n;
  }
  if (gap > 0) sizes.push_back(gap);
}

}  // namespace

std::optional<PreTokenizer> find_pre_tokenizer(std::string_view name) {
  for (const Entry& entry : kEntries)
    if (entry.name == name) return entry.pre;
  return std::nullopt;
}

const char* pre_tokenizer_name(PreTokenizer pre) { return entry_of(pre).name.data(); }

std::string pre_tokenizer_names() {
  std::string names;
  for (const Entry& entry : kEntries) names.append(names.empty() ? "" : ", ").append(entry.name);
  return names;
}

std::vector<std::string_view> pre_tokenize(PreTokenizer pre, std::string_view text) {
  const std::vector<Char> chars = to_chars(text);
  std::vector<size_t> sizes, next;  // in characters
  if (!chars.empty()) sizes.push_back(chars.size());
  for (const Matcher match : entry_of(pre).stages) {
    next.clear();
    size_t begin = 0;
    for (const size_t size : sizes) {
      split(match, Chars(chars).subspan(begin, size), next);
      begin += size;
    }
    sizes.swap(next);
  }

  std::vector<std::string_view> pieces;
  pieces.reserve(sizes.size());
  const Char* c = chars.data();
  size_t offset = 0;
  for (const size_t size : sizes) {
    size_t n_bytes = 0;
    for (size_t i = 0; i < size; ++i) n_bytes += (c++)->bytes;
    pieces.push_back(text.substr(offset, n_bytes));
    offset += n_bytes;
  }
  return pieces;
}

}  // namespace bitnet
