// Grammars from anywhere: every text either is refused with kUsage or is followed without a crash,
// and going back leaves no trace. The input is a grammar, a zero byte, and a text.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "grammar/matcher.h"

namespace {

constexpr size_t kMaxText = 256;  // ambiguous grammars take a time that grows with its cube

// Large repetitions are right but slow to build.
bool is_small(std::string_view grammar) {
  size_t digits = 0;
  for (const char c : grammar) {
    digits = c >= '0' && c <= '9' ? digits + 1 : 0;
    if (digits > 2) return false;
  }
  return grammar.size() <= 2048;
}

void follow(const std::string& text, std::shared_ptr<const bitnet::Grammar> grammar) {
  bitnet::GrammarMatcher matcher(grammar), twin(grammar);
  for (const char c : text.substr(0, kMaxText)) {
    const auto byte = static_cast<uint8_t>(c);
    // A step ahead and back is no step.
    if (matcher.push(static_cast<uint8_t>(byte ^ 1))) matcher.pop(1);
    const bool goes_on = matcher.push(byte);
    if (goes_on != twin.push(byte) || matcher.can_end() != twin.can_end()) std::abort();
    if (matcher.must_end() && !matcher.can_end()) std::abort();  // every beginning has an end
    if (!goes_on) return;
    twin.commit();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\0');
  const std::string grammar = input.substr(0, end);
  if (!is_small(grammar)) return 0;
  try {
    const auto compiled = bitnet::Grammar::from_gbnf(grammar);
    follow(end == std::string::npos ? "" : input.substr(end + 1), compiled);
  } catch (const bitnet::Error& error) {
    if (error.code != bitnet::ErrorCode::kUsage) std::abort();
  }
  return 0;
}
