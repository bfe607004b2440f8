// SentencePiece-style (SPM) encoding: characters are merged by the scores of the tokens that they
// form; what is not in the vocabulary becomes byte tokens.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/merge.h"
#include "tokenizer/vocabulary.h"

namespace bitnet {

constexpr std::string_view kSpmSpace = "\xE2\x96\x81";  // U+2581 stands for a space in token texts

class SpmEncoder {
 public:
  // Throws kBadFile for missing scores.
  SpmEncoder(const Gguf& gguf, const Vocabulary& vocabulary);

  // space_prefix: as if the text began with one more space.
  void encode(std::string_view text, bool space_prefix, std::vector<int32_t>& out) const;

 private:
  void encode_word(std::string_view word, std::vector<Symbol>& symbols, std::vector<Merge>& scratch,
                   std::vector<int32_t>& out) const;
  void emit(std::string_view character, std::vector<int32_t>& out) const;

  const Vocabulary& vocabulary_;
  std::vector<uint32_t> keys_;            // by token; the higher the score, the lower the key
  std::array<int32_t, 256> byte_tokens_;  // by byte: its token <0x..>, -1 if there is none
  bool words_are_apart_;  // no token reaches into a second word, so each is merged on its own
};

// The byte that a token of type kByte stands for ("<0x0A>"), or -1.
int byte_of_token(std::string_view text);

}  // namespace bitnet
