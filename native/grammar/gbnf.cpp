// The grammar syntax of llama.cpp:
// https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "base/error.h"
#include "grammar/expression.h"

namespace bitnet {
namespace {

class Parser {
 public:
  Parser(std::string_view text, size_t max_bytes) : text_(text), max_bytes_(max_bytes) {}

  GrammarText parse() {
    if (text_.size() > max_bytes_)
      fail("the grammar is longer than " + std::to_string(max_bytes_ >> 10) + " KiB");
    if (text_.find('\0') != std::string_view::npos) fail("the grammar holds a zero byte");
    for (skip(true); !at_end(); skip(true)) parse_rule();
    check_rules();
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    const std::string_view before = text_.substr(0, at_);
    const size_t line = static_cast<size_t>(std::count(before.begin(), before.end(), '\n')) + 1;
    const size_t column = at_ - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
    throw Error(ErrorCode::kUsage, "grammar, line " + std::to_string(line) + ", column " +
                                       std::to_string(column) + ": " + problem);
  }

  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool take(std::string_view what) {
    if (text_.substr(at_, what.size()) != what) return false;
    at_ += what.size();
    return true;
  }

  // Blanks and comments. A line that ends ends a rule, but not within a group.
  void skip(bool lines_too) {
    while (!at_end()) {
      const char c = peek();
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == ' ' || c == '\t' || (lines_too && (c == '\n' || c == '\r'))) {
        at_ += 1;
      } else {
        return;
      }
    }
  }

  static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  }

  std::string name() {
    const size_t begin = at_;
    while (is_name(peek())) at_ += 1;
    if (at_ == begin) fail("expected the name of a rule");
    return std::string(text_.substr(begin, at_ - begin));
  }

  int32_t rule_of(const std::string& name) {
    const auto [it, is_new] = ids_.emplace(name, static_cast<int32_t>(out_.rules.size()));
    if (is_new) {
      if (out_.rules.size() == kMaxRules) fail("the grammar has more than 10,000 rules");
      out_.rules.push_back({name});
      first_use_.push_back(at_);
    }
    return it->second;
  }

  void parse_rule() {
    const int32_t rule = rule_of(name());
    skip(false);
    if (!take("::=")) fail("expected ::= after the name of a rule");
    skip(true);
    const int32_t expression = parse_choice(0);
    if (out_.rules[static_cast<size_t>(rule)].expression >= 0)
      fail("the rule " + out_.rules[static_cast<size_t>(rule)].name + " is defined twice");
    out_.rules[static_cast<size_t>(rule)].expression = expression;
    skip(false);
    if (!at_end() && peek() != '\n' && peek() != '\r') fail("expected the end of the rule");
  }

  int32_t parse_choice(int depth) {
    if (depth > kMaxGrammarDepth) fail("groups are nested deeper than 64");
    return parse_list('|', Expression::Kind::kChoice, [&] {
      return parse_list('&', Expression::Kind::kBoth, [&] { return parse_sequence(depth); });
    });
  }

  template <class Parse>
  int32_t parse_list(char separator, Expression::Kind kind, Parse parse) {
    std::vector<int32_t> parts{parse()};
    while (peek() == separator) {
      at_ += 1;
      skip(true);
      parts.push_back(parse());
    }
    return parts.size() == 1 ? parts[0] : out_.add({.kind = kind, .parts = std::move(parts)});
  }

  int32_t parse_sequence(int depth) {
    std::vector<int32_t> parts;
    for (;;) {
      int n_not = 0;
      for (; peek() == '~'; skip(depth > 0)) {
        n_not += 1;
        at_ += 1;
      }
      const char c = peek();
      if (c == '"') {
        parts.push_back(parse_text());
      } else if (c == '[') {
        parts.push_back(parse_class());
      } else if (c == '.') {
        at_ += 1;
        parts.push_back(add_class({{0, kMaxCodePoint}}));
      } else if (c == '(') {
        at_ += 1;
        skip(true);
        parts.push_back(parse_choice(depth + 1));
        if (!take(")")) fail("expected )");
      } else if (is_name(c)) {
        const int32_t rule = rule_of(name());
        parts.push_back(out_.add({.kind = Expression::Kind::kRule, .rule = rule}));
      } else if (c == '<' || c == '!') {
        fail("tokens by name or id are not supported: spell their text");
      } else {
        if (n_not > 0) fail("expected what ~ is not");
        break;
      }
      skip(depth > 0);
      parse_repeats(parts.back(), depth);
      if (n_not % 2 != 0)
        parts.back() = out_.add({.kind = Expression::Kind::kNot, .parts = {parts.back()}});
    }
    if (parts.size() == 1) return parts[0];
    return out_.add({.kind = Expression::Kind::kSequence, .parts = std::move(parts)});
  }

  void parse_repeats(int32_t& part, int depth) {
    for (int n = 0;; ++n) {
      Expression repeat{.kind = Expression::Kind::kRepeat, .parts = {part}};
      if (take("*")) {
        repeat.most = kUnbounded;
      } else if (take("+")) {
        repeat.least = 1;
        repeat.most = kUnbounded;
      } else if (take("?")) {
        repeat.most = 1;
      } else if (take("{")) {
        parse_bounds(repeat);
      } else {
        return;
      }
      if (n == 4) fail("too many repetitions of repetitions");
      part = out_.add(std::move(repeat));
      skip(depth > 0);
    }
  }

  void parse_bounds(Expression& repeat) {
    skip(false);
    repeat.least = peek() == ',' ? 0 : number();
    skip(false);
    repeat.most = repeat.least;
    if (take(",")) {
      skip(false);
      repeat.most = peek() == '}' ? kUnbounded : number();
      skip(false);
    }
    if (!take("}")) fail("expected }");
    if (repeat.most != kUnbounded && repeat.most < repeat.least)
      fail("{m,n} needs an n that is not below m");
  }

  int64_t number() {
    if (peek() < '0' || peek() > '9') fail("expected a number");
    int64_t value = 0;
    for (; peek() >= '0' && peek() <= '9'; at_ += 1) {
      value = value * 10 + (peek() - '0');
      if (value > kMaxRepeats) fail("more than 100,000 repetitions");
    }
    return value;
  }

  int32_t add_class(std::vector<CodePointRange> ranges) {
    return out_.add(
        {.kind = Expression::Kind::kCharacters, .characters = make_set(std::move(ranges))});
  }

  int32_t parse_text() {
    at_ += 1;
    std::string bytes;
    while (peek() != '"') {
      if (at_end() || peek() == '\n') fail("a text in quotes does not end");
      if (peek() == '\\') {
        append_utf8(escape(), bytes);
      } else {
        bytes += text_[at_++];
      }
    }
    at_ += 1;
    return out_.add({.kind = Expression::Kind::kText, .text = std::move(bytes)});
  }

  int32_t parse_class() {
    at_ += 1;
    const bool is_negated = take("^");
    std::vector<CodePointRange> ranges;
    while (peek() != ']') {
      const uint32_t least = character();
      uint32_t most = least;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        at_ += 1;
        most = character();
        if (most < least) fail("a range of characters ends before it begins");
      }
      ranges.push_back({least, most});
    }
    at_ += 1;
    const int32_t added = add_class(std::move(ranges));
    CodePointSet& set = out_.expressions[static_cast<size_t>(added)].characters;
    if (is_negated) set = complement(set);
    return added;
  }

  uint32_t character() {
    if (at_end() || peek() == '\n') fail("a class of characters does not end");
    return peek() == '\\' ? escape() : utf8_character();
  }

  uint32_t escape() {
    at_ += 1;
    const char c = peek();
    at_ += at_end() ? 0 : 1;
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'U':
        return hex(8);
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
      case '/':
        return static_cast<uint32_t>(c);
      default:
        at_ -= 1;
        fail("unknown escape: expected one of \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\x \\u \\U");
    }
  }

  uint32_t hex(int digits) {
    uint64_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail("expected " + std::to_string(digits) + " hexadecimal digits");
      value = value * 16 + static_cast<uint64_t>(digit);
    }
    if (value > kMaxCodePoint || (value >= 0xD800 && value < 0xE000)) fail("no such character");
    return static_cast<uint32_t>(value);
  }

  uint32_t utf8_character() {
    const auto byte = [&](size_t i) {
      return at_ + i < text_.size() ? static_cast<uint8_t>(text_[at_ + i]) : uint8_t{0};
    };
    const uint8_t first = byte(0);
    const size_t n = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    uint32_t code = n == 1 ? first : first & (0x7Fu >> n);
    bool is_valid = first < 0x80 || (first >= 0xC2 && first <= 0xF4);
    for (size_t i = 1; i < n; ++i) {
      is_valid = is_valid && (byte(i) & 0xC0) == 0x80;
      code = code << 6 | (byte(i) & 0x3Fu);
    }
    if (!is_valid || code > kMaxCodePoint) fail("invalid UTF-8");
    at_ += n;
    return code;
  }

  void append_utf8(uint32_t code, std::string& out) {
    for (const ByteSequence& sequence : spell({{code, code}})) {
      for (int i = 0; i < sequence.n; ++i) out += static_cast<char>(sequence.bytes[i].first);
    }
  }

  void check_rules() {
    for (size_t i = 0; i < out_.rules.size(); ++i) {
      if (out_.rules[i].expression >= 0) continue;
      at_ = first_use_[i];
      fail("the rule " + out_.rules[i].name + " is not defined");
    }
    const auto root = ids_.find("root");
    if (root == ids_.end()) fail("there is no rule root");
    out_.root = root->second;
  }

  const std::string_view text_;
  const size_t max_bytes_;
  size_t at_ = 0;
  GrammarText out_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<size_t> first_use_;  // by rule: where it is named first
};

}  // namespace

GrammarText parse_gbnf(const std::string& text, size_t max_bytes) {
  return Parser(text, max_bytes).parse();
}

}  // namespace bitnet
