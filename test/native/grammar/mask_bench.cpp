// How long grammars take: to be made, to tell all tokens that may come next, and to try 40 of them.
// Reads a file of records, each with its length in four bytes (little-endian) in front:
// the number of tokens, the tokens; then, until the end, a grammar, the number of texts, the texts.
// Writes a line per grammar: ms of the processor to make it; a line per mask: ms of the mask, ms of
// 40 candidates.
#include <time.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "grammar/token_grammar.h"

using namespace bitnet;

namespace {

class Records {
 public:
  explicit Records(const char* path) {
    std::ifstream file(path, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }
  bool at_end() const { return at_ + 4 > bytes_.size(); }
  std::string next() {
    uint32_t n = 0;
    std::memcpy(&n, bytes_.data() + at_, 4);
    at_ += 4 + n;
    return bytes_.substr(at_ - n, n);
  }
  int next_number() { return std::stoi(next()); }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

// Of the processor, so that what else runs counts little.
double now_ms() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
}

// The longest token that the text goes on with.
int32_t longest(const TokenTrie& trie, const std::string& text, size_t at) {
  int32_t found = -1;
  const std::vector<TokenTrie::Node>& nodes = trie.nodes();
  for (size_t i = 0; i < nodes.size() && at < text.size();) {
    if (nodes[i].byte != static_cast<uint8_t>(text[at])) {
      i = static_cast<size_t>(nodes[i].end);
      continue;
    }
    if (nodes[i].token >= 0) found = nodes[i].token;
    at += 1;
    const size_t end = static_cast<size_t>(nodes[i].end);
    i += 1;
    if (i >= end) break;
  }
  return found;
}

void follow(TokenGrammar& grammar, const TokenTrie& trie, const std::string& text) {
  uint32_t random = 1;
  for (size_t at = 0; at < text.size();) {
    const double start = now_ms();
    const size_t n = grammar.allowed().size();
    const double masked = now_ms();
    for (int i = 0; i < 40; ++i) {
      random = random * 1664525u + 1013904223u;
      grammar.allows(static_cast<int32_t>((random >> 8) % static_cast<uint32_t>(trie.n_tokens())));
    }
    std::printf("mask %.6f %.6f %zu\n", masked - start, now_ms() - masked, n);
    const int32_t token = longest(trie, text, at);
    if (token < 0 || !grammar.allows(token)) return;
    grammar.accept(token);
    at += trie.bytes(token).size();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  Records records(argv[1]);
  std::vector<std::string> tokens(static_cast<size_t>(records.next_number()));
  for (std::string& token : tokens) token = records.next();
  const double start = now_ms();
  const auto trie =
      std::make_shared<TokenTrie>(static_cast<int32_t>(tokens.size()),
                                  [&](int32_t id) { return tokens[static_cast<size_t>(id)]; });
  std::printf("trie %.3f %zu\n", now_ms() - start, trie->nodes().size());
  while (!records.at_end()) {
    const std::string source = records.next();
    const int n_texts = records.next_number();
    const double begin = now_ms();
    const auto grammar = Grammar::from_gbnf(source, kMaxMadeGrammarBytes);
    std::printf("grammar %.6f\n", now_ms() - begin);
    for (int i = 0; i < n_texts; ++i) {
      TokenGrammar matcher(grammar, trie, {});
      follow(matcher, *trie, records.next());
    }
  }
  return 0;
}
