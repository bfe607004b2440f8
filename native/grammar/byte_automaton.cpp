#include "grammar/byte_automaton.h"

#include <algorithm>

namespace bitnet {

int32_t ByteNfa::add(const State& state) {
  states_.push_back(state);
  return static_cast<int32_t>(states_.size()) - 1;
}

ByteNfa::Part ByteNfa::empty() {
  const int32_t state = add({Kind::kSplit});
  return {state, state};
}

ByteNfa::Part ByteNfa::nothing() { return {add({Kind::kFail}), add({Kind::kSplit})}; }

ByteNfa::Part ByteNfa::range(uint8_t least, uint8_t most) {
  const int32_t end = add({Kind::kSplit});
  return {add({Kind::kRange, least, most, false, end}), end};
}

ByteNfa::Part ByteNfa::sequence(Part first, Part second) {
  connect(first.end, second.begin);
  return {first.begin, second.end};
}

ByteNfa::Part ByteNfa::choice(Part one, Part other) {
  const int32_t end = add({Kind::kSplit});
  connect(one.end, end);
  connect(other.end, end);
  return {add({Kind::kSplit, 0, 0, false, one.begin, other.begin}), end};
}

ByteNfa::Part ByteNfa::repeat(Part part) {
  const int32_t end = add({Kind::kSplit});
  const int32_t begin = add({Kind::kSplit, 0, 0, false, part.begin, end});
  connect(part.end, begin);
  return {begin, end};
}

ByteNfa::Part ByteNfa::optional(Part part) {
  const int32_t end = add({Kind::kSplit});
  connect(part.end, end);
  return {add({Kind::kSplit, 0, 0, false, part.begin, end}), end};
}

int32_t ByteNfa::close(Part part) {
  connect(part.end, add({Kind::kAccept}));
  return part.begin;
}

void ByteNfa::finish() {
  std::vector<std::vector<int32_t>> before(states_.size());
  std::vector<int32_t> pending;
  for (size_t i = 0; i < states_.size(); ++i) {
    const State& state = states_[i];
    for (const int32_t next : {state.next, state.other}) {
      if (next >= 0) before[static_cast<size_t>(next)].push_back(static_cast<int32_t>(i));
    }
    if (state.kind == Kind::kAccept) pending.push_back(static_cast<int32_t>(i));
  }
  for (const int32_t state : pending) states_[static_cast<size_t>(state)].is_live = true;
  while (!pending.empty()) {
    const int32_t state = pending.back();
    pending.pop_back();
    for (const int32_t previous : before[static_cast<size_t>(state)]) {
      State& other = states_[static_cast<size_t>(previous)];
      if (!other.is_live) pending.push_back(previous);
      other.is_live = true;
    }
  }
}

ByteDfa::ByteDfa(const ByteNfa& nfa) : nfa_(nfa), seen_(nfa.states_.size()) {
  bool begins[257] = {};
  for (const ByteNfa::State& state : nfa.states_) {
    if (state.kind == ByteNfa::Kind::kRange) begins[state.least] = begins[state.most + 1] = true;
  }
  for (int byte = 0; byte < 256; ++byte) {
    n_classes_ += byte == 0 || begins[byte];
    class_of_[byte] = static_cast<uint8_t>(n_classes_ - 1);
  }
}

int32_t ByteDfa::start(int32_t closed_part) {
  found_.clear();
  closure_ += 1;
  add_closure(closed_part, found_);
  return intern(found_);
}

int32_t ByteDfa::make_step(int32_t state, uint8_t byte) {
  found_.clear();
  closure_ += 1;
  const Set set = sets_[static_cast<size_t>(state)];
  for (size_t i = set.first; i < set.first + set.n; ++i) {
    const ByteNfa::State& from = nfa_.states_[static_cast<size_t>(members_[i])];
    if (from.kind == ByteNfa::Kind::kRange && from.least <= byte && byte <= from.most)
      add_closure(from.next, found_);
  }
  const int32_t next = intern(found_);
  next_[static_cast<size_t>(state) * n_classes_ + class_of_[byte]] = next;
  return next;
}

// Everything that is reached without a byte and can still come to an end.
void ByteDfa::add_closure(int32_t nfa_state, std::vector<int32_t>& out) {
  pending_.assign(1, nfa_state);
  while (!pending_.empty()) {
    const int32_t id = pending_.back();
    pending_.pop_back();
    const ByteNfa::State& state = nfa_.states_[static_cast<size_t>(id)];
    uint32_t& seen = seen_[static_cast<size_t>(id)];
    if (seen == closure_ || !state.is_live) continue;
    seen = closure_;
    if (state.kind != ByteNfa::Kind::kSplit) {
      out.push_back(id);
      continue;
    }
    for (const int32_t next : {state.next, state.other}) {
      if (next >= 0) pending_.push_back(next);
    }
  }
}

int32_t ByteDfa::intern(std::vector<int32_t>& members) {
  if (members.empty()) return kDead;
  std::sort(members.begin(), members.end());
  size_t hash = members.size();
  for (const int32_t member : members)
    hash = (hash ^ static_cast<size_t>(member)) * 0x9E3779B97F4A7C15ull;
  const auto [first, last] = by_hash_.equal_range(hash);
  for (auto it = first; it != last; ++it) {
    const Set& set = sets_[static_cast<size_t>(it->second)];
    const auto begin = members_.begin() + static_cast<int64_t>(set.first);
    if (set.n == members.size() && std::equal(members.begin(), members.end(), begin))
      return it->second;
  }
  const int32_t id = static_cast<int32_t>(sets_.size());
  const auto has = [&](ByteNfa::Kind kind) {
    return std::any_of(members.begin(), members.end(), [&](int32_t member) {
      return nfa_.states_[static_cast<size_t>(member)].kind == kind;
    });
  };
  sets_.push_back(
      {members_.size(), members.size(), has(ByteNfa::Kind::kAccept), has(ByteNfa::Kind::kRange)});
  members_.insert(members_.end(), members.begin(), members.end());
  next_.resize(next_.size() + n_classes_, kUnknown);
  by_hash_.emplace(hash, id);
  return id;
}

size_t ByteDfa::bytes() const {
  return (members_.size() + next_.size()) * sizeof(int32_t) + sets_.size() * (sizeof(Set) + 32);
}

}  // namespace bitnet
