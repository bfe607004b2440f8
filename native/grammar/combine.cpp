#include "grammar/combine.h"

#include <map>
#include <utility>

#include "grammar/code_points.h"
#include "grammar/expression.h"

namespace bitnet {
namespace {

// All of UTF-8: what the complement of a language is taken from.
CombinedPart any_text() {
  auto nfa = std::make_unique<ByteNfa>();
  const int32_t start =
      nfa->close(nfa->repeat(nfa->one_of(spell({{0, 0xD7FF}, {0xE000, kMaxCodePoint}}))));
  nfa->finish();
  return {std::move(nfa), start, false};
}

// The automata of all parts side by side; a state is one of each.
class Product {
 public:
  Product(const std::vector<CombinedPart>& parts, StepBudget& budget)
      : parts_(parts), budget_(budget) {
    std::vector<int32_t> start;
    for (const CombinedPart& part : parts) {
      dfas_.push_back(std::make_unique<ByteDfa>(*part.nfa, kMaxAutomatonBytes / 4, &budget));
      start.push_back(dfas_.back()->start(part.start));
    }
    for (int byte = 0; byte < 256; ++byte) {
      const bool is_same = byte > 0 && is_same_class(byte - 1, byte);
      if (!is_same) first_bytes_.push_back(byte);
    }
    if (!is_dead(start)) add(start);
  }

  ByteTable walk() {
    for (size_t i = 0; i < states_.size(); ++i) add_edges(i);  // grows meanwhile
    return without_dead_ends();
  }

 private:
  using States = std::vector<int32_t>;

  bool is_same_class(int a, int b) const {
    for (const auto& dfa : dfas_) {
      if (dfa->class_of(static_cast<uint8_t>(a)) != dfa->class_of(static_cast<uint8_t>(b)))
        return false;
    }
    return true;
  }

  bool is_dead(const States& states) const {
    for (size_t i = 0; i < parts_.size(); ++i) {
      if (states[i] == ByteDfa::kDead && !parts_[i].is_negated) return true;
    }
    return false;
  }

  bool accepts(const States& states) const {
    for (size_t i = 0; i < parts_.size(); ++i) {
      const bool is_in = states[i] != ByteDfa::kDead && dfas_[i]->accepts(states[i]);
      if (is_in == parts_[i].is_negated) return false;
    }
    return true;
  }

  int32_t add(const States& states) {
    const auto [it, is_new] = ids_.try_emplace(states, static_cast<int32_t>(states_.size()));
    if (is_new) {
      budget_.take(40);
      states_.push_back(&it->first);
      table_.states.push_back({0, 0, accepts(states)});
    }
    return it->second;
  }

  void add_edges(size_t from) {
    const size_t first_edge = table_.edges.size();
    States next(parts_.size());
    for (size_t k = 0; k < first_bytes_.size(); ++k) {
      const auto least = static_cast<uint8_t>(first_bytes_[k]);
      const int end = k + 1 < first_bytes_.size() ? first_bytes_[k + 1] : 256;
      const auto most = static_cast<uint8_t>(end - 1);
      budget_.take(2);
      const States& states = *states_[from];
      for (size_t i = 0; i < parts_.size(); ++i)
        next[i] = states[i] == ByteDfa::kDead ? states[i] : dfas_[i]->step(states[i], least);
      if (is_dead(next)) continue;
      const int32_t to = add(next);
      const bool goes_on = table_.edges.size() > first_edge && table_.edges.back().to == to &&
                           table_.edges.back().most + 1 == least;
      if (goes_on) {
        table_.edges.back().most = most;
      } else {
        table_.edges.push_back({least, most, to});
      }
    }
    table_.states[from].first_edge = first_edge;
    table_.states[from].n_edges = table_.edges.size() - first_edge;
  }

  ByteTable without_dead_ends() const {
    const std::vector<uint8_t> live = find_live();
    std::vector<int32_t> ids(live.size(), -1);
    int32_t n = 0;
    for (size_t i = 0; i < live.size(); ++i) {
      if (live[i]) ids[i] = n++;
    }
    ByteTable out;
    if (live.empty() || !live[0]) return out;
    for (size_t i = 0; i < live.size(); ++i) {
      if (!live[i]) continue;
      const ByteTable::State& state = table_.states[i];
      const size_t first_edge = out.edges.size();
      for (size_t k = state.first_edge; k < state.first_edge + state.n_edges; ++k) {
        const ByteTable::Edge& edge = table_.edges[k];
        const int32_t to = ids[static_cast<size_t>(edge.to)];
        if (to >= 0) out.edges.push_back({edge.least, edge.most, to});
      }
      out.states.push_back({first_edge, out.edges.size() - first_edge, state.accepts});
    }
    return out;
  }

  // The states from which an end can be reached.
  std::vector<uint8_t> find_live() const {
    std::vector<std::vector<int32_t>> before(table_.states.size());
    std::vector<int32_t> pending;
    std::vector<uint8_t> live(table_.states.size());
    for (size_t i = 0; i < table_.states.size(); ++i) {
      const ByteTable::State& state = table_.states[i];
      for (size_t k = state.first_edge; k < state.first_edge + state.n_edges; ++k)
        before[static_cast<size_t>(table_.edges[k].to)].push_back(static_cast<int32_t>(i));
      live[i] = state.accepts;
      if (state.accepts) pending.push_back(static_cast<int32_t>(i));
    }
    while (!pending.empty()) {
      const auto state = static_cast<size_t>(pending.back());
      pending.pop_back();
      for (const int32_t previous : before[state]) {
        if (!live[static_cast<size_t>(previous)]) pending.push_back(previous);
        live[static_cast<size_t>(previous)] = 1;
      }
    }
    return live;
  }

  const std::vector<CombinedPart>& parts_;
  StepBudget& budget_;
  std::vector<std::unique_ptr<ByteDfa>> dfas_;
  std::vector<int> first_bytes_;  // of each class that no part tells apart
  std::map<States, int32_t> ids_;
  std::vector<const States*> states_;  // keys of ids_
  ByteTable table_;
};

}  // namespace

ByteTable combine(std::vector<CombinedPart> parts, StepBudget& budget) {
  parts.push_back(any_text());
  return Product(parts, budget).walk();
}

}  // namespace bitnet
