#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/error.h"

namespace bitnet {
namespace {

constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr std::string_view kTypesKey = "tokenizer.ggml.token_type";

// Texts that mark the end of a turn or of a text in the models we know, as llama.cpp has them. The
// first that a vocabulary has is its end-of-turn token, unless the file names one.
constexpr std::string_view kEndOfTurn[] = {
    "<|eot_id|>",    "<|im_end|>", "<|end|>", "<end_of_turn>",
    "<|endoftext|>", "<EOT>",      "_<EOT>",  "< EOT >",
};
constexpr std::string_view kEndOfMessage = "<|eom_id|>";
constexpr std::string_view kEndOfText = "<|end_of_text|>";

// The first 8 bytes, the rest 0.
uint64_t head_of(std::string_view text) {
  uint64_t head = 0;
  std::memcpy(&head, text.data(), std::min<size_t>(text.size(), 8));
  return head;
}

// 8 bytes at a time: multiplied, and the good upper bits of the product folded into the lower.
uint64_t hash_text(std::string_view text) {
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15;  // odd, 2^64 / golden ratio
  uint64_t hash = text.size();
  while (!text.empty()) {
    hash = (hash ^ head_of(text)) * kMultiplier;
    hash ^= hash >> 32;
    text.remove_prefix(std::min<size_t>(text.size(), 8));
  }
  return hash * kMultiplier;
}

bool is_integer(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kU16:
    case GgufType::kI16:
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kU64:
    case GgufType::kI64:
      return true;
    default:
      return false;
  }
}

}  // namespace

const GgufValue* find_array(const Gguf& gguf, std::string_view key, ArrayOf kind,
                            const uint64_t* count) {
  const GgufValue* value = gguf.find(key);
  if (!value) return nullptr;
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::kBadFile, gguf.name() + ": " + std::string(key) + " " + what);
  };
  const GgufType element = value->element;
  const bool fits = kind == ArrayOf::kStrings ? element == GgufType::kString
                    : kind == ArrayOf::kIntegers
                        ? is_integer(element)
                        : element == GgufType::kF32 || element == GgufType::kF64;
  if (value->type != GgufType::kArray || !fits)
    fail(std::string("is not an array of ") + (kind == ArrayOf::kStrings    ? "strings"
                                               : kind == ArrayOf::kIntegers ? "integers"
                                                                            : "floats"));
  if (count && value->count != *count)
    fail("has " + std::to_string(value->count) + " elements, but the vocabulary has " +
         std::to_string(*count) + " tokens");
  return value;
}

Vocabulary::Vocabulary(const Gguf& gguf)
    : model_name_(gguf.require_string("tokenizer.ggml.model")) {
  if (model_name_ == "gpt2") {
    model_ = Model::kBpe;
  } else if (model_name_ == "llama") {
    model_ = Model::kSpm;
  } else {
    throw Error(ErrorCode::kUnsupported,
                gguf.name() + ": tokenizer.ggml.model is '" + model_name_ +
                    "', but only gpt2 (byte-level BPE) and llama (SPM) are supported");
  }
  read_texts(gguf);
  read_types(gguf);
  read_special(gguf);
  find_eog();
}

void Vocabulary::read_texts(const Gguf& gguf) {
  const GgufValue* tokens = find_array(gguf, kTokensKey, ArrayOf::kStrings);
  if (!tokens || tokens->count == 0)
    throw Error(ErrorCode::kBadFile,
                gguf.name() + ": " + std::string(kTokensKey) + " is missing or empty");
  if (tokens->count > std::numeric_limits<int32_t>::max() / 4)
    throw Error(ErrorCode::kBadFile,
                gguf.name() + ": " + std::string(kTokensKey) + " has too many tokens");
  texts_.resize(tokens->count);
  slots_.assign(std::bit_ceil(tokens->count * 2), Slot{0, 0, -1});
  for (int32_t id = 0; id < size(); ++id) {
    const std::string_view text = texts_[id] = tokens->string(id);
    if (text.empty()) continue;
    longest_ = std::max(longest_, text.size());
    Slot slot;
    const size_t at = find_slot(text, slot);
    slot.id = id;
    if (slots_[at].id < 0)
      slots_[at] = slot;
    else
      unique_ = false;
  }
}

// The slot that has `text`, or the free one where it belongs. Fills in `wanted`, except its id. The
// place comes from the upper half of the hash, the tag from the lower, so that the tag still tells
// apart what shares a place. Up to 8 bytes, head and length in the slot are the whole text.
size_t Vocabulary::find_slot(std::string_view text, Slot& wanted) const {
  const uint64_t hash = hash_text(text);
  wanted = {head_of(text), static_cast<uint32_t>(hash << 8 | std::min<size_t>(text.size(), 255)),
            -1};
  const size_t mask = slots_.size() - 1;
  for (size_t at = (hash >> 32) & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.id < 0) return at;
    if (slot.tag == wanted.tag && slot.head == wanted.head &&
        (text.size() <= 8 || texts_[slot.id] == text))
      return at;
  }
}

void Vocabulary::prefetch(std::string_view text) const {
  __builtin_prefetch(&slots_[(hash_text(text) >> 32) & (slots_.size() - 1)]);
}

int32_t Vocabulary::find(std::string_view text) const {
  if (text.size() > longest_ || text.empty()) return -1;
  Slot wanted;
  return slots_[find_slot(text, wanted)].id;
}

int32_t Vocabulary::find_plain(std::string_view text) const {
  const int32_t id = find(text);
  return id >= 0 && is_plain_type(types_[id]) ? id : -1;
}

void Vocabulary::read_types(const Gguf& gguf) {
  types_.assign(texts_.size(), TokenType::kNormal);
  const uint64_t count = texts_.size();
  const GgufValue* types = find_array(gguf, kTypesKey, ArrayOf::kIntegers, &count);
  if (!types) return;
  for (int32_t id = 0; id < size(); ++id) {
    const int64_t type = types->integer(id);
    if (type >= 1 && type <= 6) types_[id] = static_cast<TokenType>(type);
  }
}

// A token id; -1 if absent. One that is no token is none either, as some files have -1 for "none"
// and ids past the vocabulary for padding; what that changes is worth a warning.
int32_t Vocabulary::read_id(const Gguf& gguf, const std::string& key) {
  const GgufValue* value = gguf.find(key);
  if (!value) return -1;
  if (!is_integer(value->type))
    throw Error(ErrorCode::kBadFile, gguf.name() + ": " + key + " is not an integer");
  const int64_t id = value->integer();
  if (id >= 0 && id < size()) return static_cast<int32_t>(id);
  const bool says_none = id == -1 || id == std::numeric_limits<uint32_t>::max();
  if (!says_none) {
    warnings_.push_back(key + " is " +
                        (value->type == GgufType::kU64 ? std::to_string(static_cast<uint64_t>(id))
                                                       : std::to_string(id)) +
                        ", but the vocabulary has " + std::to_string(size()) +
                        " tokens: the file counts as naming none");
  }
  return -1;
}

void Vocabulary::read_special(const Gguf& gguf) {
  const auto read = [&](const char* key, int32_t fallback) {
    const int32_t id = read_id(gguf, key);
    return id >= 0 || fallback >= size() ? id : fallback;
  };
  const bool spm = model_ == Model::kSpm;
  special_.bos = read("tokenizer.ggml.bos_token_id", spm ? 1 : -1);
  special_.eos = read("tokenizer.ggml.eos_token_id", spm ? 2 : -1);
  special_.unk = read("tokenizer.ggml.unknown_token_id", spm ? 0 : -1);
  special_.pad = read("tokenizer.ggml.padding_token_id", -1);
  special_.eot = read("tokenizer.ggml.eot_token_id", -1);
  special_.eom = read("tokenizer.ggml.eom_token_id", -1);
  for (const std::string_view text : kEndOfTurn)
    if (special_.eot < 0) special_.eot = find(text);
  if (special_.eom < 0) special_.eom = find(kEndOfMessage);

  if (gguf.find(kTypesKey)) return;
  // Without types, what the file names as special is all we know.
  for (const int32_t id : {special_.bos, special_.eos, special_.eot, special_.eom, special_.pad})
    if (id >= 0) types_[id] = TokenType::kControl;
  if (special_.unk >= 0) types_[special_.unk] = TokenType::kUnknown;
}

void Vocabulary::find_eog() {
  const auto add = [&](int32_t id) {
    if (id >= 0 && std::find(eog_.begin(), eog_.end(), id) == eog_.end()) eog_.push_back(id);
  };
  // Files of careless converters have these as plain tokens; they are control tokens all the same.
  const auto add_text = [&](std::string_view text) {
    const int32_t id = find(text);
    if (id >= 0) types_[id] = TokenType::kControl;
    add(id);
  };
  for (const std::string_view text : kEndOfTurn) add_text(text);
  add_text(kEndOfMessage);
  add_text(kEndOfText);
  add(special_.eos);
  add(special_.eot);
  add(special_.eom);
  std::sort(eog_.begin(), eog_.end());
}

}  // namespace bitnet
