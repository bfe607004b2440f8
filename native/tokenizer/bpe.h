// Byte-level BPE: the bytes of a piece become characters of GPT-2's byte alphabet, and adjacent
// ones are merged by rank.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/merge.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace bitnet {

class BpeEncoder {
 public:
  // ignore_merges: a piece that is a token as a whole is taken as that token, whatever the merges
  // say. Throws kBadFile for missing merges or one without a space.
  BpeEncoder(const Gguf& gguf, const Vocabulary& vocabulary, PreTokenizer pre, bool ignore_merges);

  PreTokenizer pre() const { return pre_; }
  void encode(std::string_view text, std::vector<int32_t>& out) const;

 private:
  // A symbol is a token id, or beyond these an index of extra_symbols_.
  struct PairSlot {
    int32_t left = -1, right = -1;  // symbols; -1: free
    Merge merge;                    // key: the rank of the merge in the file
  };
  void read_merges(const GgufValue& merges, const std::string& file);
  void add_merge(const PairSlot& pair);
  Merge find_merge(int32_t left, int32_t right) const;
  void emit(int32_t symbol, std::vector<int32_t>& out) const;

  const Vocabulary& vocabulary_;  // of the tokenizer that this belongs to
  PreTokenizer pre_;
  bool ignore_merges_;
  std::array<int32_t, 256> byte_symbols_;  // by byte: the symbol that merging starts from
  // Texts that are no tokens but occur in merges, which may lead on to a token: symbol n_vocab + i.
  std::vector<std::string> extra_symbols_;
  std::vector<PairSlot> pairs_;  // open addressing; a power of two, at most two thirds full
};

// The bytes that a token text in the byte alphabet stands for, appended; characters outside of it
// as they are.
void append_decoded_bytes(std::string& out, std::string_view text);

}  // namespace bitnet
