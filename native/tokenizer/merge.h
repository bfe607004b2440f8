// The merging that BPE and SPM share: of all adjacent pairs of symbols the one with the lowest key
// is merged (the leftmost of equal ones), until no pair merges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace bitnet {

struct Symbol {
  uint32_t begin;   // bytes, in the text that is being merged
  uint32_t length;  // bytes, > 0
  int32_t id;       // -1: not in the vocabulary
};

constexpr uint32_t kNoMerge = UINT32_MAX;
struct Merge {
  uint32_t key = kNoMerge;  // lower is earlier
  int32_t id = -1;          // of the merged symbol
};

// Few symbols: look through all pairs each time.
template <class PairMerge>
void merge_few(std::vector<Symbol>& symbols, std::vector<Merge>& scratch,
               const PairMerge& pair_merge) {
  scratch.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i)
    scratch.push_back(pair_merge(symbols[i], symbols[i + 1]));
  const auto by_key = [](const Merge& a, const Merge& b) { return a.key < b.key; };
  while (!scratch.empty()) {
    const auto best = std::min_element(scratch.begin(), scratch.end(), by_key);
    if (best->key == kNoMerge) return;
    const size_t i = static_cast<size_t>(best - scratch.begin());
    symbols[i].length += symbols[i + 1].length;
    symbols[i].id = best->id;
    symbols.erase(symbols.begin() + i + 1);
    scratch.erase(best);
    if (i > 0) scratch[i - 1] = pair_merge(symbols[i - 1], symbols[i]);
    if (i < scratch.size()) scratch[i] = pair_merge(symbols[i], symbols[i + 1]);
  }
}

// Many symbols: a heap of candidate pairs over a linked list, O(n log n).
template <class PairMerge>
void merge_many(std::vector<Symbol>& symbols, const PairMerge& pair_merge) {
  struct Candidate {
    Merge merge;
    uint32_t left;
    uint32_t length;  // of the pair when it was found; if it has grown since, the pair is gone
  };
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.merge.key != b.merge.key ? a.merge.key > b.merge.key : a.left > b.left;
  };
  const uint32_t n = static_cast<uint32_t>(symbols.size());
  std::vector<uint32_t> prev(n), next(n);  // prev[0] and next[last] are n
  std::vector<Candidate> heap;
  const auto candidate = [&](uint32_t left) {
    const Symbol &a = symbols[left], &b = symbols[next[left]];
    return Candidate{pair_merge(a, b), left, a.length + b.length};
  };
  for (uint32_t i = 0; i < n; ++i) prev[i] = i == 0 ? n : i - 1, next[i] = i + 1;
  for (uint32_t i = 0; i + 1 < n; ++i)
    if (const Candidate c = candidate(i); c.merge.key != kNoMerge) heap.push_back(c);
  std::make_heap(heap.begin(), heap.end(), later);

  const auto push = [&](uint32_t left) {
    if (left == n || next[left] == n) return;
    const Candidate c = candidate(left);
    if (c.merge.key == kNoMerge) return;
    heap.push_back(c);
    std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Candidate c = heap.back();
    heap.pop_back();
    Symbol& left = symbols[c.left];
    const uint32_t right = next[c.left];
    if (left.length == 0 || right == n || left.length + symbols[right].length != c.length) continue;
    left.length = c.length;
    left.id = c.merge.id;
    symbols[right].length = 0;
    next[c.left] = next[right];
    if (next[right] != n) prev[next[right]] = c.left;
    push(prev[c.left]);
    push(c.left);
  }
  std::erase_if(symbols, [](const Symbol& symbol) { return symbol.length == 0; });
}

// pair_merge(left, right) -> Merge. `scratch` is only memory to reuse.
template <class PairMerge>
void merge_symbols(std::vector<Symbol>& symbols, std::vector<Merge>& scratch,
                   const PairMerge& pair_merge) {
  constexpr size_t kFew = 128;  // measured: the heap wins from 150 to 250 symbols on
  if (symbols.size() <= kFew)
    merge_few(symbols, scratch, pair_merge);
  else
    merge_many(symbols, pair_merge);
}

}  // namespace bitnet
