// Regular languages of bytes: an automaton built of parts, and its deterministic twin, which is
// made only as far as it is walked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace bitnet {

// Thompson's construction. A part has one state where it begins and one where it ends.
class ByteNfa {
 public:
  struct Part {
    int32_t begin, end;
  };

  Part empty();
  Part nothing();  // matches no text, not even the empty one
  Part range(uint8_t least, uint8_t most);
  Part sequence(Part first, Part second);
  Part choice(Part one, Part other);
  Part repeat(Part part);    // any number of times
  Part optional(Part part);  // at most once
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

  explicit ByteDfa(const ByteNfa& nfa);  // which must outlive it
  // The state in front of the first byte of a part; kDead if it matches nothing.
  int32_t start(int32_t closed_part);
  int32_t step(int32_t state, uint8_t byte) {
    const int32_t known = next_[static_cast<size_t>(state) * n_classes_ + class_of_[byte]];
    return known == kUnknown ? make_step(state, byte) : known;
  }
  bool accepts(int32_t state) const { return sets_[static_cast<size_t>(state)].accepts; }
  bool goes_on(int32_t state) const { return sets_[static_cast<size_t>(state)].goes_on; }
  size_t bytes() const;  // of memory, about

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
