#include "tokenizer/spm.h"

#include <bit>
#include <cmath>

#include "base/error.h"
#include "tokenizer/unicode.h"

namespace bitnet {
namespace {

// Ascending by descending score. NaN counts as the lowest score; the result is never kNoMerge.
// The bits of floats of one sign order like integers: negative ones, larger the further from zero,
// stay as they are behind the positive ones, which are turned around.
uint32_t key_of_score(float score) {
  if (std::isnan(score)) score = -INFINITY;
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);  // + 0: no negative zero
  const bool negative = bits >> 31;
  return negative ? bits : ~(bits | 0x80000000u);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// Where the next word begins: at the first space mark after another character; or the end.
size_t word_end(std::string_view text) {
  size_t at = 0;
  while (text.substr(at).starts_with(kSpmSpace)) at += kSpmSpace.size();
  return std::min(text.find(kSpmSpace, at), text.size());
}

}  // namespace

int byte_of_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  const int high = hex_digit(text[3]), low = hex_digit(text[4]);
  return high < 0 || low < 0 ? -1 : high << 4 | low;
}

SpmEncoder::SpmEncoder(const Gguf& gguf, const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
  const uint64_t count = static_cast<uint64_t>(vocabulary.size());
  const GgufValue* scores = find_array(gguf, "tokenizer.ggml.scores", ArrayOf::kFloats, &count);
  if (!scores) throw Error(ErrorCode::kBadFile, gguf.name() + ": tokenizer.ggml.scores is missing");
  keys_.resize(count);
  byte_tokens_.fill(-1);
  words_are_apart_ = true;
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary.text(id);
    const TokenType type = vocabulary.type(id);
    keys_[id] = key_of_score(static_cast<float>(scores->number(id)));
    if (type == TokenType::kByte) {
      if (const int byte = byte_of_token(text); byte >= 0) byte_tokens_[byte] = id;
    } else if (type != TokenType::kControl && type != TokenType::kUnknown &&
               word_end(text) != text.size()) {
      words_are_apart_ = false;
    }
  }
}

void SpmEncoder::encode(std::string_view text, bool space_prefix, std::vector<int32_t>& out) const {
  std::string escaped(space_prefix ? kSpmSpace : "");
  escaped.reserve(escaped.size() + text.size() + text.size() / 2);
  for (const char c : text)
    if (c == ' ')
      escaped.append(kSpmSpace);
    else
      escaped.push_back(c);

  std::vector<Symbol> symbols;
  std::vector<Merge> scratch;
  std::string_view rest = escaped;
  while (!rest.empty()) {
    const size_t size = words_are_apart_ ? word_end(rest) : rest.size();
    encode_word(rest.substr(0, size), symbols, scratch, out);
    rest.remove_prefix(size);
  }
}

void SpmEncoder::encode_word(std::string_view word, std::vector<Symbol>& symbols,
                             std::vector<Merge>& scratch, std::vector<int32_t>& out) const {
  symbols.clear();
  for (uint32_t at = 0; at < word.size();) {
    const Utf8Step step = next_utf8(word.substr(at));
    const uint32_t n_bytes = step.state == Utf8Step::kWhole ? step.bytes : 1;
    symbols.push_back({at, n_bytes, vocabulary_.find_plain(word.substr(at, n_bytes))});
    at += n_bytes;
  }
  merge_symbols(symbols, scratch, [&](const Symbol& a, const Symbol& b) -> Merge {
    const int32_t id = vocabulary_.find_plain(word.substr(a.begin, a.length + b.length));
    return id < 0 ? Merge{} : Merge{keys_[id], id};
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.id >= 0)
      out.push_back(symbol.id);
    else
      emit(word.substr(symbol.begin, symbol.length), out);
  }
}

// A character that is no token: its byte tokens, or unknown if the vocabulary lacks one of them.
void SpmEncoder::emit(std::string_view character, std::vector<int32_t>& out) const {
  const size_t before = out.size();
  for (const char c : character) {
    const int32_t id = byte_tokens_[static_cast<uint8_t>(c)];
    if (id >= 0) {
      out.push_back(id);
      continue;
    }
    out.resize(before);
    if (vocabulary_.special().unk >= 0) out.push_back(vocabulary_.special().unk);
    return;
  }
}

}  // namespace bitnet
