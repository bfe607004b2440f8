#include "grammar/byte_automaton.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>

#include "base/error.h"

namespace bitnet {

void StepBudget::fail() {
  throw Error(ErrorCode::kUsage,
              "the grammar takes too many steps: make it smaller or less ambiguous");
}

int32_t ByteNfa::add(const State& state) {
  states_.push_back(state);
  return static_cast<int32_t>(states_.size()) - 1;
}

ByteNfa::Part ByteNfa::empty() {
  const int32_t state = add({Kind::kSplit});
  return {state, state};
}

ByteNfa::Part ByteNfa::nothing() { return {add({Kind::kFail}), add({Kind::kSplit})}; }

ByteNfa::Part ByteNfa::text(std::string_view bytes) {
  const int32_t end = add({Kind::kSplit});
  Part part{end, end};
  for (size_t i = bytes.size(); i-- > 0;) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    part.begin = add({Kind::kRange, byte, byte, false, part.begin});
  }
  return part;
}

ByteNfa::Part ByteNfa::one_of(std::span<const ByteSequence> characters) {
  const int32_t end = add({Kind::kSplit});
  Part part{add({Kind::kFail}), end};
  std::map<std::array<int32_t, 3>, int32_t> known;  // least, most, next: the state
  for (const ByteSequence& character : characters) {
    int32_t next = end;
    for (int i = character.n; i-- > 0;) {
      const auto [least, most] = character.bytes[i];
      const auto [it, is_new] = known.try_emplace({least, most, next});
      if (is_new) it->second = add({Kind::kRange, least, most, false, next});
      next = it->second;
    }
    part.begin = add({Kind::kSplit, 0, 0, false, next, part.begin});
  }
  return part;
}

ByteNfa::Part ByteNfa::table(const ByteTable& table) {
  if (table.states.empty()) return nothing();
  const int32_t end = add({Kind::kSplit});
  const auto first = static_cast<int32_t>(states_.size());
  for (const ByteTable::State& state : table.states)
    add({Kind::kSplit, 0, 0, false, -1, state.accepts ? end : -1});
  for (size_t i = 0; i < table.states.size(); ++i) {
    const ByteTable::State& state = table.states[i];
    int32_t any = -1;
    for (size_t k = state.first_edge; k < state.first_edge + state.n_edges; ++k) {
      const ByteTable::Edge& edge = table.edges[k];
      const int32_t range = add({Kind::kRange, edge.least, edge.most, false, first + edge.to});
      any = add({Kind::kSplit, 0, 0, false, range, any});
    }
    connect(first + static_cast<int32_t>(i), any);
  }
  return {first, end};
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

int32_t ByteNfa::close(Part part) {
  connect(part.end, add({Kind::kAccept}));
  return part.begin;
}

void ByteNfa::finish() {
  const auto for_edges = [this](auto&& take) {
    for (size_t i = 0; i < states_.size(); ++i) {
      for (const int32_t next : {states_[i].next, states_[i].other}) {
        if (next >= 0) take(static_cast<int32_t>(i), static_cast<size_t>(next));
      }
    }
  };
  // By state: those in front of it, in before[first[state], first[state + 1]).
  std::vector<uint32_t> first(states_.size() + 2);
  for_edges([&](int32_t, size_t next) { first[next + 2] += 1; });
  for (size_t i = 2; i < first.size(); ++i) first[i] += first[i - 1];
  std::vector<int32_t> before(first.back());
  for_edges([&](int32_t from, size_t next) { before[first[next + 1]++] = from; });
  std::vector<int32_t> pending;
  const auto mark = [&](int32_t id) {
    State& state = states_[static_cast<size_t>(id)];
    if (!state.is_live) pending.push_back(id);
    state.is_live = true;
  };
  for (size_t i = 0; i < states_.size(); ++i) {
    if (states_[i].kind == Kind::kAccept) mark(static_cast<int32_t>(i));
  }
  while (!pending.empty()) {
    const auto state = static_cast<size_t>(pending.back());
    pending.pop_back();
    for (uint32_t i = first[state]; i < first[state + 1]; ++i) mark(before[i]);
  }
}

ByteDfa::ByteDfa(const ByteNfa& nfa, size_t max_bytes, StepBudget* budget)
    : nfa_(nfa), max_bytes_(max_bytes), budget_(budget), seen_(nfa.states_.size()) {
  bool begins[257] = {};
  for (const ByteNfa::State& state : nfa.states_) {
    if (state.kind == ByteNfa::Kind::kRange) begins[state.least] = begins[state.most + 1] = true;
  }
  for (int byte = 0; byte < 256; ++byte) {
    n_classes_ += byte == 0 || begins[byte];
    class_of_[byte] = static_cast<uint8_t>(n_classes_ - 1);
  }
}

void ByteDfa::keep_only(std::span<int32_t* const> states) {
  std::vector<Set> sets;
  std::vector<int32_t> members;
  sets.swap(sets_);
  members.swap(members_);
  next_.clear();
  by_hash_.clear();
  for (int32_t* const state : states) {
    if (*state == kDead) continue;
    const Set& set = sets[static_cast<size_t>(*state)];
    const auto begin = members.begin() + static_cast<int64_t>(set.first);
    found_.assign(begin, begin + static_cast<int64_t>(set.n));
    *state = intern(found_);
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
  int64_t n_visited = 1;
  pending_.assign(1, nfa_state);
  while (!pending_.empty()) {
    const int32_t id = pending_.back();
    pending_.pop_back();
    const ByteNfa::State& state = nfa_.states_[static_cast<size_t>(id)];
    uint32_t& seen = seen_[static_cast<size_t>(id)];
    if (seen == closure_ || !state.is_live) continue;
    seen = closure_;
    n_visited += 1;
    if (state.kind != ByteNfa::Kind::kSplit) {
      out.push_back(id);
      continue;
    }
    for (const int32_t next : {state.next, state.other}) {
      if (next >= 0) pending_.push_back(next);
    }
  }
  if (budget_ != nullptr) budget_->take(n_visited);
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
  if (bytes() > max_bytes_)
    throw Error(ErrorCode::kUsage, "the grammar needs too much memory: more than " +
                                       std::to_string(max_bytes_ >> 20) + " MiB of automata");
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
  return (members_.size() + next_.size()) * sizeof(int32_t) + sets_.size() * (sizeof(Set) + 48);
}

}  // namespace bitnet
