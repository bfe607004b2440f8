// Feeds the tokenizer vocabularies and texts from an attacker. The first byte of the input chooses:
// 0 takes the rest as a GGUF file; others take it as text for a small built-in vocabulary, one per
// pre-tokenizer and one SPM.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "gguf/gguf.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

using bitnet::Gguf;
using bitnet::StreamDecoder;
using bitnet::Tokenizer;

namespace {

template <class T>
std::string raw(T value) {
  std::string out(sizeof value, '\0');
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}
std::string text(std::string_view value) { return raw<uint64_t>(value.size()).append(value); }
std::string string_entry(std::string_view key, std::string_view value) {
  return text(key) + raw<uint32_t>(8) + text(value);
}
std::string array_entry(std::string_view key, uint32_t type, uint64_t count,
                        const std::string& body) {
  return text(key) + raw<uint32_t>(9) + raw(type) + raw(count) + body;
}

struct Parts {
  std::string tokens, types, scores, merges;
  uint64_t n_tokens = 0, n_merges = 0;

  void add(std::string_view token, int32_t type = 1) {
    tokens += text(token);
    types += raw(type);
    scores += raw(-static_cast<float>(n_tokens++));
  }
  void merge(std::string_view left, std::string_view right) {
    add(std::string(left).append(right));
    merges += text(std::string(left).append(" ").append(right));
    ++n_merges;
  }
};

// A tokenizer with the file that it views.
struct Built {
  Built(const std::string& model, const std::string& pre, const Parts& parts)
      : bytes("GGUF" + raw<uint32_t>(3) + raw<uint64_t>(0) + raw<uint64_t>(6) +
              string_entry("tokenizer.ggml.model", model) +
              string_entry("tokenizer.ggml.pre", pre) +
              array_entry("tokenizer.ggml.tokens", 8, parts.n_tokens, parts.tokens) +
              array_entry("tokenizer.ggml.token_type", 5, parts.n_tokens, parts.types) +
              array_entry("tokenizer.ggml.scores", 6, parts.n_tokens, parts.scores) +
              array_entry("tokenizer.ggml.merges", 8, parts.n_merges, parts.merges) +
              std::string(32, '\0')),
        gguf(Gguf::parse({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()},
                         "built-in")),
        tokenizer(gguf) {}
  std::string bytes;
  Gguf gguf;
  Tokenizer tokenizer;
};

Parts bpe_parts() {
  Parts parts;
  uint32_t shifted = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool stays =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    std::string token;
    bitnet::append_utf8(token, stays ? byte : shifted++);
    parts.add(token);
  }
  for (const char* letter : {"a", "b", "0", "!", "\xC4\xA0"}) {
    parts.merge(letter, letter);
    parts.merge(letter, "a");
    parts.merge(std::string(letter) + letter, std::string(letter) + letter);
  }
  parts.add("<|eot_id|>", 3);
  parts.add("<|", 4);
  parts.add("<|u|>", 4);
  return parts;
}

Parts spm_parts() {
  Parts parts;
  parts.add("<unk>", 2);
  parts.add("<s>", 3);
  parts.add("</s>", 3);
  for (int byte = 0; byte < 256; ++byte) {
    const char* digits = "0123456789ABCDEF";
    parts.add(std::string("<0x") + digits[byte >> 4] + digits[byte & 15] + ">", 6);
  }
  const std::string space = "\xE2\x96\x81";
  for (const std::string& token :
       {space, space + space, space + "a", std::string("a"), std::string("aa"), std::string("aaaa"),
        std::string("ab"), std::string("\xC3\xA9")})
    parts.add(token);
  parts.add("<u>", 4);
  return parts;
}

const std::vector<std::unique_ptr<Built>>& built_in() {
  static const auto tokenizers = [] {
    std::vector<std::unique_ptr<Built>> list;
    for (const char* pre :
         {"default", "gpt-2", "llama-bpe", "qwen2", "falcon", "falcon3", "falcon_e"})
      list.push_back(std::make_unique<Built>("gpt2", pre, bpe_parts()));
    list.push_back(std::make_unique<Built>("llama", "", spm_parts()));
    return list;
  }();
  return tokenizers;
}

void require(bool condition) {
  if (!condition) std::abort();
}

// All that must hold for any vocabulary. `restores`: every text can be spelled.
void exercise(const Tokenizer& tokenizer, std::string_view input, bool restores) {
  for (const bool parse_special : {false, true}) {
    const std::vector<int32_t> ids = tokenizer.encode(input, true, parse_special);
    StreamDecoder stream(tokenizer, parse_special);
    std::string streamed;
    for (const int32_t id : ids) {
      require(id >= 0 && id < tokenizer.n_vocab());
      streamed += stream.push(id);
    }
    streamed += stream.flush();
    for (const bitnet::Char c : bitnet::to_chars(streamed)) require(c.code != bitnet::kInvalidCode);
    const std::string decoded = tokenizer.decode(ids, parse_special);
    if (restores && !parse_special) require(decoded == input);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t choice = data[0] % (built_in().size() + 1);
  if (choice > 0) {
    const Tokenizer& tokenizer = built_in()[choice - 1]->tokenizer;
    // SPM reads its own mark as a space, and puts one more space behind a special token.
    const auto has = [&](std::string_view part) {
      return rest.find(part) != std::string_view::npos;
    };
    exercise(tokenizer, rest, tokenizer.model() == "gpt2" || (!has("\xE2\x96\x81") && !has("<u>")));
    return 0;
  }
  try {
    const Gguf gguf = Gguf::parse({data + 1, size - 1}, "fuzz");
    const Tokenizer tokenizer(gguf);
    std::string all;
    for (int32_t id = 0; id < tokenizer.n_vocab() && all.size() < 4096; ++id)
      all.append(tokenizer.text(id)).append(" ");
    exercise(tokenizer, all, false);
    exercise(tokenizer, rest.substr(0, 4096), false);
  } catch (const bitnet::Error& e) {
    require(e.code == bitnet::ErrorCode::kBadFile || e.code == bitnet::ErrorCode::kUnsupported);
  }
  return 0;
}
