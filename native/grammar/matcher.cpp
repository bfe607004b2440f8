#include "grammar/matcher.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace bitnet {
namespace {

// What following one text may take; with what its grammar takes, less than 64 MiB.
constexpr size_t kMaxItems = 2'000'000;  // 16 MB
constexpr size_t kMaxScans = 1'000'000;  // 12 MB
constexpr size_t kLargeColumn = 64;      // items: such a column is sorted
constexpr size_t kKeptStates = 8 << 20;  // bytes: beyond, states are made again when needed
// Between two tokens. The mask of a vocabulary of 128k takes less than 2 million.
constexpr int64_t kMaxSteps = 20'000'000;

int64_t symbol_of(Grammar::Slot slot) {
  return static_cast<int64_t>(slot.kind) << 32 | static_cast<uint32_t>(slot.index);
}

[[noreturn]] void fail_as_ambiguous() {
  throw Error(ErrorCode::kUsage, "the grammar is too ambiguous: following it takes too much");
}

}  // namespace

GrammarMatcher::GrammarMatcher(std::shared_ptr<const Grammar> grammar)
    : grammar_(std::move(grammar)),
      dfa_(grammar_->nfa(), kMaxAutomatonBytes),
      budget_(kMaxSteps),
      predicted_(static_cast<size_t>(grammar_->n_nonterminals())),
      scanned_(grammar_->terminals().size()),
      known_(64) {
  for (const Grammar::Terminal& terminal : grammar_->terminals())
    starts_.push_back(terminal.start < 0 ? ByteDfa::kDead : dfa_.start(terminal.start));
  levels_.push_back({0, 0, 0, 0, false});
  begin_column();
  predict(grammar_->root());
  const bool can_end = close_column();
  levels_.back() = {0, scans_.size(), columns_.size(), items_.size(), can_end};
}

bool GrammarMatcher::push(uint8_t byte) {
  const Level level = levels_.back();
  ended_.clear();
  budget_.take(static_cast<int64_t>(level.n_scans - level.first_scan));
  if (scans_.size() > kMaxScans) fail_as_ambiguous();
  for (size_t i = level.first_scan; i < level.n_scans; ++i) {
    const Scan scan = scans_[i];
    const int32_t state = dfa_.step(scan.state, byte);
    if (state == ByteDfa::kDead) continue;
    if (dfa_.goes_on(state)) scans_.push_back({scan.terminal, state, scan.column});
    if (dfa_.accepts(state)) ended_.push_back({scan.terminal, scan.column});
  }
  if (scans_.size() == level.n_scans && ended_.empty()) return false;
  bool can_end = false;
  if (!ended_.empty()) {
    begin_column();
    for (const Ended& ended : ended_)
      advance(static_cast<size_t>(ended.column), Grammar::Slot::Kind::kTerminal, ended.terminal);
    can_end = close_column();
  }
  levels_.push_back({level.n_scans, scans_.size(), columns_.size(), items_.size(), can_end});
  return true;
}

void GrammarMatcher::pop(size_t n) {
  levels_.resize(levels_.size() - n);
  const Level& level = levels_.back();
  scans_.resize(level.n_scans);
  columns_.resize(level.n_columns);
  items_.resize(level.n_items);
}

void GrammarMatcher::commit() {
  Level level = levels_.back();
  scans_.erase(scans_.begin(), scans_.begin() + static_cast<int64_t>(level.first_scan));
  level.n_scans -= level.first_scan;
  level.first_scan = 0;
  levels_.assign(1, level);
  budget_ = StepBudget(kMaxSteps);
  if (dfa_.bytes() > kKeptStates) forget_states();
}

void GrammarMatcher::forget_states() {
  std::vector<int32_t*> kept;
  for (int32_t& start : starts_) kept.push_back(&start);
  for (Scan& scan : scans_) kept.push_back(&scan.state);
  dfa_.keep_only(kept);
}

bool GrammarMatcher::push_all(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (!push(static_cast<uint8_t>(bytes[i]))) {
      pop(i);
      return false;
    }
  }
  return true;
}

void GrammarMatcher::begin_column() {
  columns_.push_back({items_.size(), 0});
  mark_ += 1;
  n_known_ = 0;
}

// Moves on the items of a column that wait for a symbol.
void GrammarMatcher::advance(size_t column, Grammar::Slot::Kind kind, int32_t index) {
  const Column from = columns_[column];
  if (from.n_items > kLargeColumn) {
    const int64_t wanted = symbol_of({kind, index});
    const auto first = by_symbol_.begin() + static_cast<int64_t>(from.first_item);
    const auto last = first + static_cast<int64_t>(from.n_items);
    auto it = std::partition_point(first, last, [&](int32_t i) { return symbol(i) < wanted; });
    for (; it != last && symbol(*it) == wanted; ++it) move_on(items_[static_cast<size_t>(*it)]);
    return;
  }
  budget_.take(static_cast<int64_t>(from.n_items));
  for (size_t i = from.first_item; i < from.first_item + from.n_items; ++i) {
    const Item item = items_[i];
    const Grammar::Slot& next = slot(item.slot);
    if (next.kind == kind && next.index == index) move_on(item);
  }
}

int64_t GrammarMatcher::symbol(int32_t item) const {
  return symbol_of(slot(items_[static_cast<size_t>(item)].slot));
}

void GrammarMatcher::sort_column(Column column) {
  if (column.n_items <= kLargeColumn) return;
  budget_.take(static_cast<int64_t>(8 * column.n_items));
  by_symbol_.resize(column.first_item + column.n_items);
  const auto first = by_symbol_.begin() + static_cast<int64_t>(column.first_item);
  std::iota(first, by_symbol_.end(), static_cast<int32_t>(column.first_item));
  std::sort(first, by_symbol_.end(), [&](int32_t a, int32_t b) {
    const int64_t of_a = symbol(a), of_b = symbol(b);
    return of_a != of_b ? of_a < of_b : a < b;
  });
}

void GrammarMatcher::add_item(Item item) {
  budget_.take(1);
  if (!is_new(item)) return;
  if (items_.size() == kMaxItems) fail_as_ambiguous();
  items_.push_back(item);
}

// Adds all that follows from the items of the newest column. Returns whether a text may end here.
bool GrammarMatcher::close_column() {
  const size_t column = columns_.size() - 1;
  bool can_end = false;
  for (size_t i = columns_[column].first_item; i < items_.size(); ++i) {
    const Item item = items_[i];
    const Grammar::Slot next = slot(item.slot);
    switch (next.kind) {
      case Grammar::Slot::Kind::kTerminal:
        scan(next.index);
        if (grammar_->terminals()[static_cast<size_t>(next.index)].is_nullable)
          add_item({item.slot + 1, item.origin});
        break;
      case Grammar::Slot::Kind::kNonterminal:
        predict(next.index);
        // What is empty ends here at once: J. Aycock, R. N. Horspool, "Practical Earley Parsing".
        if (grammar_->is_nullable(next.index)) add_item({item.slot + 1, item.origin});
        break;
      case Grammar::Slot::Kind::kEnd:
        can_end = can_end || (next.index == grammar_->root() && item.origin == 0);
        if (static_cast<size_t>(item.origin) != column)
          advance(static_cast<size_t>(item.origin), Grammar::Slot::Kind::kNonterminal, next.index);
        break;
    }
  }
  columns_[column].n_items = items_.size() - columns_[column].first_item;
  sort_column(columns_[column]);
  return can_end;
}

void GrammarMatcher::predict(int32_t nonterminal) {
  uint32_t& mark = predicted_[static_cast<size_t>(nonterminal)];
  if (mark == mark_) return;
  mark = mark_;
  for (const int32_t first : grammar_->productions(nonterminal))
    add_item({first, static_cast<int32_t>(columns_.size()) - 1});
}

void GrammarMatcher::scan(int32_t terminal) {
  uint32_t& mark = scanned_[static_cast<size_t>(terminal)];
  if (mark == mark_) return;
  mark = mark_;
  const int32_t state = starts_[static_cast<size_t>(terminal)];
  if (state != ByteDfa::kDead && dfa_.goes_on(state))
    scans_.push_back({terminal, state, static_cast<int32_t>(columns_.size()) - 1});
}

bool GrammarMatcher::is_new(Item item) {
  if (2 * n_known_ >= known_.size()) {  // open addressing, at most half full
    std::vector<Known> old(2 * known_.size());
    old.swap(known_);
    n_known_ = 0;
    for (const Known& known : old) {
      if (known.mark == mark_) is_new(known.item);
    }
  }
  const size_t mask = known_.size() - 1;
  size_t i = (static_cast<size_t>(item.slot) * 0x9E3779B1u ^
              static_cast<size_t>(item.origin) * 0x85EBCA77u) &
             mask;
  for (; known_[i].mark == mark_; i = (i + 1) & mask) {
    if (known_[i].item.slot == item.slot && known_[i].item.origin == item.origin) return false;
  }
  known_[i] = {item, mark_};
  n_known_ += 1;
  return true;
}

}  // namespace bitnet
