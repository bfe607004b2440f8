// The vocabulary arrays and special tokens of a GGUF file. Texts are views into the file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"

namespace bitnet {

// Values of tokenizer.ggml.token_type.
enum class TokenType : uint8_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct SpecialIds {  // -1: none
  int32_t bos = -1, eos = -1, eot = -1, eom = -1, pad = -1, unk = -1;
};

class Vocabulary {
 public:
  enum class Model { kBpe, kSpm };

  // Throws kBadFile for arrays that are missing or disagree, kUnsupported for another model.
  explicit Vocabulary(const Gguf& gguf);

  Model model() const { return model_; }
  const std::string& model_name() const { return model_name_; }
  int32_t size() const { return static_cast<int32_t>(texts_.size()); }
  bool contains(int32_t id) const { return id >= 0 && id < size(); }
  std::string_view text(int32_t id) const { return texts_[id]; }
  TokenType type(int32_t id) const { return types_[id]; }
  size_t longest() const { return longest_; }  // bytes of the longest text

  // The id of that exact text, the lowest if several have it; -1 if none, or if it is empty.
  int32_t find(std::string_view text) const;
  // As find, but only tokens that plain text may become: not control tokens, unknown or bytes.
  int32_t find_plain(std::string_view text) const;
  // Whether find_plain(text) is `id`, faster for a good guess; may say no although it is.
  bool is_plain(int32_t id, std::string_view text) const {
    return contains(id) && texts_[id] == text && is_plain_type(types_[id]) && unique_;
  }

  // Begins to load what finding `text` will need.
  void prefetch(std::string_view text) const;

  const SpecialIds& special() const { return special_; }
  const std::vector<int32_t>& eog() const { return eog_; }  // ascending
  // What the file says and cannot mean, a sentence each.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  // Of a hash table with open addressing. Most look-ups need nothing but the slot.
  struct Slot {
    uint64_t head;  // the first 8 bytes of the text, the rest 0
    uint32_t tag;   // 24 bits of the hash, 8 of the length
    int32_t id;     // -1: free
  };

  static bool is_plain_type(TokenType type) {
    return type != TokenType::kControl && type != TokenType::kUnknown && type != TokenType::kByte;
  }
  size_t find_slot(std::string_view text, Slot& wanted) const;
  void read_texts(const Gguf& gguf);
  void read_types(const Gguf& gguf);
  int32_t read_id(const Gguf& gguf, const std::string& key);
  void read_special(const Gguf& gguf);
  void find_eog();

  Model model_;
  std::string model_name_;               // tokenizer.ggml.model, as the file has it
  std::vector<std::string_view> texts_;  // [n_vocab], in the mapped file
  std::vector<TokenType> types_;         // [n_vocab]; kNormal where the file says nothing we know
  std::vector<Slot> slots_;              // a power of two, at most half full
  size_t longest_ = 0;                   // bytes
  bool unique_ = true;                   // no two texts are equal
  SpecialIds special_;
  std::vector<int32_t> eog_;  // end a generation; ascending
  std::vector<std::string> warnings_;
};

// The array under `key` with elements of a kind, or nullptr if the file has none.
// Throws kBadFile if it is something else, or if `count` is given and is not its length.
enum class ArrayOf { kStrings, kIntegers, kFloats };
const GgufValue* find_array(const Gguf& gguf, std::string_view key, ArrayOf kind,
                            const uint64_t* count = nullptr);

}  // namespace bitnet
