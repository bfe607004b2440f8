// The tokenizer against independent implementations: the models' regular expressions run by
// JavaScript (fixtures/pretokenizer-cases.txt), a plain merge loop here, and llama.cpp's
// conformance cases where the shared folder with the vocabularies is there.
// fixtures/tiny-vocab.gguf is the vocabulary of the tiny model trained for this project.
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <sstream>

#include "base/error.h"
#include "check.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/unicode.h"

using bitnet::Error;
using bitnet::Gguf;
using bitnet::StreamDecoder;
using bitnet::Tokenizer;
using Ids = std::vector<int32_t>;
using Strings = std::vector<std::string>;

namespace {

enum : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A GGUF file in memory with metadata only.
class VocabFile {
 public:
  VocabFile& string(const std::string& key, const std::string& value) {
    return add(key, 8, text(value));
  }
  VocabFile& u32(const std::string& key, uint32_t value) { return add(key, 4, raw(value)); }
  VocabFile& boolean(const std::string& key, bool value) {
    return add(key, 7, raw<uint8_t>(value));
  }
  VocabFile& strings(const std::string& key, const Strings& values) {
    std::string body;
    for (const std::string& value : values) body += text(value);
    return add(key, 9, raw<uint32_t>(8) + raw<uint64_t>(values.size()) + body);
  }
  template <class T>
  VocabFile& numbers(const std::string& key, uint32_t type, const std::vector<T>& values) {
    std::string body;
    for (const T value : values) body += raw(value);
    return add(key, 9, raw(type) + raw<uint64_t>(values.size()) + body);
  }
  VocabFile& types(const Ids& values) { return numbers("tokenizer.ggml.token_type", 5, values); }
  VocabFile& scores(const std::vector<float>& values) {
    return numbers("tokenizer.ggml.scores", 6, values);
  }
  VocabFile& tokens(const Strings& values) { return strings("tokenizer.ggml.tokens", values); }
  VocabFile& merges(const Strings& values) { return strings("tokenizer.ggml.merges", values); }

  // The bytes live as long as this object and change with the next call.
  Gguf gguf() {
    bytes_ = "GGUF" + raw<uint32_t>(3) + raw<uint64_t>(0) + raw<uint64_t>(values_.size());
    for (const auto& [key, value] : values_) bytes_ += text(key) + value;
    bytes_.resize((bytes_.size() + 31) / 32 * 32);
    return Gguf::parse({reinterpret_cast<const uint8_t*>(bytes_.data()), bytes_.size()},
                       "test.gguf");
  }

 private:
  template <class T>
  static std::string raw(T value) {
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    return out;
  }
  static std::string text(const std::string& value) { return raw<uint64_t>(value.size()) + value; }
  VocabFile& add(const std::string& key, uint32_t type, const std::string& body) {
    values_[key] = raw(type) + body;
    return *this;
  }
  std::map<std::string, std::string> values_;
  std::string bytes_;
};

// A file with its tokenizer; the tokenizer views the file.
struct Loaded {
  explicit Loaded(VocabFile vocab_file, const std::string& pre = "")
      : file(std::move(vocab_file)), gguf(file.gguf()), tokenizer(gguf, {pre}) {}
  VocabFile file;
  Gguf gguf;
  Tokenizer tokenizer;
};

std::string pre_of(VocabFile file, const std::string& pre = "") {
  return Loaded(std::move(file), pre).tokenizer.pre();
}

// What building a tokenizer from the file throws, as "CODE message", or "".
std::string failure(VocabFile file, const std::string& pre = "") {
  try {
    Loaded loaded(std::move(file), pre);
  } catch (const Error& e) {
    return std::string(bitnet::error_code_name(e.code)) + " " + e.what();
  }
  return "";
}
bool starts_with(const std::string& text, const std::string& start) {
  return text.rfind(start, 0) == 0;
}
bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// The byte alphabet's character of a byte, written down independently.
std::string byte_character(int byte) {
  int shifted = 0x100, code = -1;
  for (int b = 0; b <= byte; ++b) {
    const bool stays = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    code = stays ? b : shifted++;
  }
  std::string out;
  bitnet::append_utf8(out, static_cast<uint32_t>(code));
  return out;
}

// 256 byte tokens (id = byte), then the given ones.
Strings with_bytes(const Strings& more) {
  Strings tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(byte_character(byte));
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}
VocabFile bpe_file(const Strings& more, const Strings& merges, const std::string& pre = "gpt-2") {
  VocabFile file;
  file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", pre);
  file.tokens(with_bytes(more)).merges(merges);
  return file;
}
Ids bpe_types(const Ids& more) {
  Ids types(256, kNormal);
  types.insert(types.end(), more.begin(), more.end());
  return types;
}

// unk, <s>, </s>, 256 byte tokens (id = byte + 3), then normal tokens with scores 0, -1, -2 ... as
// a trainer gives them.
struct SpmParts {
  Strings tokens{"<unk>", "<s>", "</s>"};
  Ids types{kUnknown, kControl, kControl};
  std::vector<float> scores{0, 0, 0};
  void add(const std::string& text, float score, int32_t type = kNormal) {
    tokens.push_back(text), scores.push_back(score), types.push_back(type);
  }
};
SpmParts spm_parts(const Strings& normal, bool bytes = true) {
  SpmParts parts;
  for (int byte = 0; bytes && byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    parts.add(name, 0, kByte);
  }
  float score = 0;
  for (const std::string& text : normal) parts.add(text, score--);
  return parts;
}
VocabFile spm_file(const SpmParts& parts) {
  VocabFile file;
  file.string("tokenizer.ggml.model", "llama")
      .tokens(parts.tokens)
      .types(parts.types)
      .scores(parts.scores);
  return file;
}
constexpr int32_t kSpmNormal = 259;  // the first id of `normal`

Strings texts(const Tokenizer& tokenizer, const Ids& ids) {
  Strings out;
  for (const int32_t id : ids) out.emplace_back(tokenizer.text(id));
  return out;
}

std::string random_bytes(std::mt19937& random, size_t max) {
  std::string out(random() % (max + 1), '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}
std::string random_unicode(std::mt19937& random, size_t max) {
  std::string out;
  for (size_t n = random() % (max + 1); n > 0; --n) {
    const uint32_t limits[] = {0x80, 0x80, 0x250, 0x3000, 0x10000, 0x110000};
    const uint32_t code = random() % limits[random() % 6];
    if (code < 0xD800 || code > 0xDFFF) bitnet::append_utf8(out, code);
    if (random() % 4 == 0) out += ' ';
  }
  return out;
}

const char* const kPreNames[] = {"default", "gpt-2",   "llama-bpe", "qwen2",
                                 "falcon",  "falcon3", "falcon_e"};

std::string join(const std::vector<std::string_view>& pieces, const char* between) {
  std::string out;
  for (const std::string_view piece : pieces) out.append(out.empty() ? "" : between).append(piece);
  return out;
}
std::string split(const char* pre, std::string_view text) {
  return join(bitnet::pre_tokenize(*bitnet::find_pre_tokenizer(pre), text), "|");
}

}  // namespace

TEST("every pre-tokenizer splits as the regular expressions of its model do") {
  std::ifstream in(check::data("pretokenizer-cases.txt"));
  std::string line, word;
  std::getline(in, line);
  Strings names;
  for (std::istringstream words(line); words >> word;) names.push_back(word);
  CHECK_EQ(names.size(), 6u);
  int n_cases = 0;
  for (; std::getline(in, line); ++n_cases) {
    std::istringstream words(line);
    std::string hex, text;
    words >> hex;
    for (size_t i = 0; i < hex.size(); i += 2)
      text.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    for (const std::string& name : names) {
      std::string expected, sizes;
      words >> expected;
      for (const std::string_view piece :
           bitnet::pre_tokenize(*bitnet::find_pre_tokenizer(name), text))
        sizes += "0123456789abcdefghijklmnopqrstuvwxyz"[piece.size()];
      if (sizes != expected)
        check::fail(name.c_str(), 0, hex + ": expected " + expected + " but got " + sizes);
    }
  }
  CHECK_EQ(n_cases, 1500);
}

TEST("white space gives its last character to the text behind it") {
  CHECK_EQ(split("llama-bpe", "a   b"), "a|  | b");
  CHECK_EQ(split("gpt-2", "a \t b"), "a| \t| b");
  CHECK_EQ(split("gpt-2", "a\n\nb"), "a|\n|\n|b");
  CHECK_EQ(split("llama-bpe", "a\n\nb"), "a|\n\n|b");
  CHECK_EQ(split("llama-bpe", "a \n \n  b  "), "a| \n \n| | b|  ");
  CHECK_EQ(split("llama-bpe", "x!!\r\n\ny"), "x|!!\r\n\n|y");
}

TEST("digits and contractions are split as each model wants") {
  CHECK_EQ(split("llama-bpe", "12345 I'LL"), "123|45| I|'LL");
  CHECK_EQ(split("qwen2", "12345 I'LL"), "1|2|3|4|5| I|'LL");
  CHECK_EQ(split("gpt-2", "12345 I'LL I'll"), "12345| I|'|LL| I|'ll");
  CHECK_EQ(split("falcon", "x 12345"), "x| |123|45");
  CHECK_EQ(split("falcon3", "x 123"), "x| |1|2|3");
  CHECK_EQ(split("default", "x 12345`"), "x| |123|45|`");
}

TEST("bytes that are not UTF-8 are characters without a class, one each") {
  CHECK_EQ(split("llama-bpe", "a\xFF\xE4\xB8 b\xC0\xAF"), "a|\xFF\xE4\xB8| b|\xC0\xAF");
  CHECK_EQ(split("gpt-2", " \xED\xA0\x80\x41"), " \xED\xA0\x80|A");  // an encoded surrogate
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_bytes(random, 40);
    for (const char* name : kPreNames) {
      const auto pieces = bitnet::pre_tokenize(*bitnet::find_pre_tokenizer(name), text);
      CHECK_EQ(join(pieces, ""), text);
      for (const std::string_view piece : pieces) CHECK(!piece.empty());
    }
  }
}

TEST("UTF-8 is decoded strictly, and an unfinished character is told from a wrong one") {
  using Step = bitnet::Utf8Step;
  const struct {
    const char* text;
    Step::State state;
    uint32_t code, bytes;
  } cases[] = {
      {"A", Step::kWhole, 'A', 1},
      {"\xC3\xA9", Step::kWhole, 0xE9, 2},
      {"\xEF\xBF\xBD", Step::kWhole, 0xFFFD, 3},
      {"\xF4\x8F\xBF\xBF", Step::kWhole, 0x10FFFF, 4},
      {"\xE2\x96", Step::kCut, 0, 2},
      {"\xF0", Step::kCut, 0, 1},
      {"\x80", Step::kInvalid, 0, 1},
      {"\xC1\xBF", Step::kInvalid, 0, 1},
      {"\xE0\x9F\xBF", Step::kInvalid, 0, 1},
      {"\xED\xA0\x80", Step::kInvalid, 0, 1},
      {"\xE2\x96"
       "A",
       Step::kInvalid, 0, 2},
      {"\xF4\x90\x80\x80", Step::kInvalid, 0, 1},
      {"\xF0\x9F\x98"
       "A",
       Step::kInvalid, 0, 3},
      {"\xF5\x80", Step::kInvalid, 0, 1},
      {"\xFF", Step::kInvalid, 0, 1},
  };
  for (const auto& c : cases) {
    const Step step = bitnet::next_utf8(c.text);
    CHECK_EQ(step.state, c.state);
    CHECK_EQ(step.bytes, c.bytes);
    if (c.state == Step::kWhole) CHECK_EQ(step.code, c.code);
  }
}

TEST("encoding and decoding give back any Unicode and any bytes, with every pre-tokenizer") {
  const Gguf gguf = Gguf::open(check::data("tiny-vocab.gguf"));
  std::mt19937 random(2);
  for (const char* pre : kPreNames) {
    const Tokenizer tokenizer(gguf, {pre});
    CHECK_EQ(tokenizer.pre(), pre);
    for (int i = 0; i < 500; ++i) {
      const std::string text = i % 2 ? random_unicode(random, 60) : random_bytes(random, 100);
      CHECK_EQ(tokenizer.decode(tokenizer.encode(text, true, false), false), text);
    }
  }
}

TEST("the tiny vocabulary says what its file says") {
  const Gguf gguf = Gguf::open(check::data("tiny-vocab.gguf"));
  const Tokenizer tokenizer(gguf);
  CHECK_EQ(tokenizer.n_vocab(), 2048);
  CHECK_EQ(tokenizer.model(), "gpt2");
  CHECK_EQ(tokenizer.pre(), "llama-bpe");
  CHECK_EQ(tokenizer.bos(), 2045);
  CHECK_EQ(tokenizer.eos(), 2046);
  CHECK_EQ(tokenizer.eot(), 2047);
  CHECK_EQ(tokenizer.unk(), -1);
  CHECK_EQ(tokenizer.eog(), (Ids{2046, 2047}));
  CHECK_EQ(tokenizer.find("<|eot_id|>"), 2047);
  CHECK_EQ(tokenizer.find("<|no_such_token|>"), -1);
  CHECK_EQ(tokenizer.find(""), -1);
  CHECK_EQ(tokenizer.encode("", false, false), Ids{});
  CHECK_EQ(tokenizer.encode("", true, false), Ids{2045});
  CHECK_EQ(tokenizer.encode("<|eot_id|>", false, true), Ids{2047});
  CHECK(tokenizer.encode("<|eot_id|>", false, false).size() > 1);
  CHECK_EQ(tokenizer.piece(2047, false), "");
  CHECK_EQ(tokenizer.piece(2047, true), "<|eot_id|>");
}

TEST("an id outside the vocabulary is a usage error, or simply not special") {
  const Gguf gguf = Gguf::open(check::data("tiny-vocab.gguf"));
  const Tokenizer tokenizer(gguf);
  for (const int32_t id : {-1, 2048, INT32_MAX, INT32_MIN}) {
    CHECK_THROWS(tokenizer.piece(id, true), Error, "not in the vocabulary of 2048 tokens");
    CHECK_THROWS(tokenizer.text(id), Error, std::to_string(id));
    CHECK_THROWS(tokenizer.decode(Ids{id}, true), Error, std::to_string(id));
    CHECK(!tokenizer.is_eog(id));
    CHECK(!tokenizer.is_control(id));
  }
}

// The definition of BPE: as long as a pair of neighbours has a merge, merge the one of lowest rank,
// leftmost first.
static Strings plain_bpe(const std::string& text, const std::map<std::string, size_t>& ranks) {
  Strings symbols;
  for (const char c : text) symbols.emplace_back(1, c);
  for (;;) {
    size_t best = SIZE_MAX, at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i)
      if (const auto rank = ranks.find(symbols[i] + " " + symbols[i + 1]);
          rank != ranks.end() && rank->second < best)
        best = rank->second, at = i;
    if (best == SIZE_MAX) return symbols;
    symbols[at] += symbols[at + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST("merges short and long pieces as the definition of BPE says") {
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    Strings known{"a", "b", "c"}, merges, more;
    std::map<std::string, size_t> ranks;
    while (merges.size() < 40) {
      const std::string left = known[random() % known.size()],
                        right = known[random() % known.size()];
      if (left.size() + right.size() > 12 ||
          !ranks.emplace(left + " " + right, merges.size()).second)
        continue;
      merges.push_back(left + " " + right);
      if (std::find(known.begin(), known.end(), left + right) == known.end()) {
        known.push_back(left + right);
        more.push_back(left + right);
      }
    }
    const Loaded loaded(bpe_file(more, merges));
    for (int i = 0; i < 40; ++i) {
      std::string text(1 + random() % (i % 2 ? 30 : 300), 'a');
      for (char& c : text) c = "abc"[random() % 3];
      CHECK_EQ(texts(loaded.tokenizer, loaded.tokenizer.encode(text, false, false)),
               plain_bpe(text, ranks));
    }
  }
}

TEST("a megabyte without a break is tokenized in reasonable time") {
  const Loaded bpe(bpe_file({"aa", "aaaa"}, {"a a", "aa aa"}));
  CHECK_EQ(bpe.tokenizer.encode(std::string(1000000, 'a'), false, false), Ids(250000, 257));
  const Loaded spm(spm_file(spm_parts({"\xE2\x96\x81", "a", "aa", "aaaa"})));
  CHECK_EQ(spm.tokenizer.encode(std::string(1000000, 'a'), false, false).size(), 250001u);
}

TEST(
    "merges may pass through texts that are not tokens, and what stays without a token falls "
    "apart") {
  // "ab" is no token, but "abc" is.
  const Loaded loaded(bpe_file({"abc"}, {"a b", "ab c"}));
  CHECK_EQ(loaded.tokenizer.encode("abc", false, false), Ids{256});
  CHECK_EQ(loaded.tokenizer.encode("abd", false, false), (Ids{'a', 'b', 'd'}));
}

TEST("a byte whose character is not in the vocabulary is left out") {
  VocabFile file;
  file.string("tokenizer.ggml.model", "gpt2").tokens({"a", "b"}).merges({});
  CHECK_EQ(Loaded(file).tokenizer.encode("a\xFFzb", false, false), (Ids{0, 1}));
}

TEST("llama-bpe takes a piece that is a token whole, whatever the merges say; others do not") {
  const Strings more{"the", "th"}, merges{"t h"};
  CHECK_EQ(Loaded(bpe_file(more, merges, "llama-bpe")).tokenizer.encode("the", false, false),
           Ids{256});
  CHECK_EQ(Loaded(bpe_file(more, merges, "gpt-2")).tokenizer.encode("the", false, false),
           (Ids{257, 'e'}));
}

TEST("plain text never becomes a control token") {
  VocabFile file = bpe_file({"stop", "st", "op"}, {"s t", "o p", "st op"}, "llama-bpe");
  file.types(bpe_types({kControl, kNormal, kNormal}));
  const Loaded bpe(file);
  CHECK_EQ(bpe.tokenizer.decode(bpe.tokenizer.encode("stop", false, false), false), "stop");
  CHECK_EQ(bpe.tokenizer.encode("stop", false, true), Ids{256});

  const Loaded spm(spm_file(spm_parts(
      {"<", "s", ">", "<s", "\xE2\x96\x81", "0", "x", "A", "<0", "<0x", "<0x0", "<0x0A"})));
  CHECK_EQ(texts(spm.tokenizer, spm.tokenizer.encode("<s>", false, false)),
           (Strings{"\xE2\x96\x81", "<s", ">"}));
  CHECK_EQ(spm.tokenizer.encode("<s>", false, true), Ids{1});
  CHECK_EQ(spm.tokenizer.decode(spm.tokenizer.encode("<0x0A>", false, true), false), "<0x0A>");
}

TEST("user-defined tokens are always recognized, the longest first, then the leftmost") {
  VocabFile file = bpe_file({"<x>", "<x><y>", "<y>", "<c>", "y><c", "zz"}, {});
  file.types(
      bpe_types({kUserDefined, kUserDefined, kUserDefined, kControl, kUserDefined, kUserDefined}));
  const Loaded loaded(file);
  const auto encode = [&](const char* text, bool special) {
    return loaded.tokenizer.encode(text, false, special);
  };
  CHECK_EQ(encode("a<x><y>b<x>", false), (Ids{'a', 257, 'b', 256}));
  CHECK_EQ(encode("<x><x><y>", false), (Ids{256, 257}));
  CHECK_EQ(encode("<c>", false), (Ids{'<', 'c', '>'}));
  CHECK_EQ(encode("<x><c>", true), (Ids{256, 259}));
  // The longest wins wherever it stands: <x><y> before y><c, which comes too late to match.
  CHECK_EQ(encode("<x><y><c>", true), (Ids{257, 259}));
  CHECK_EQ(encode("<y><c>", true), (Ids{'<', 260, '>'}));
  CHECK_EQ(encode("zzz", false), (Ids{261, 'z'}));
  CHECK_EQ(loaded.tokenizer.decode(Ids{256, 259, 'a'}, false), "<x>a");
  CHECK_EQ(loaded.tokenizer.decode(Ids{256, 259, 'a'}, true), "<x><c>a");
}

TEST("BOS and EOS are added as the file says, or by the rule of its kind") {
  const auto file = [](const char* pre) {
    return bpe_file({"<b>", "<e>"}, {}, pre)
        .u32("tokenizer.ggml.bos_token_id", 256)
        .u32("tokenizer.ggml.eos_token_id", 257);
  };
  CHECK_EQ(Loaded(file("gpt-2")).tokenizer.encode("a", true, false), Ids{'a'});
  CHECK_EQ(Loaded(file("llama-bpe")).tokenizer.encode("a", true, false), (Ids{256, 'a'}));
  CHECK_EQ(pre_of(file("llama3")), "llama-bpe");
  CHECK_EQ(Loaded(file("llama-v3")).tokenizer.encode("a", true, false), (Ids{256, 'a'}));
  CHECK_EQ(Loaded(file("llama-bpe")).tokenizer.encode("a", false, false), Ids{'a'});
  CHECK_EQ(Loaded(file("llama-bpe").boolean("tokenizer.ggml.add_bos_token", false))
               .tokenizer.encode("a", true, false),
           Ids{'a'});
  VocabFile both = file("qwen2")
                       .boolean("tokenizer.ggml.add_bos_token", true)
                       .boolean("tokenizer.ggml.add_eos_token", true);
  CHECK_EQ(Loaded(both).tokenizer.encode("a", true, false), (Ids{256, 'a', 257}));
  // Nothing to add: the file names no BOS.
  const Loaded without(bpe_file({}, {}, "llama-bpe").boolean("tokenizer.ggml.add_eos_token", true));
  CHECK(!without.tokenizer.add_bos() && !without.tokenizer.add_eos());
  CHECK_EQ(without.tokenizer.encode("a", true, false), Ids{'a'});
}

TEST("files of BitNet-b1.58-2B-4T, which name no pre-tokenizer, get Llama 3's") {
  Strings more;
  for (int i = 256; i < 128256; ++i) more.push_back("token " + std::to_string(i));
  VocabFile file = bpe_file(more, {});
  file.string("tokenizer.ggml.pre", "");
  CHECK_EQ(pre_of(file.string("general.architecture", "bitnet-b1.58")), "llama-bpe");
  CHECK_EQ(pre_of(file.string("general.architecture", "bitnet-25")), "llama-bpe");
  CHECK_EQ(pre_of(file, "default"), "default");
  CHECK_EQ(pre_of(file.string("general.architecture", "llama")), "default");
  more.pop_back();
  file.tokens(with_bytes(more)).string("general.architecture", "bitnet-b1.58");
  CHECK_EQ(pre_of(file), "default");
}

TEST(
    "an unknown tokenizer or pre-tokenizer is unsupported, and the message names it and the way "
    "out") {
  const std::string unknown = failure(bpe_file({}, {}, "tekken"));
  CHECK(starts_with(unknown, "UNSUPPORTED test.gguf"));
  CHECK(contains(unknown, "'tekken'") && contains(unknown, "--tokenizer-pre") &&
        contains(unknown, "qwen2"));
  CHECK(starts_with(failure(bpe_file({}, {}), "tekken"), "UNSUPPORTED"));
  CHECK_EQ(failure(bpe_file({}, {}, "tekken"), "qwen2"), "");
  const std::string model = failure(bpe_file({}, {}).string("tokenizer.ggml.model", "bert"));
  CHECK(starts_with(model, "UNSUPPORTED") && contains(model, "'bert'"));
}

TEST("the tokens that end a generation come from the file's ids and from well-known texts") {
  VocabFile file = bpe_file({"<e>", "<|im_end|>", "<|eom_id|>", "<|end_of_text|>", "plain"}, {});
  file.u32("tokenizer.ggml.eos_token_id", 256)
      .types(bpe_types({kControl, kNormal, kControl, kControl, kNormal}));
  const Loaded loaded(file);
  CHECK_EQ(loaded.tokenizer.eot(), 257);
  CHECK_EQ(loaded.tokenizer.eog(), (Ids{256, 257, 258, 259}));
  CHECK(loaded.tokenizer.is_eog(259) && !loaded.tokenizer.is_eog(260) &&
        !loaded.tokenizer.is_eog('a'));
  CHECK(loaded.tokenizer.is_control(257));  // although the file calls it normal
  const Loaded named(file.u32("tokenizer.ggml.eot_token_id", 260));
  CHECK_EQ(named.tokenizer.eot(), 260);
  CHECK_EQ(named.tokenizer.eog(), (Ids{256, 257, 258, 259, 260}));
}

TEST("without token types, the tokens that the file names as special are control tokens") {
  const Loaded loaded(bpe_file({"<b>", "<e>"}, {})
                          .u32("tokenizer.ggml.bos_token_id", 256)
                          .u32("tokenizer.ggml.eos_token_id", 257));
  CHECK(loaded.tokenizer.is_control(256) && loaded.tokenizer.is_control(257) &&
        !loaded.tokenizer.is_control('a'));
  CHECK_EQ(loaded.tokenizer.encode("<b>", false, true), Ids{256});
}

TEST("inconsistent vocabularies are bad files that say what is wrong") {
  const VocabFile good = bpe_file({"ab"}, {"a b"});
  CHECK_EQ(failure(good), "");
  const auto fails = [&](VocabFile file, const char* key, const char* what) {
    const std::string message = failure(std::move(file));
    if (!starts_with(message, "BAD_FILE") || !contains(message, key) || !contains(message, what))
      check::fail(key, 0, "unexpected: " + message);
  };
  const auto copy = [&] { return good; };
  fails(copy().tokens({}), "tokenizer.ggml.tokens", "empty");
  fails(copy().string("tokenizer.ggml.tokens", "a"), "tokenizer.ggml.tokens",
        "not an array of strings");
  fails(copy().numbers<int32_t>("tokenizer.ggml.tokens", 5, {1, 2}), "tokenizer.ggml.tokens",
        "not an array of strings");
  fails(copy().types({1, 1}), "tokenizer.ggml.token_type",
        "has 2 elements, but the vocabulary has 257");
  fails(copy().scores(std::vector<float>(257)).types({}), "tokenizer.ggml.token_type",
        "has 0 elements");
  fails(copy().strings("tokenizer.ggml.token_type", Strings(257)), "tokenizer.ggml.token_type",
        "not an array of integers");
  for (const char* merge : {"ab", "", " ", "a ", " b"})
    fails(copy().merges({"a b", merge}), "merges[1]", "not two texts");
  fails(copy().u32("tokenizer.ggml.merges", 1), "tokenizer.ggml.merges", "not an array");
  fails(copy().string("tokenizer.ggml.bos_token_id", "x"), "tokenizer.ggml.bos_token_id",
        "not an integer");
  fails(copy().u32("tokenizer.ggml.add_bos_token", 1), "tokenizer.ggml.add_bos_token", "");
  fails(copy().u32("tokenizer.ggml.pre", 1), "tokenizer.ggml.pre", "");
  fails(VocabFile().string("tokenizer.ggml.model", "gpt2").tokens({"a"}), "tokenizer.ggml.merges",
        "missing");
  fails(VocabFile().string("tokenizer.ggml.model", "gpt2"), "tokenizer.ggml.tokens", "missing");
  fails(VocabFile(), "tokenizer.ggml.model", "");
  fails(VocabFile().string("tokenizer.ggml.model", "llama").tokens({"a"}), "tokenizer.ggml.scores",
        "missing");
  fails(VocabFile().string("tokenizer.ggml.model", "llama").tokens({"a"}).scores({1, 2}),
        "tokenizer.ggml.scores", "has 2 elements");
}

TEST("odd but harmless vocabularies work") {
  // Ids past the vocabulary count as absent, as for the padding of some published files; unknown
  // types as normal.
  VocabFile file = bpe_file({"", "ab", "ab", "abc", ""}, {"a b", "a b", "ab c"});
  file.u32("tokenizer.ggml.bos_token_id", 0xFFFFFFFF).u32("tokenizer.ggml.padding_token_id", 261);
  Ids types = bpe_types({kNormal, kNormal, kNormal, kNormal, 99});
  types[0] = -5;
  const Loaded loaded(file.types(types));
  CHECK_EQ(loaded.tokenizer.bos(), -1);
  CHECK_EQ(loaded.tokenizer.pad(), -1);
  CHECK_EQ(loaded.tokenizer.find("ab"), 257);
  CHECK_EQ(loaded.tokenizer.encode("abxabc", false, false), (Ids{257, 'x', 259}));
  CHECK_EQ(loaded.tokenizer.piece(256, true), "");
  CHECK_EQ(loaded.tokenizer.decode(Ids{258, 260}, true), "ab");
  // Of equal texts it is always the first that takes part in merges.
  const Loaded twice(bpe_file({"ab", "bb", "ab", "abc"}, {"b b", "a b", "ab c"}));
  CHECK_EQ(twice.tokenizer.encode("abc", false, false), Ids{259});
}

TEST("SPM merges by score, puts a space in front, and spells unknown characters as bytes") {
  const Loaded loaded(spm_file(spm_parts({"\xE2\x96\x81", "a", "b",
                                          "\xE2\x96\x81"
                                          "a",
                                          "ab",
                                          "\xE2\x96\x81"
                                          "ab"})));
  const Tokenizer& t = loaded.tokenizer;
  CHECK_EQ(t.model(), "llama");
  CHECK_EQ(t.bos(), 1);
  CHECK_EQ(t.eos(), 2);
  CHECK_EQ(t.unk(), 0);
  CHECK(t.add_bos() && !t.add_eos());
  CHECK_EQ(texts(t, t.encode("ab", true, false)), (Strings{"<s>",
                                                           "\xE2\x96\x81"
                                                           "ab"}));
  CHECK_EQ(texts(t, t.encode("b ab", false, false)), (Strings{"\xE2\x96\x81", "b",
                                                              "\xE2\x96\x81"
                                                              "ab"}));
  CHECK_EQ(texts(t, t.encode("aab", false, false)), (Strings{"\xE2\x96\x81"
                                                             "a",
                                                             "ab"}));
  CHECK_EQ(texts(t, t.encode("\xC3\xA9\n", false, false)),
           (Strings{"\xE2\x96\x81", "<0xC3>", "<0xA9>", "<0x0A>"}));
  CHECK_EQ(t.encode("", true, false), Ids{1});
}

TEST("SPM gives back any text, without its first space") {
  const Loaded loaded(spm_file(spm_parts({"\xE2\x96\x81", "a", "b",
                                          "\xE2\x96\x81"
                                          "a",
                                          "\xE2\x96\x81\xE2\x96\x81"})));
  const Tokenizer& t = loaded.tokenizer;
  std::mt19937 random(4);
  for (int i = 0; i < 1000; ++i) {
    const std::string text = i % 2 ? random_unicode(random, 60) : random_bytes(random, 100);
    if (contains(text, "\xE2\x96\x81")) continue;
    CHECK_EQ(t.decode(t.encode(text, true, false), false), text);
  }
  CHECK_EQ(t.decode(t.encode("  a", false, false), false), "  a");
  CHECK_EQ(t.decode(Ids{kSpmNormal + 3, kSpmNormal + 3}, false), "a a");
  CHECK_EQ(t.piece(kSpmNormal + 3, false), " a");
}

TEST("SPM puts the space also behind special tokens, and nowhere if the file says so") {
  SpmParts parts = spm_parts({"\xE2\x96\x81", "a",
                              "\xE2\x96\x81"
                              "a"});
  parts.add("<sep>", 0, kUserDefined);
  const Loaded with(spm_file(parts));
  CHECK_EQ(texts(with.tokenizer, with.tokenizer.encode("a<sep>a</s>a", false, true)),
           (Strings{"\xE2\x96\x81"
                    "a",
                    "<sep>",
                    "\xE2\x96\x81"
                    "a",
                    "</s>",
                    "\xE2\x96\x81"
                    "a"}));
  CHECK_EQ(with.tokenizer.encode("<sep>", false, false), Ids{kSpmNormal + 3});
  const Loaded without(spm_file(parts).boolean("tokenizer.ggml.add_space_prefix", false));
  CHECK_EQ(texts(without.tokenizer, without.tokenizer.encode("a<sep>a", false, true)),
           (Strings{"a", "<sep>", "a"}));
  CHECK_EQ(without.tokenizer.decode(without.tokenizer.encode(" a", false, false), false), " a");
}

TEST("SPM merges across words where the vocabulary has such tokens") {
  const Loaded loaded(
      spm_file(spm_parts({"a"
                          "\xE2\x96\x81",
                          "a"
                          "\xE2\x96\x81"
                          "a",
                          "\xE2\x96\x81", "a"})));
  CHECK_EQ(texts(loaded.tokenizer, loaded.tokenizer.encode("a a", false, false)),
           (Strings{"\xE2\x96\x81",
                    "a\xE2\x96\x81"
                    "a"}));
}

TEST("SPM without byte tokens gives one unknown token per character") {
  const Loaded loaded(spm_file(spm_parts({"\xE2\x96\x81", "a"}, false)));
  CHECK_EQ(loaded.tokenizer.encode("a\xE4\xB8\xAD\xFF", false, false), (Ids{3, 4, 0, 0}));
}

TEST("SPM scores that are not numbers come last") {
  SpmParts parts = spm_parts({"\xE2\x96\x81", "a", "b", "c"});
  parts.add("ab", NAN);
  parts.add("bc", -1e30f);
  parts.add("ca", INFINITY);
  const Loaded loaded(spm_file(parts));
  CHECK_EQ(texts(loaded.tokenizer, loaded.tokenizer.encode("abcab", false, false)),
           (Strings{"\xE2\x96\x81", "ab", "ca", "b"}));
}

TEST("the stream decoder holds back unfinished characters and replaces what is not UTF-8") {
  const Loaded loaded(bpe_file({"\xC3\xA2\xC4\xB8", "<|im_end|>"},
                               {}));  // 256: the bytes E2 96 in the byte alphabet
  CHECK_EQ(loaded.tokenizer.piece(256, false), "\xE2\x96");
  StreamDecoder stream(loaded.tokenizer, false);
  CHECK_EQ(stream.push('a'), "a");
  CHECK_EQ(stream.push(256), "");
  CHECK_EQ(stream.push(0x81), "\xE2\x96\x81");
  CHECK_EQ(stream.push(256), "");
  CHECK_EQ(stream.push('b'),
           "\xEF\xBF\xBD"
           "b");
  CHECK_EQ(stream.push(0xFF), "\xEF\xBF\xBD");
  CHECK_EQ(stream.push(256), "");
  CHECK_EQ(stream.push(257), "");  // invisible, and ends nothing
  CHECK_EQ(stream.push(0x81), "\xE2\x96\x81");
  CHECK_EQ(stream.push(0xF0), "");
  CHECK_EQ(stream.flush(), "\xEF\xBF\xBD");
  CHECK_EQ(stream.flush(), "");
}

TEST("the stream decoder gives the decoded text, in whole characters") {
  const Gguf gguf = Gguf::open(check::data("tiny-vocab.gguf"));
  const Tokenizer bpe(gguf);
  const Loaded spm(spm_file(spm_parts({"\xE2\x96\x81", "a",
                                       "\xE2\x96\x81"
                                       "a",
                                       "\xE2\x96\x81\xE2\x96\x81"})));
  std::mt19937 random(5);
  for (const Tokenizer* tokenizer : {&bpe, &spm.tokenizer}) {
    for (int i = 0; i < 300; ++i) {
      const std::string text = random_unicode(random, 40);
      if (contains(text, "\xE2\x96\x81")) continue;
      StreamDecoder stream(*tokenizer, false);
      std::string streamed;
      for (const int32_t id : tokenizer->encode(text, true, false)) {
        const std::string part = stream.push(id);
        for (const bitnet::Char c : bitnet::to_chars(part)) CHECK(c.code != bitnet::kInvalidCode);
        streamed += part;
      }
      CHECK_EQ(streamed + stream.flush(), text);
    }
  }
}

namespace conformance {

// Llama 3's tokenizer.json as a vocabulary file: just enough JSON for that.
struct Json {
  const std::string& text;
  size_t at;

  std::string string() {
    std::string out;
    for (at = text.find('"', at) + 1; text[at] != '"'; ++at) {
      if (text[at] == '\\') ++at;
      out += text[at];
    }
    ++at;
    return out;
  }
};

VocabFile llama3_file(const std::string& json) {
  Strings tokens;
  Ids types;
  for (Json vocab{json, json.find("\"vocab\":{") + 8}; json[vocab.at] != '}';) {
    tokens.push_back(vocab.string());
    types.push_back(kNormal);
    vocab.at = json.find_first_of(",}", vocab.at);
  }
  Strings merges;
  for (Json list{json, json.find("\"merges\":[") + 9}; json[list.at] != ']';)
    merges.push_back(list.string());
  const std::string content = "\"content\":";
  for (size_t at = json.find(content); at < json.find("\"model\":");
       at = json.find(content, at + 1)) {
    tokens.push_back(Json{json, at + content.size()}.string());
    types.push_back(kControl);
  }
  VocabFile file;
  file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "llama-bpe");
  return file.tokens(tokens).types(types).merges(merges).u32("tokenizer.ggml.bos_token_id", 128000);
}

// Cases between lines __ggml_vocab_test__; their ids, one line each.
void check_cases(const Tokenizer& tokenizer, const std::string& inputs,
                 const std::string& outputs) {
  const std::string separator = "\n__ggml_vocab_test__\n", input = read_file(inputs);
  std::ifstream output(outputs);
  int n_cases = 0;
  for (size_t at = 0, end; (end = input.find(separator, at)) != std::string::npos;
       at = end + separator.size()) {
    const std::string text = input.substr(at, end - at);
    std::string line;
    std::getline(output, line);
    std::istringstream words(line);
    Ids expected;
    for (int32_t id; words >> id;) expected.push_back(id);
    const Ids ids = tokenizer.encode(text, false, false);
    if (ids != expected) check::fail(inputs.c_str(), n_cases, "wrong ids for: " + text);
    CHECK_EQ(tokenizer.decode(ids, false), text);
    ++n_cases;
  }
  CHECK_EQ(n_cases, 46);
}

// The shared fixtures (vocabularies of other projects), or nullopt with a notice.
std::optional<std::string> shared_fixtures() {
  const char* dir = std::getenv("BITNET_SHARED");
  const std::string path = (dir ? std::string(dir) : check::data("../../../shared")) + "/fixtures";
  if (std::filesystem::exists(path + "/vocab")) return path;
  std::printf("skip (no %s; set BITNET_SHARED): ", path.c_str());
  return std::nullopt;
}

}  // namespace conformance

TEST("equals llama.cpp on the conformance cases of GPT-2 and of Llama 2's SPM") {
  const auto dir = conformance::shared_fixtures();
  if (!dir) return;
  for (const char* name : {"gpt-2", "llama-spm"}) {
    const std::string path = *dir + "/vocab/" + name + ".gguf";
    const Gguf gguf = Gguf::open(path);
    conformance::check_cases(Tokenizer(gguf), path + ".inp", path + ".out");
  }
}

TEST("equals llama.cpp on the conformance cases of Llama 3") {
  const auto dir = conformance::shared_fixtures();
  if (!dir) return;
  const Loaded llama3(conformance::llama3_file(read_file(*dir + "/llama3/tokenizer.json")));
  CHECK_EQ(llama3.tokenizer.n_vocab(), 128256);
  CHECK_EQ(llama3.tokenizer.find("<|eot_id|>"), 128009);
  CHECK_EQ(llama3.tokenizer.eot(), 128009);
  conformance::check_cases(llama3.tokenizer, *dir + "/llama3/conformance.inp",
                           *dir + "/llama3/conformance.out");
}
