// Grammars: what they match, what tokens they allow, and what they refuse to be.
#include "grammar/grammar.h"

#include <functional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "check.h"
#include "grammar/matcher.h"
#include "grammar/token_grammar.h"

using namespace bitnet;

namespace {

using Ids = std::vector<int32_t>;

bool matches(const std::string& grammar, const std::string& text) {
  GrammarMatcher matcher(Grammar::from_gbnf(grammar));
  return matcher.push_all(text) && matcher.can_end();
}

// A text of a grammar can begin so.
bool begins(const std::string& grammar, const std::string& text) {
  return GrammarMatcher(Grammar::from_gbnf(grammar)).push_all(text);
}

std::string refusal(const std::string& grammar) {
  try {
    Grammar::from_gbnf(grammar);
  } catch (const Error& error) {
    CHECK(error.code == ErrorCode::kUsage);
    return error.what();
  }
  return "";
}

void check_that(bool condition, const std::string& what) {
  if (!condition) check::fail(__FILE__, __LINE__, what);
}

struct Case {
  const char* grammar;
  std::vector<std::string> right, wrong;
};

const char* kJson = R"(
root ::= ws value ws
value ::= object | array | string | number | ("true" | "false" | "null")
object ::= "{" ws (member ("," ws member)*)? "}" ws
member ::= string ws ":" ws value ws
array ::= "[" ws (value ws ("," ws value ws)*)? "]"
string ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
ws ::= [ \t\n]{0,20}
)";

const std::vector<Case> kCases = {
    {"root ::= \"a\"", {"a"}, {"", "b", "aa"}},
    {"root ::= \"\"", {""}, {"a"}},
    {"root ::= \"ab\"* \"c\"", {"c", "abc", "ababc"}, {"ac", "ab"}},
    {"root ::= [a-c]+ | \"x\"?", {"", "x", "abc"}, {"xx", "d", "ax"}},
    {"root ::= [^a-c]", {"d", "\xC3\xA4", "\xF0\x9F\x98\x80", "\n"}, {"a", "dd", "\xC3", "\x80"}},
    {"root ::= .",
     {"a", "\n", "\xF4\x8F\xBF\xBF"},
     {"", "\xF4\x90\x80\x80", "\xED\xA0\x80", "\xC0\x80"}},
    {"root ::= [\xC3\xA4-\xC3\xBC]", {"\xC3\xA4", "\xC3\xB6"}, {"\xC3\xBD", "a"}},
    {"root ::= [\\u4e00-\\u9fff]{2}", {"\xE4\xB8\xAD\xE6\x96\x87"}, {"\xE4\xB8\xAD", "ab"}},
    {"root ::= [a\\-\\]]+", {"a-]"}, {"b", "\\"}},
    {"root ::= [-a]+", {"a-"}, {"b"}},
    {"root ::= \"a\"{2,3}", {"aa", "aaa"}, {"a", "aaaa"}},
    {"root ::= \"a\"{2}", {"aa"}, {"a", "aaa"}},
    {"root ::= \"a\"{2,}", {"aa", "aaaaa"}, {"a"}},
    {"root ::= \"a\"{0}", {""}, {"a"}},
    {"root ::= \"a\"{,2}", {"", "aa"}, {"aaa"}},
    {"root ::= (\"a\" | \"b\"\n  | \"c\") # comment\n", {"a", "c"}, {"d"}},
    {"root ::= a b\na ::= \"x\" |\n  \"y\"\nb ::= \"z\"", {"xz", "yz"}, {"x", "z"}},
    // What is both, and what is not.
    {"root ::= [a-z]{2,4} & .* \"b\" .*", {"ab", "xxbx"}, {"b", "aa", "abcde", "Ab"}},
    {"root ::= ~\"ab\"", {"", "a", "abc", "\xC3\xA4"}, {"ab", "\xC3", "\xFF"}},
    {"root ::= \"x\" (. & ~[a-c] & ~\"d\")+ \"x\"", {"xex", "x\xC3\xA4xx"}, {"xax", "xdx", "xx"}},
    {"root ::= ~~\"a\" | ~(.*)", {"a"}, {"", "b"}},
    {"root ::= w & ~k \n w ::= [a-z]+\nk ::= \"if\" | \"in\" \"t\"?",
     {"i", "inta"},
     {"if", "in", "int"}},
    // Left, right and middle recursion, and a rule that is only itself or something else.
    {"root ::= root \"a\" | \"b\"", {"b", "baaa"}, {"a", "ab"}},
    {"root ::= \"a\" root | \"b\"", {"b", "aaab"}, {"a", "ba"}},
    {"root ::= \"(\" root \")\" | \"\"", {"", "()", "((()))"}, {"(", "())", ")("}},
    {"root ::= root root | \"a\"", {"a", "aaaaaa"}, {"", "b"}},
    {"root ::= root | \"a\"", {"a"}, {"", "aa"}},
    {"root ::= s\ns ::= s s | \"(\" s \")\" | \"\"", {"", "()(())"}, {"(()", ")"}},
    // What is empty inside of recursion.
    {"root ::= a a a root \"x\" | \"y\"\na ::= b | \"\"\nb ::= \"\" | \"b\"",
     {"y", "yx", "bbyx", "bbbyx"},
     {"bbbby", "x"}},
    // Terminals that can end at several places: both ways are followed.
    {"root ::= \"(\" root \")\" | [a-z]+ \"b\" [0-9]*", {"ab", "abb1", "(abbb22)"}, {"b", "a1"}},
    {"root ::= x \"=\" x | \"[\" root \"]\"\nx ::= [a-z=]*",
     {"=", "a=b", "[a==b]"},
     {"ab", "[a=b"}},
    {kJson,
     {"{}", "[]", "0", "\"\"", "{\"a\": [1, -2.5e+3, \"\\u00e4\\n\", null], \"b\":{}}",
      " [ [ [ ] ] ]"},
     {"", "{", "[1,]", "{\"a\"}", "01", "\"\\x\"", "[1 2]", "\"\n\"", "tru"}},
};

}  // namespace

TEST("texts of a grammar match and others do not") {
  for (const Case& test : kCases) {
    for (const std::string& text : test.right) {
      check_that(matches(test.grammar, text), std::string(test.grammar) + " should match " + text);
      for (size_t n = 0; n < text.size(); ++n) CHECK(begins(test.grammar, text.substr(0, n)));
    }
    for (const std::string& text : test.wrong)
      check_that(!matches(test.grammar, text), std::string(test.grammar) + " matches " + text);
  }
}

TEST("a beginning is accepted only if it has an end") {
  // After "a" only a class without characters follows.
  CHECK(!begins("root ::= \"b\" | \"a\" [^\\U00000000-\\U0010ffff]", "a"));
  CHECK(!begins("root ::= \"b\" | \"a\" loop\nloop ::= \"x\" loop", "a"));
  CHECK(begins("root ::= \"b\" | \"a\" loop\nloop ::= \"x\" loop | \"\"", "axx"));
  CHECK(refusal("root ::= \"a\" root").find("matches no text") != std::string::npos);
}

TEST("going back restores every state") {
  std::mt19937 random(7);
  GrammarMatcher matcher(Grammar::from_gbnf(kJson));
  const std::string text = "{\"k\": [1, {\"a\": \"x\\\"y\"}, [true, [] ] ], \"z\":-0.5e1}";
  for (size_t i = 0; i < text.size(); ++i) {
    // A random walk and back.
    size_t n = 0;
    for (int tries = 0; tries < 60; ++tries) {
      if (n > 0 && random() % 4 == 0) {
        const size_t back = random() % n + 1;
        matcher.pop(back);
        n -= back;
      }
      n += matcher.push(static_cast<uint8_t>("{}[]\",:a1 \\-e"[random() % 13]));
    }
    matcher.pop(n);
    CHECK(!matcher.can_end());
    CHECK(matcher.push(static_cast<uint8_t>(text[i])));
    if (random() % 2) matcher.commit();
  }
  CHECK(matcher.can_end());
}

// A random regular expression as a tree, as text, and as what it means: the places where a text
// that begins at one of `from` can end.
struct Regular {
  enum Kind { kLetter, kNotA, kChoice, kSequence, kMany, kSome, kMaybe } kind;
  char letter = 'a';
  std::vector<Regular> parts;

  static Regular random(std::mt19937& random, int depth) {
    const Kind kind = static_cast<Kind>(depth > 0 ? random() % 7 : random() % 2);
    Regular out{kind, static_cast<char>('a' + random() % 3), {}};
    const int n = kind <= kNotA ? 0 : kind <= kSequence ? 2 : 1;
    for (int i = 0; i < n; ++i) out.parts.push_back(Regular::random(random, depth - 1));
    return out;
  }

  std::string text() const {
    std::string out;
    for (const Regular& part : parts) {
      if (!out.empty()) out += kind == kChoice ? " | " : " ";
      out.append("(").append(part.text()).append(")");
    }
    switch (kind) {
      case kLetter:
        return {'"', letter, '"'};
      case kNotA:
        return "[^a<>]";
      case kMany:
        return out + "*";
      case kSome:
        return out + "{1,3}";
      case kMaybe:
        return out + "?";
      default:
        return out;
    }
  }

  std::set<size_t> ends(const std::string& in, const std::set<size_t>& from) const {
    std::set<size_t> out;
    if (kind == kLetter || kind == kNotA) {
      for (const size_t at : from) {
        if (at < in.size() && (kind == kLetter ? in[at] == letter : in[at] != 'a'))
          out.insert(at + 1);
      }
    } else if (kind == kChoice) {
      for (const Regular& part : parts) out.merge(part.ends(in, from));
    } else if (kind == kSequence) {
      out = parts[1].ends(in, parts[0].ends(in, from));
    } else {
      if (kind != kSome) out = from;
      std::set<size_t> next = from;
      const size_t most = kind == kMany ? in.size() : kind == kSome ? 3 : 1;
      for (size_t i = 0; i < most; ++i) {
        next = parts[0].ends(in, next);
        out.insert(next.begin(), next.end());
      }
    }
    return out;
  }
};

TEST("random regular expressions match what they mean") {
  std::mt19937 random(11);
  for (int i = 0; i < 300; ++i) {
    const Regular expression = Regular::random(random, 4);
    const auto grammar = Grammar::from_gbnf("root ::= " + expression.text());
    // The same within a rule that refers to itself: columns instead of one automaton.
    const auto nested = Grammar::from_gbnf("root ::= \"<\" root \">\" | " + expression.text());
    for (int j = 0; j < 60; ++j) {
      std::string text;
      for (size_t n = random() % 6; n > 0; --n) text += static_cast<char>('a' + random() % 3);
      const bool is_match = expression.ends(text, {0}).contains(text.size());
      GrammarMatcher plain(grammar), within(nested);
      check_that((plain.push_all(text) && plain.can_end()) == is_match, expression.text());
      check_that((within.push_all("<<" + text + ">>") && within.can_end()) == is_match,
                 "within itself: " + expression.text());
    }
  }
}

TEST("random sentences of random grammars match") {
  std::mt19937 random(5);
  const char* names[] = {"root", "a", "b", "c"};
  for (int i = 0; i < 300; ++i) {
    // Each rule: its letter, or two alternatives of letters and rules; leaves so are always near.
    std::vector<std::vector<std::vector<std::string>>> rules(4);
    std::string grammar;
    for (size_t rule = 0; rule < 4; ++rule) {
      rules[rule].push_back({std::string("\"") + static_cast<char>('w' + rule) + "\""});
      for (int alternative = 0; alternative < 2; ++alternative) {
        rules[rule].emplace_back();
        for (size_t n = random() % 4; n > 0; --n)
          rules[rule].back().push_back(random() % 3 ? names[random() % 4] : "\"-\"");
      }
      grammar += std::string(names[rule]) + " ::= ";
      for (size_t alternative = 0; alternative < 3; ++alternative) {
        grammar += alternative ? " | " : "";
        for (const std::string& symbol : rules[rule][alternative]) grammar += symbol + " ";
        if (rules[rule][alternative].empty()) grammar += "\"\"";
      }
      grammar += "\n";
    }
    const std::function<std::string(size_t, int)> derive = [&](size_t rule, int depth) {
      std::string out;
      for (const std::string& symbol : rules[rule][depth > 0 ? random() % 3 : 0]) {
        if (symbol[0] == '"') {
          out += symbol.substr(1, symbol.size() - 2);
        } else {
          out += derive(symbol == "root" ? 0 : static_cast<size_t>(symbol[0] - 'a' + 1), depth - 1);
        }
      }
      return out;
    };
    for (int j = 0; j < 10; ++j) {
      const std::string text = derive(0, 4);
      if (text.size() <= 200) check_that(matches(grammar, text), grammar + text);
    }
  }
}

static std::shared_ptr<const TokenTrie> make_trie(const std::vector<std::string>& tokens) {
  return std::make_shared<TokenTrie>(static_cast<int32_t>(tokens.size()),
                                     [&](int32_t id) { return tokens[static_cast<size_t>(id)]; });
}

TEST("the tokens that a mask allows are those that are allowed one by one") {
  std::mt19937 random(3);
  std::vector<std::string> tokens = {"",   "</s>", "{",    "{\"", "\"", "\":", "\",\"", "}",
                                     "]",  "\xC3", "\xA4", "a",   "a",  "[[",  "null",  "1",
                                     "12", "-",    ".5",   " ",   "\\", "e"};
  for (int i = 0; i < 400; ++i) {
    std::string token;
    for (size_t n = random() % 5 + 1; n > 0; --n) token += "{}[]\",:a1 \\-e.tru"[random() % 17];
    tokens.push_back(token);
  }
  const auto trie = make_trie(tokens);
  for (int run = 0; run < 20; ++run) {
    TokenGrammar grammar(Grammar::from_gbnf(kJson), trie, {1});
    for (int step = 0; step < 40; ++step) {
      const std::vector<int32_t> allowed = grammar.allowed();
      std::vector<int32_t> one_by_one;
      for (int32_t id = 0; id < trie->n_tokens(); ++id) {
        if (grammar.allows(id)) one_by_one.push_back(id);
      }
      CHECK(allowed == one_by_one);
      CHECK(!allowed.empty());
      const int32_t id = allowed[random() % allowed.size()];
      if (id == 1) break;
      grammar.accept(id);
    }
  }
}

TEST("a text ends only where the grammar does") {
  const auto trie = make_trie({"</s>", "a", "b"});
  TokenGrammar grammar(Grammar::from_gbnf("root ::= \"a\" \"b\"?"), trie, {0});
  CHECK(!grammar.allows(0));
  grammar.accept(1);
  CHECK(grammar.allows(0) && grammar.allows(2) && !grammar.is_done());
  grammar.accept(2);
  CHECK(grammar.allowed() == std::vector<int32_t>{0});
  CHECK(grammar.is_done());
}

TEST("where a text begins the first token may have a space that is not part of it") {
  const auto trie = make_trie({"</s>", " a", "a", " ", "  a", "b"});
  TokenGrammar grammar(Grammar::from_gbnf("root ::= \"a\" \" \"? \"a\""), trie, {0}, true);
  CHECK((grammar.allowed() == Ids{1, 2, 3}));
  grammar.accept(1);
  CHECK((grammar.allowed() == Ids{1, 2, 3}));  // a space is a space from here on
  grammar.accept(1);
  CHECK((grammar.allowed() == Ids{0}));
}

TEST("wrong grammars are refused with their place") {
  const std::pair<const char*, const char*> cases[] = {
      {"", "there is no rule root"},
      {"a ::= \"b\"", "there is no rule root"},
      {"root ::= \"a", "line 1, column 12: a text in quotes does not end"},
      {"root ::= [a", "a class of characters does not end"},
      {"root ::= [z-a]", "ends before it begins"},
      {"root ::= b", "line 1, column 11: the rule b is not defined"},
      {"root ::= \"a\"\nroot ::= \"b\"", "defined twice"},
      {"root = \"a\"", "expected ::="},
      {"root ::= (\"a\"", "expected )"},
      {"root ::= \"a\" )", "expected the end of the rule"},
      {"root ::= *", "expected the end of the rule"},
      {"root ::= \"a\"{3,2}", "not below"},
      {"root ::= \"a\"{1000000}", "more than 100,000"},
      {"root ::= \"a\"{", "expected a number"},
      {"root ::= \"\\q\"", "unknown escape"},
      {"root ::= \"\\ud800\"", "no such character"},
      {"root ::= [\\U00110000]", "no such character"},
      {"root ::= [\xFF]", "invalid UTF-8"},
      {"root ::= <think>", "tokens by name"},
      {"root ::= ~", "what ~ is not"},
      {"root ::= \"a\" & (\"(\" root \")\" | \"a\")", "refer to themselves"},
      {"root ::= [a-m] & [n-z]", "matches no text"},
  };
  for (const auto& [grammar, problem] : cases)
    check_that(refusal(grammar).find(problem) != std::string::npos,
               std::string(grammar) + ": " + refusal(grammar));
}

static std::string numbered(const char* letter, int i) {
  return std::string(letter).append(std::to_string(i));
}

TEST("hostile grammars are refused or cost little") {
  CHECK(refusal("root ::= " + std::string(300 << 10, ' ') + "\"a\"").find("256 KiB") !=
        std::string::npos);
  CHECK(refusal("root ::= " + std::string(100, '(') + "\"a\"" + std::string(100, ')'))
            .find("nested") != std::string::npos);
  CHECK(begins("root ::= ((((\"a\"{99999}){99999}){99999}){99999})", "aaa"));
  CHECK(!begins("root ::= ((((\"a\"{99999}){99999}){99999}){99999})", "aaab"));
  std::string large = "root ::= \"x\"";
  for (int i = 0; i < 10; ++i) large += " | (root \"b\"){99999}";
  CHECK(refusal(large).find("too large") != std::string::npos);
  std::string many = "root ::= a0\n";
  for (int i = 0; i < 9000; ++i) many += numbered("a", i) + " ::= " + numbered("a", i + 1) + "\n";
  CHECK(matches(many + "a9000 ::= \"x\"", "x"));
  std::string doubled = "root ::= d0 d0\n";  // 2^41 letters
  for (int i = 0; i < 40; ++i) {
    const std::string next = numbered("d", i + 1);
    doubled += numbered("d", i) + " ::= " + next + " " + next + "\n";
  }
  CHECK(begins(doubled + "d40 ::= \"x\"", std::string(500, 'x')));
  CHECK(!begins(doubled + "d40 ::= \"x\"", "xy"));
}

// What following a text of `n` letters ends with.
static std::string end_of(const std::string& grammar, int n) {
  try {
    GrammarMatcher matcher(Grammar::from_gbnf(grammar));
    for (int i = 0; i < n; ++i) {
      if (!matcher.push('a')) return "left";
    }
    return "followed";
  } catch (const Error& error) {
    CHECK(error.code == ErrorCode::kUsage);
    return error.what();
  }
}

TEST("grammars that cost too much are refused by a count of steps or bytes") {
  CHECK(refusal("root ::= ~([ab]* \"a\" [ab]{18})").find("too much memory") != std::string::npos);
  CHECK(end_of("root ::= root root | \"a\"", 100) == "followed");
  CHECK(end_of("root ::= root root | \"a\"", 20'000).find("too many steps") != std::string::npos);
  CHECK(end_of("root ::= x x x x | root root\nx ::= [a-z]* | x x", 20'000).find("too ") !=
        std::string::npos);
  // 2^16 states of the automaton are more than are kept; they are made again as the text goes on.
  GrammarMatcher matcher(Grammar::from_gbnf("root ::= [ab]* \"a\" [ab]{16}"));
  std::mt19937 random(1);
  for (int i = 0; i < 100'000; ++i) {
    CHECK(matcher.push(static_cast<uint8_t>('a' + random() % 2)));
    matcher.commit();
  }
}

TEST("long texts keep few things open") {
  GrammarMatcher matcher(Grammar::from_gbnf(kJson));
  CHECK(matcher.push_all("["));
  for (int i = 0; i < 20'000; ++i) {
    CHECK(matcher.push_all("{\"key\": \"value\", \"n\": 12},"));
    matcher.commit();
  }
  CHECK(matcher.push_all("1]") && matcher.can_end());
}
