#include "grammar/matcher.h"

#include "base/error.h"

namespace bitnet {
namespace {

constexpr size_t kMaxItems = 4'000'000;  // 32 MB

}  // namespace

GrammarMatcher::GrammarMatcher(std::shared_ptr<const Grammar> grammar)
    : grammar_(std::move(grammar)),
      dfa_(grammar_->nfa()),
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
  for (size_t i = from.first_item; i < from.first_item + from.n_items; ++i) {
    const Item item = items_[i];
    const Grammar::Slot& next = slot(item.slot);
    if (next.kind == kind && next.index == index) add_item({item.slot + 1, item.origin});
  }
}

void GrammarMatcher::add_item(Item item) {
  if (!is_new(item)) return;
  if (items_.size() == kMaxItems)
    throw Error(ErrorCode::kUsage,
                "the grammar is too ambiguous: following it takes more than 32 MB");
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
