#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "tokenizer/unicode.h"

namespace bitnet {
namespace {

// GPT-2's byte alphabet: printable bytes of Latin-1 are themselves, the others U+0100 and on.
constexpr uint32_t kAlphabetEnd = 0x100 + 68;

constexpr bool is_printable(uint32_t byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

constexpr auto kByteToCode = [] {
  std::array<uint16_t, 256> table{};
  uint16_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte)
    table[byte] = is_printable(byte) ? static_cast<uint16_t>(byte) : next++;
  return table;
}();

constexpr auto kCodeToByte = [] {
  std::array<int16_t, kAlphabetEnd> table{};
  for (auto& byte : table) byte = -1;
  for (uint32_t byte = 0; byte < 256; ++byte) table[kByteToCode[byte]] = static_cast<int16_t>(byte);
  return table;
}();

void append_byte_code(std::string& out, char byte) {
  const uint32_t code = kByteToCode[static_cast<uint8_t>(byte)];
  if (code < 0x80)
    out.push_back(static_cast<char>(code));
  else
    append_utf8(out, code);
}

// "left right" of one merge. A left part may begin with the space itself, hence the search from 1.
std::pair<std::string_view, std::string_view> split_merge(const GgufValue& merges, uint64_t rank,
                                                          const std::string& file) {
  const std::string_view merge = merges.string(rank);
  const size_t space = merge.find(' ', 1);
  if (space == std::string_view::npos || space + 1 == merge.size())
    throw Error(ErrorCode::kBadFile, file + ": tokenizer.ggml.merges[" + std::to_string(rank) +
                                         "] is not two texts with a space between");
  return {merge.substr(0, space), merge.substr(space + 1)};
}

// Where the search for a pair starts: its low bits, into which the upper ones are folded.
size_t pair_hash(int32_t left, int32_t right) {
  const uint64_t key =
      static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  const uint64_t hash = key * 0x9E3779B97F4A7C15;
  return static_cast<size_t>(hash ^ hash >> 32);
}

}  // namespace

void append_decoded_bytes(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = next_utf8(text);
    const int byte =
        step.state == Utf8Step::kWhole && step.code < kAlphabetEnd ? kCodeToByte[step.code] : -1;
    if (byte >= 0)
      out.push_back(static_cast<char>(byte));
    else
      out.append(text.substr(0, step.bytes));
    text.remove_prefix(step.bytes);
  }
}

BpeEncoder::BpeEncoder(const Gguf& gguf, const Vocabulary& vocabulary, PreTokenizer pre,
                       bool ignore_merges)
    : vocabulary_(vocabulary), pre_(pre), ignore_merges_(ignore_merges) {
  const GgufValue* merges = find_array(gguf, "tokenizer.ggml.merges", ArrayOf::kStrings);
  if (!merges) throw Error(ErrorCode::kBadFile, gguf.name() + ": tokenizer.ggml.merges is missing");
  read_merges(*merges, gguf.name());
}

void BpeEncoder::read_merges(const GgufValue& merges, const std::string& file) {
  std::unordered_map<std::string, int32_t> extra;
  const auto symbol_of = [&](std::string_view text) {
    const int32_t id = vocabulary_.find_plain(text);
    if (id >= 0) return id;
    const int32_t next = vocabulary_.size() + static_cast<int32_t>(extra_symbols_.size());
    const auto [at, is_new] = extra.emplace(text, next);
    if (is_new) extra_symbols_.emplace_back(text);
    return at->second;
  };

  std::string text;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    text.clear();
    append_byte_code(text, static_cast<char>(byte));
    byte_symbols_[byte] = symbol_of(text);
  }

  // In blocks, and in three steps: the tables are larger than the caches, so what a step needs is
  // fetched by the one before. Twice as fast with Llama 3's 280,000 merges.
  constexpr uint64_t kBlock = 32;
  std::array<std::pair<std::string_view, std::string_view>, kBlock> parts;
  std::array<PairSlot, kBlock> block;
  pairs_.resize(std::bit_ceil(merges.count + merges.count / 2 + 1));
  int32_t made = 0;
  for (uint64_t begin = 0; begin < merges.count; begin += kBlock) {
    const uint64_t n = std::min(kBlock, merges.count - begin);
    for (uint64_t i = 0; i < n; ++i) {
      parts[i] = split_merge(merges, begin + i, file);
      vocabulary_.prefetch(parts[i].first);
      vocabulary_.prefetch(parts[i].second);
    }
    for (uint64_t i = 0; i < n; ++i) {
      const auto [left, right] = parts[i];
      text.assign(left).append(right);
      // Merges mostly stand in the order of the tokens they make.
      if (!vocabulary_.is_plain(made, text))
        made = vocabulary_.is_plain(made + 1, text) ? made + 1 : symbol_of(text);
      block[i] = {symbol_of(left), symbol_of(right), {static_cast<uint32_t>(begin + i), made}};
      __builtin_prefetch(&pairs_[pair_hash(block[i].left, block[i].right) & (pairs_.size() - 1)],
                         1);
    }
    for (uint64_t i = 0; i < n; ++i) add_merge(block[i]);
  }
}

void BpeEncoder::add_merge(const PairSlot& pair) {
  const size_t mask = pairs_.size() - 1;
  size_t at = pair_hash(pair.left, pair.right) & mask;
  for (; pairs_[at].left >= 0; at = (at + 1) & mask)
    if (pairs_[at].left == pair.left && pairs_[at].right == pair.right)
      return;  // the first of equal merges counts
  pairs_[at] = pair;
}

Merge BpeEncoder::find_merge(int32_t left, int32_t right) const {
  const size_t mask = pairs_.size() - 1;
  for (size_t at = pair_hash(left, right) & mask; pairs_[at].left >= 0; at = (at + 1) & mask)
    if (pairs_[at].left == left && pairs_[at].right == right) return pairs_[at].merge;
  return {};
}

void BpeEncoder::encode(std::string_view text, std::vector<int32_t>& out) const {
  std::vector<Symbol> symbols;
  std::vector<Merge> scratch;
  std::string coded;
  const auto pair_merge = [this](const Symbol& a, const Symbol& b) {
    return find_merge(a.id, b.id);
  };
  for (const std::string_view piece : pre_tokenize(pre_, text)) {
    if (ignore_merges_ && piece.size() <= vocabulary_.longest()) {
      coded.clear();
      for (const char byte : piece) append_byte_code(coded, byte);
      if (const int32_t id = vocabulary_.find_plain(coded); id >= 0) {
        out.push_back(id);
        continue;
      }
    }
    symbols.clear();
    for (uint32_t i = 0; i < piece.size(); ++i)
      symbols.push_back({i, 1, byte_symbols_[static_cast<uint8_t>(piece[i])]});
    merge_symbols(symbols, scratch, pair_merge);
    for (const Symbol& symbol : symbols) emit(symbol.id, out);
  }
}

void BpeEncoder::emit(int32_t symbol, std::vector<int32_t>& out) const {
  if (symbol < vocabulary_.size()) {
    out.push_back(symbol);
    return;
  }
  // Not a token: those of its characters that are tokens.
  std::string_view rest = extra_symbols_[symbol - vocabulary_.size()];
  while (!rest.empty()) {
    const uint32_t n_bytes = next_utf8(rest).bytes;
    if (const int32_t id = vocabulary_.find_plain(rest.substr(0, n_bytes)); id >= 0)
      out.push_back(id);
    rest.remove_prefix(n_bytes);
  }
}

}  // namespace bitnet
