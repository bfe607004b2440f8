#include "grammar/code_points.h"

#include <algorithm>

namespace bitnet {
namespace {

constexpr uint32_t kSurrogates = 0xD800, kAfterSurrogates = 0xE000;
constexpr uint32_t kLongest[] = {0x7F, 0x7FF, 0xFFFF, kMaxCodePoint};  // of 1, 2, 3, 4 bytes

int encode(uint32_t code, uint8_t (&out)[4]) {
  if (code <= kLongest[0]) return out[0] = static_cast<uint8_t>(code), 1;
  const int n = code <= kLongest[1] ? 2 : code <= kLongest[2] ? 3 : 4;
  for (int i = n - 1; i > 0; --i, code >>= 6) out[i] = static_cast<uint8_t>(0x80 | (code & 0x3F));
  out[0] = static_cast<uint8_t>((0xF00 >> n & 0xFF) | code);
  return n;
}

// Splits a range until the first and the last character of each piece differ only in bytes whose
// followers run through all values.
void spell(uint32_t least, uint32_t most, std::vector<ByteSequence>& out) {
  for (const uint32_t longest : kLongest) {
    if (least <= longest && longest < most) {
      spell(least, longest, out);
      return spell(longest + 1, most, out);
    }
  }
  for (int i = 1; i < 4 && most > kLongest[0]; ++i) {
    const uint32_t mask = (1u << (6 * i)) - 1;  // of the last i bytes
    if ((least & ~mask) == (most & ~mask)) continue;
    if ((least & mask) != 0) {
      spell(least, least | mask, out);
      return spell((least | mask) + 1, most, out);
    }
    if ((most & mask) != mask) {
      spell(least, (most & ~mask) - 1, out);
      return spell(most & ~mask, most, out);
    }
  }
  uint8_t first[4], last[4];
  ByteSequence sequence{encode(least, first), {}};
  encode(most, last);
  for (int i = 0; i < sequence.n; ++i) sequence.bytes[i] = {first[i], last[i]};
  out.push_back(sequence);
}

}  // namespace

CodePointSet make_set(std::vector<CodePointRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const auto& a, const auto& b) { return a.least < b.least; });
  CodePointSet merged;
  for (const CodePointRange& range : ranges) {
    if (!merged.empty() && range.least <= merged.back().most + 1) {
      merged.back().most = std::max(merged.back().most, range.most);
    } else {
      merged.push_back(range);
    }
  }
  CodePointSet out;
  for (const auto& [least, most] : merged) {
    if (least < kSurrogates) out.push_back({least, std::min(most, kSurrogates - 1)});
    if (most >= kAfterSurrogates) out.push_back({std::max(least, kAfterSurrogates), most});
  }
  return out;
}

CodePointSet complement(const CodePointSet& set) {
  std::vector<CodePointRange> out;
  uint32_t next = 0;
  for (const auto& [least, most] : set) {
    if (least > next) out.push_back({next, least - 1});
    next = most + 1;
  }
  if (next <= kMaxCodePoint) out.push_back({next, kMaxCodePoint});
  return make_set(std::move(out));
}

std::vector<ByteSequence> spell(const CodePointSet& set) {
  std::vector<ByteSequence> out;
  for (const auto& [least, most] : set) spell(least, most, out);
  return out;
}

}  // namespace bitnet
