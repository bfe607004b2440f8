// Regular languages of bytes: an automaton built of parts, and its deterministic twin, which is
// made only as far as it is walked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace bitnet {

// What making an automaton may cost, counted in steps and not by a clock, so that a grammar is
// refused on every machine or on none. A step takes some 10 ns.
class StepBudget {
 public:
  explicit StepBudget(int64_t steps) : left_(steps) {}
  // Throws kUsage when nothing is left.
  void take(int64_t steps) {
    left_ -= steps;
    if (left_ < 0) fail();
  }

 private:
  [[noreturn]] static void fail();
  int64_t left_;
};

// One to four ranges of bytes, one after the other: every combination is a character.
struct ByteSequence {
  int n;
  std::pair<uint8_t, uint8_t> bytes[4];
};

// A deterministic automaton whose states can all reach an end. The first state is where it begins;
// without states it matches nothing.
struct ByteTable {
  struct Edge {
    uint8_t least, most;
    int32_t to;
  };
  struct State {
    size_t first_edge, n_edges;
    bool accepts;
  };
  std::vector<State> states;
  std::vector<Edge> edges;

  // States that ByteNfa::table makes of it.
  size_t n_parts() const { return 2 * states.size() + 2 * edges.size() + 2; }
};

// Thompson's construction. A part has one state where it begins and one where it ends.
class ByteNfa {
 public:
  struct Part {
    int32_t begin, end;
  };

  Part empty();
  Part nothing();  // matches no text, not even the empty one
  Part text(std::string_view bytes);
  Part one_of(std::span<const ByteSequence> characters);  // which share their last bytes
  Part table(const ByteTable& table);
  Part sequence(Part first, Part second);
  Part choice(Part one, Part other);
  Part repeat(Part part);  // any number of times
  // At most `n` times, where `make` makes a part for each.
  template <class Make>
  Part at_most(int64_t n, Make make) {
    const int32_t end = add({Kind::kSplit});  // of all: an end per part would be a chain
    Part rest{end, end};
    for (; n > 0; --n) {
      rest = sequence(make(), rest);
      rest.begin = add({Kind::kSplit, 0, 0, false, rest.begin, end});
    }
    return rest;
  }
  // Ends a part that is whole. Returns the state that stands for it.
  int32_t close(Part part);
  // Finds the states from which an end can be reached. Call it once, after the last part.
  void finish();
  size_t size() const { return states_.size(); }

 private:
  friend class ByteDfa;
  enum class Kind : uint8_t { kRange, kSplit, kAccept, kFail };
  struct State {
    Kind kind;
    uint8_t least = 0, most = 0;  // of kRange
    bool is_live = false;         // reaches kAccept
    int32_t next = -1;            // of kRange and kSplit; -1: nowhere yet
    int32_t other = -1;           // of kSplit
  };

  int32_t add(const State& state);
  void connect(int32_t end, int32_t next) { states_[static_cast<size_t>(end)].next = next; }

  std::vector<State> states_;
};

// Not for two threads at once: walking makes states.
class ByteDfa {
 public:
  static constexpr int32_t kDead = -1;

  // Of an automaton that must outlive it. Throws kUsage where it would take more than `max_bytes`
  // of memory; `budget`, if any, is charged for the states that are made.
  ByteDfa(const ByteNfa& nfa, size_t max_bytes, StepBudget* budget = nullptr);
  // The state in front of the first byte of a part; kDead if it matches nothing.
  int32_t start(int32_t closed_part);
  int32_t step(int32_t state, uint8_t byte) {
    const int32_t known = next_[static_cast<size_t>(state) * n_classes_ + class_of_[byte]];
    return known == kUnknown ? make_step(state, byte) : known;
  }
  bool accepts(int32_t state) const { return sets_[static_cast<size_t>(state)].accepts; }
  bool goes_on(int32_t state) const { return sets_[static_cast<size_t>(state)].goes_on; }
  size_t bytes() const;  // of memory, about
  // Forgets all states but these, which get new numbers.
  void keep_only(std::span<int32_t* const> states);
  // Bytes that no state tells apart share a class.
  uint8_t class_of(uint8_t byte) const { return class_of_[byte]; }

 private:
  static constexpr int32_t kUnknown = -2;
  struct Set {
    size_t first, n;        // in members_: states of the NFA, ascending
    bool accepts, goes_on;  // a text may end here; a byte may follow
  };

  int32_t make_step(int32_t state, uint8_t byte);
  void add_closure(int32_t nfa_state, std::vector<int32_t>& out);
  int32_t intern(std::vector<int32_t>& members);

  const ByteNfa& nfa_;
  size_t max_bytes_;
  StepBudget* budget_;
  size_t n_classes_ = 0;
  uint8_t class_of_[256];  // bytes that no edge tells apart share a class
  std::vector<Set> sets_;
  std::vector<int32_t> members_;
  std::vector<int32_t> next_;  // [states, classes]
  std::unordered_multimap<size_t, int32_t> by_hash_;
  std::vector<uint32_t> seen_;  // by NFA state: the last closure that met it
  uint32_t closure_ = 0;
  std::vector<int32_t> pending_, found_;  // scratch
};

}  // namespace bitnet
