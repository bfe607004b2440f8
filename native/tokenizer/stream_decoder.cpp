#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

namespace bitnet {
namespace {

constexpr uint32_t kReplacement = 0xFFFD;

// Moves from `held` all that is decided: whole characters, and U+FFFD for what can become none.
std::string take_decided(std::string& held) {
  std::string out;
  std::string_view rest = held;
  while (!rest.empty()) {
    const Utf8Step step = next_utf8(rest);
    if (step.state == Utf8Step::kCut) break;
    if (step.state == Utf8Step::kWhole)
      out.append(rest.substr(0, step.bytes));
    else
      append_utf8(out, kReplacement);
    rest.remove_prefix(step.bytes);
  }
  held.erase(0, held.size() - rest.size());
  return out;
}

}  // namespace

std::string StreamDecoder::push(int32_t id) {
  const std::string piece = tokenizer_.piece(id, special_);
  if (at_start_)
    held_ += tokenizer_.decode({&id, 1}, special_);
  else
    held_ += piece;
  if (!piece.empty()) at_start_ = false;
  return take_decided(held_);
}

std::string StreamDecoder::flush() {
  std::string out;
  if (!held_.empty()) append_utf8(out, kReplacement);
  held_.clear();
  return out;
}

}  // namespace bitnet
