// Follows a text through a grammar, byte by byte, and back again.
//
// Earley's algorithm. A column is a place in the text where a terminal can end; it holds the
// productions that are open there. Between columns only the automata of the terminals that are
// under way take steps, so that a byte inside of a string costs a look-up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "grammar/byte_automaton.h"
#include "grammar/grammar.h"

namespace bitnet {

class GrammarMatcher {
 public:
  explicit GrammarMatcher(std::shared_ptr<const Grammar> grammar);

  // Goes on by a byte, if a text of the grammar can begin so; else nothing changes. Throws kUsage
  // where the grammar is so ambiguous that following it takes too much memory or, since the last
  // commit(), too many steps; the matcher is of no use then.
  bool push(uint8_t byte);
  void pop(size_t n);  // the last n bytes that were pushed since commit()
  void commit();       // they cannot be popped any more
  // All bytes, or nothing changes.
  bool push_all(std::string_view bytes);

  // The terminals that are under way, as states of their automata. As long as none of them is at an
  // end, steps of these are all that a byte does.
  size_t n_under_way() const { return levels_.back().n_scans - levels_.back().first_scan; }
  int32_t under_way(size_t i) const { return scans_[levels_.back().first_scan + i].state; }
  int32_t step(int32_t state, uint8_t byte) { return dfa_.step(state, byte); }
  bool is_end(int32_t state) const { return dfa_.accepts(state); }

  bool can_end() const { return levels_.back().can_end; }
  // Nothing can follow.
  bool must_end() const { return levels_.back().n_scans == levels_.back().first_scan; }

 private:
  // A production that is open: the next of its slots, and the column in which it began.
  struct Item {
    int32_t slot, origin;
  };
  struct Column {
    size_t first_item, n_items;
  };
  // A terminal that is under way since a column.
  struct Scan {
    int32_t terminal, state, column;
  };
  // After a byte: everything before is kept, so that going back is cutting off.
  struct Level {
    size_t first_scan, n_scans;  // scans_[first_scan, n_scans)
    size_t n_columns, n_items;
    bool can_end;
  };
  struct Ended {
    int32_t terminal, column;
  };

  const Grammar::Slot& slot(int32_t i) const { return grammar_->slots()[static_cast<size_t>(i)]; }
  void begin_column();
  void advance(size_t column, Grammar::Slot::Kind kind, int32_t index);
  void add_item(Item item);
  void move_on(Item item) { add_item({item.slot + 1, item.origin}); }
  bool close_column();
  void sort_column(Column column);
  int64_t symbol(int32_t item) const;
  void predict(int32_t nonterminal);
  void scan(int32_t terminal);
  bool is_new(Item item);
  void forget_states();

  std::shared_ptr<const Grammar> grammar_;
  ByteDfa dfa_;
  StepBudget budget_;
  std::vector<int32_t> starts_;  // states of dfa_, by terminal
  std::vector<Column> columns_;
  std::vector<Item> items_;
  // As long as items_ at times: the items of each large column, ordered by the symbol they wait
  // for.
  std::vector<int32_t> by_symbol_;
  std::vector<Scan> scans_;
  std::vector<Level> levels_;  // the first one is what was committed
  std::vector<Ended> ended_;   // scratch
  // What the column that is being made has already: by nonterminal, by terminal, and a hash table
  // of items. An entry counts if it bears the mark of this column.
  uint32_t mark_ = 0;
  std::vector<uint32_t> predicted_, scanned_;
  struct Known {
    Item item;
    uint32_t mark;
  };
  std::vector<Known> known_;
  size_t n_known_ = 0;
};

}  // namespace bitnet
