// Text <-> token ids, built straight from the vocabulary arrays of a GGUF file: byte-level BPE and
// SentencePiece-style (SPM) models. Behaves as llama.cpp's tokenizer of the same name.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"

namespace bitnet {

struct TokenizerOptions {
  std::string
      pre;  // overrides tokenizer.ggml.pre; empty: the file's, or the rule for files that name none
};

class Tokenizer {
 public:
  // Copies nothing of the vocabulary text that it can view in `gguf`, which must outlive it.
  // Throws kBadFile (missing or inconsistent arrays), kUnsupported (unknown model or pre-tokenizer,
  // named).
  Tokenizer(const Gguf& gguf, const TokenizerOptions& options = {});
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  // add_special: BOS / EOS as the file asks for. parse_special: text like "<|eot_id|>" becomes that
  // control token; user-defined tokens are recognized either way. Any bytes are accepted; invalid
  // UTF-8 is kept byte for byte by BPE.
  std::vector<int32_t> encode(std::string_view text, bool add_special, bool parse_special) const;

  // The bytes of one token; may be a part of a UTF-8 character. Control tokens give "" unless
  // special is set. Throws kUsage for an id outside the vocabulary.
  std::string piece(int32_t id, bool special) const;
  // Pieces joined, with SPM's leading space removed. Not necessarily valid UTF-8.
  std::string decode(std::span<const int32_t> ids, bool special) const;

  int32_t n_vocab() const;
  int32_t bos() const;  // -1 if none; likewise eos, eot, pad, unk
  int32_t eos() const;
  int32_t eot() const;
  int32_t pad() const;
  int32_t unk() const;
  bool add_bos() const;
  bool add_eos() const;
  bool strips_space() const;      // a text loses the space that its first piece begins with
  bool is_eog(int32_t id) const;  // ends a generation
  std::vector<int32_t> eog() const;
  bool is_control(int32_t id) const;
  std::string_view text(int32_t id) const;    // the vocabulary entry as the file has it
  int32_t find(std::string_view text) const;  // the id of that exact entry, or -1
  const std::string& model() const;           // "gpt2", "llama"
  const std::string& pre() const;             // the pre-tokenizer in use
  // What the file says of its tokens and cannot mean, a sentence each.
  const std::vector<std::string>& warnings() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Turns a stream of tokens into text without ever emitting a part of a UTF-8 character: bytes of an
// unfinished character are held back until it is whole. Invalid bytes become U+FFFD, as a strict
// decoder would.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool special)
      : tokenizer_(tokenizer), special_(special) {}
  std::string push(int32_t id);  // the text that has become complete; valid UTF-8
  std::string flush();           // what is left at the end (an unfinished character becomes U+FFFD)

 private:
  const Tokenizer& tokenizer_;
  bool special_;
  bool at_start_ = true;  // SPM: the first piece loses its leading space
  std::string held_;      // bytes of a character that is not whole yet, at most 3
};

}  // namespace bitnet
