#include "grammar/grammar.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "grammar/combine.h"

namespace bitnet {
namespace {

// A rule with a larger automaton, or with more rules within rules, stays a nonterminal: copied into
// each place that names it, it could grow without bound.
constexpr int64_t kInlineStates = 2'000;
constexpr int kInlineDepth = 16;
// A larger regular expression is taken apart into smaller terminals.
constexpr int64_t kMaxTerminalStates = 400'000;

constexpr int64_t kNotRegular = std::numeric_limits<int64_t>::max();

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::kUsage, "the grammar " + why);
}

}  // namespace

class GrammarCompiler {
 public:
  GrammarCompiler(const GrammarText& text, Grammar& out) : text_(text), out_(out) {}

  void compile() {
    nfa_ = &out_.nfa_;
    measure_rules();
    out_.root_ = nonterminal_of(text_.root);
    for (size_t i = 0; i < pending_.size(); ++i) {  // grows meanwhile
      const auto [nonterminal, expression] = pending_[i];
      add_alternatives(nonterminal, expression);
    }
    out_.nfa_.finish();
  }

 private:
  using Kind = Expression::Kind;
  using Slots = std::vector<Grammar::Slot>;

  const Expression& at(int32_t expression) const {
    return text_.expressions[static_cast<size_t>(expression)];
  }

  // The states of an expression's automaton; kNotRegular if it has none. Rules that it names are
  // measured already or not regular.
  int64_t measure(int32_t id) {
    int64_t& known = measured_[static_cast<size_t>(id)];
    if (known < 0) known = measure_anew(at(id));
    return known;
  }

  int64_t measure_anew(const Expression& expression) {
    switch (expression.kind) {
      case Kind::kText:
        return static_cast<int64_t>(expression.text.size()) + 1;
      case Kind::kCharacters: {
        ByteNfa alone;
        alone.one_of(spell(expression.characters));
        budget_.take(static_cast<int64_t>(alone.size()));
        return static_cast<int64_t>(alone.size());
      }
      case Kind::kBoth:
      case Kind::kNot:
        return static_cast<int64_t>(table_of(expression).n_parts());
      case Kind::kRule:
        return rule_states_[static_cast<size_t>(expression.rule)];
      case Kind::kRepeat: {
        const int64_t part = measure(expression.parts[0]);
        const int64_t copies =
            expression.most == kUnbounded ? expression.least + 1 : expression.most;
        return part == kNotRegular ? part
                                   : std::min(kMaxTerminalStates + 1, (part + 2) * copies + 2);
      }
      case Kind::kSequence:
      case Kind::kChoice:
        break;
    }
    int64_t sum = 1;
    for (const int32_t part : expression.parts) {
      const int64_t states = measure(part);
      if (states == kNotRegular) return kNotRegular;
      sum = std::min(kMaxTerminalStates + 1, sum + states + 2);
    }
    return sum;
  }

  // What is several things at once, or is something not. Made while it is measured.
  const ByteTable& table_of(const Expression& expression) {
    const auto [known, is_new] = tables_.try_emplace(&expression);
    if (!is_new) return known->second;
    const std::vector<int32_t> itself{static_cast<int32_t>(&expression - text_.expressions.data())};
    std::vector<CombinedPart> combined;
    for (const int32_t part : expression.kind == Kind::kBoth ? expression.parts : itself) {
      const bool is_negated = at(part).kind == Kind::kNot;
      const int32_t inner = is_negated ? at(part).parts[0] : part;
      if (measure(inner) > kMaxTerminalStates)
        refuse("has parts of & or ~ that refer to themselves or are too large");
      auto nfa = std::make_unique<ByteNfa>();
      nfa_ = nfa.get();
      const ByteNfa::Part built = build(inner);
      nfa_ = &out_.nfa_;
      const int32_t start = nfa->close(built);
      nfa->finish();
      combined.push_back({std::move(nfa), start, is_negated});
    }
    return known->second = combine(std::move(combined), budget_);
  }

  bool is_terminal(int32_t expression) { return measure(expression) <= kMaxTerminalStates; }

  // Decides which rules are copied into the places that name them: from those that name no rule
  // upwards. Rules that name themselves are never reached.
  void measure_rules() {
    const size_t n = text_.rules.size();
    measured_.assign(text_.expressions.size(), -1);
    rule_states_.assign(n, kNotRegular);
    nonterminals_.assign(n, -1);
    std::vector<std::vector<int32_t>> users(n), uses(n);
    std::vector<int32_t> ready;
    std::vector<size_t> missing(n);
    for (size_t rule = 0; rule < n; ++rule) {
      collect_rules(text_.rules[rule].expression, uses[rule]);
      missing[rule] = uses[rule].size();
      for (const int32_t used : uses[rule])
        users[static_cast<size_t>(used)].push_back(static_cast<int32_t>(rule));
      if (missing[rule] == 0) ready.push_back(static_cast<int32_t>(rule));
    }
    std::vector<int> depth(n);
    while (!ready.empty()) {
      const auto rule = static_cast<size_t>(ready.back());
      ready.pop_back();
      for (const int32_t used : uses[rule])
        depth[rule] = std::max(depth[rule], depth[static_cast<size_t>(used)] + 1);
      const int64_t states = measure(text_.rules[rule].expression);
      if (states <= kInlineStates && depth[rule] <= kInlineDepth) rule_states_[rule] = states;
      for (const int32_t user : users[rule]) {
        if (--missing[static_cast<size_t>(user)] == 0) ready.push_back(user);
      }
    }
  }

  void collect_rules(int32_t id, std::vector<int32_t>& out) const {
    const Expression& expression = at(id);
    if (expression.kind == Kind::kRule) out.push_back(expression.rule);
    for (const int32_t part : expression.parts) collect_rules(part, out);
  }

  ByteNfa::Part build(int32_t id) {
    const Expression& expression = at(id);
    switch (expression.kind) {
      case Kind::kText:
        budget_.take(std::ssize(expression.text));
        return nfa_->text(expression.text);
      case Kind::kCharacters:
        budget_.take(measure(id));
        return nfa_->one_of(spell(expression.characters));
      case Kind::kBoth:
      case Kind::kNot:
        budget_.take(measure(id));
        return nfa_->table(table_of(expression));
      case Kind::kRule:
        return build(text_.rules[static_cast<size_t>(expression.rule)].expression);
      case Kind::kSequence:
        return build_sequence(expression.parts);
      case Kind::kChoice:
        return build_choice(expression.parts);
      case Kind::kRepeat:
        return build_repeat(expression);
    }
    throw Error(ErrorCode::kInternal, "an unknown kind of expression");
  }

  ByteNfa::Part build_sequence(const std::vector<int32_t>& parts) {
    ByteNfa::Part part = nfa_->empty();
    for (const int32_t next : parts) part = nfa_->sequence(part, build(next));
    return part;
  }

  ByteNfa::Part build_choice(const std::vector<int32_t>& parts) {
    ByteNfa::Part part = build(parts[0]);
    for (size_t i = 1; i < parts.size(); ++i) part = nfa_->choice(part, build(parts[i]));
    return part;
  }

  ByteNfa::Part build_repeat(const Expression& expression) {
    const auto once = [&] { return build(expression.parts[0]); };
    // From the end: what may be left out holds all that may follow it.
    ByteNfa::Part rest = expression.most == kUnbounded
                             ? nfa_->repeat(once())
                             : nfa_->at_most(expression.most - expression.least, once);
    budget_.take(expression.least);
    for (int64_t i = 0; i < expression.least; ++i) rest = nfa_->sequence(once(), rest);
    return rest;
  }

  Grammar::Slot add_terminal(ByteNfa::Part part) {
    if (out_.nfa_.size() > kMaxAutomaton) refuse("is too large");
    out_.terminals_.push_back({out_.nfa_.close(part), false});
    return {Grammar::Slot::Kind::kTerminal, static_cast<int32_t>(out_.terminals_.size()) - 1};
  }

  // One terminal per expression, however often it is named.
  Grammar::Slot terminal_of(int32_t expression) {
    if (at(expression).kind == Kind::kRule)
      return terminal_of(text_.rules[static_cast<size_t>(at(expression).rule)].expression);
    const auto known = terminals_.find(expression);
    if (known != terminals_.end()) return known->second;
    const Grammar::Slot slot = add_terminal(build(expression));
    terminals_.emplace(expression, slot);
    return slot;
  }

  int32_t add_nonterminal() {
    out_.productions_.emplace_back();
    return static_cast<int32_t>(out_.productions_.size()) - 1;
  }

  int32_t nonterminal_of(int32_t rule) {
    int32_t& known = nonterminals_[static_cast<size_t>(rule)];
    if (known < 0) {
      known = add_nonterminal();
      pending_.emplace_back(known, text_.rules[static_cast<size_t>(rule)].expression);
    }
    return known;
  }

  void add_production(int32_t nonterminal, const Slots& slots) {
    out_.productions_[static_cast<size_t>(nonterminal)].push_back(
        static_cast<int32_t>(out_.slots_.size()));
    out_.slots_.insert(out_.slots_.end(), slots.begin(), slots.end());
    out_.slots_.push_back({Grammar::Slot::Kind::kEnd, nonterminal});
    if (out_.slots_.size() > kMaxSlots) refuse("is too large");
  }

  static Grammar::Slot nonterminal(int32_t index) {
    return {Grammar::Slot::Kind::kNonterminal, index};
  }

  void add_alternatives(int32_t head, int32_t id) {
    const Expression& expression = at(id);
    if (is_terminal(id)) return add_production(head, {terminal_of(id)});
    if (expression.kind == Kind::kRepeat) return add_repeat(head, expression);
    if (expression.kind != Kind::kChoice) return add_production(head, lower(id));
    std::vector<int32_t> regular;
    for (const int32_t part : expression.parts) {
      if (is_terminal(part)) {
        regular.push_back(part);
      } else {
        add_production(head, lower(part));
      }
    }
    if (!regular.empty()) add_production(head, {add_terminal(build_choice(regular))});
  }

  Slots lower(int32_t id) {
    const Expression& expression = at(id);
    if (is_terminal(id)) return {terminal_of(id)};
    if (expression.kind == Kind::kRule) return {nonterminal(nonterminal_of(expression.rule))};
    if (expression.kind == Kind::kSequence) return lower_sequence(expression.parts);
    const int32_t added = add_nonterminal();
    pending_.emplace_back(added, id);
    return {nonterminal(added)};
  }

  // Neighbours that are regular become one terminal.
  Slots lower_sequence(const std::vector<int32_t>& parts) {
    Slots out;
    std::vector<int32_t> regular;
    int64_t states = 0;
    const auto flush = [&] {
      if (regular.size() == 1) out.push_back(terminal_of(regular[0]));
      if (regular.size() > 1) out.push_back(add_terminal(build_sequence(regular)));
      regular.clear();
      states = 0;
    };
    for (const int32_t part : parts) {
      const int64_t more = measure(part);
      if (more > kMaxTerminalStates) {
        flush();
        const Slots lowered = lower(part);
        out.insert(out.end(), lowered.begin(), lowered.end());
        continue;
      }
      if (states + more > kMaxTerminalStates) flush();
      states += more;
      regular.push_back(part);
    }
    flush();
    return out;
  }

  // Without a limit: head = least times, then head2, which is nothing or head2 and once more, so
  // that a long list keeps few items open. With one: each that may be left out holds the next.
  void add_repeat(int32_t head, const Expression& expression) {
    const Slots once = lower(expression.parts[0]);
    Slots all;
    const int64_t most = std::max(expression.least, expression.most);
    if (static_cast<int64_t>(once.size()) * most > static_cast<int64_t>(kMaxSlots))
      refuse("is too large");
    for (int64_t i = 0; i < expression.least; ++i) all.insert(all.end(), once.begin(), once.end());
    if (expression.most == kUnbounded) {
      const int32_t more = add_nonterminal();
      Slots grown{nonterminal(more)};
      grown.insert(grown.end(), once.begin(), once.end());
      add_production(more, {});
      add_production(more, grown);
      all.push_back(nonterminal(more));
    } else if (expression.most > expression.least) {
      all.push_back(nonterminal(add_optional(once, expression.most - expression.least)));
    }
    add_production(head, all);
  }

  int32_t add_optional(const Slots& once, int64_t most) {
    int32_t rest = -1;
    for (int64_t i = 0; i < most; ++i) {
      const int32_t optional = add_nonterminal();
      Slots slots = once;
      if (rest >= 0) slots.push_back(nonterminal(rest));
      add_production(optional, {});
      add_production(optional, slots);
      rest = optional;
    }
    return rest;
  }

  const GrammarText& text_;
  Grammar& out_;
  ByteNfa* nfa_ = nullptr;  // that is built now
  StepBudget budget_{kMaxCompileSteps};
  std::unordered_map<const Expression*, ByteTable> tables_;
  std::vector<int64_t> measured_;      // by expression; -1: not yet
  std::vector<int64_t> rule_states_;   // of rules that are copied; else kNotRegular
  std::vector<int32_t> nonterminals_;  // by rule
  std::unordered_map<int32_t, Grammar::Slot> terminals_;  // by expression
  std::vector<std::pair<int32_t, int32_t>> pending_;      // nonterminal, its expression
};

Grammar::Grammar(const GrammarText& text) {
  GrammarCompiler(text, *this).compile();
  StepBudget budget(kMaxCompileSteps);
  ByteDfa dfa(nfa_, kMaxAutomatonBytes, &budget);
  std::vector<int32_t> starts;
  for (Terminal& terminal : terminals_) {
    starts.push_back(dfa.start(terminal.start));
    terminal.is_nullable = starts.back() != ByteDfa::kDead && dfa.accepts(starts.back());
    if (starts.back() == ByteDfa::kDead) terminal.start = -1;
  }
  if (!remove_unproductive()) refuse("matches no text at all");
  nullable_ = closure_of([](const Terminal& terminal) { return terminal.is_nullable; });
}

std::shared_ptr<const Grammar> Grammar::from_gbnf(const std::string& text, size_t max_bytes) {
  return std::make_shared<const Grammar>(parse_gbnf(text, max_bytes));
}

// The nonterminals that have a production of nothing but terminals with `property` and such
// nonterminals. A production is ready when as many of its slots are known to be so as it has.
std::vector<uint8_t> Grammar::closure_of(bool (*property)(const Terminal&)) const {
  std::vector<std::vector<int32_t>> users(productions_.size());  // slots that name a nonterminal
  std::vector<int32_t> missing(slots_.size());                   // by first slot of a production
  std::vector<int32_t> first_of(slots_.size());
  std::vector<uint8_t> those(productions_.size());
  std::vector<int32_t> ready;
  const auto mark = [&](int32_t nonterminal) {
    uint8_t& is_in = those[static_cast<size_t>(nonterminal)];
    if (!is_in) ready.push_back(nonterminal);
    is_in = 1;
  };
  for (size_t i = 0; i < productions_.size(); ++i) {
    for (const int32_t first : productions_[i]) {
      int32_t n = 0;
      for (auto at = static_cast<size_t>(first); slots_[at].kind != Slot::Kind::kEnd; ++at) {
        const auto index = static_cast<size_t>(slots_[at].index);
        first_of[at] = first;
        if (slots_[at].kind == Slot::Kind::kNonterminal)
          users[index].push_back(static_cast<int32_t>(at));
        n += slots_[at].kind == Slot::Kind::kNonterminal || !property(terminals_[index]);
      }
      missing[static_cast<size_t>(first)] = n;
      if (n == 0) mark(static_cast<int32_t>(i));
    }
  }
  while (!ready.empty()) {
    const auto nonterminal = static_cast<size_t>(ready.back());
    ready.pop_back();
    for (const int32_t user : users[nonterminal]) {
      const int32_t first = first_of[static_cast<size_t>(user)];
      if (--missing[static_cast<size_t>(first)] == 0) mark(head_of(first));
    }
  }
  return those;
}

// The nonterminal that a production makes.
int32_t Grammar::head_of(int32_t first) const {
  auto slot = slots_.begin() + first;
  while (slot->kind != Slot::Kind::kEnd) ++slot;
  return slot->index;
}

bool Grammar::consists_of(int32_t first, bool (*property)(const Terminal&),
                          const std::vector<uint8_t>& those) const {
  for (auto slot = slots_.begin() + first; slot->kind != Slot::Kind::kEnd; ++slot) {
    const auto index = static_cast<size_t>(slot->index);
    if (slot->kind == Slot::Kind::kTerminal ? !property(terminals_[index]) : !those[index])
      return false;
  }
  return true;
}

// Drops productions that can never come to an end, so that every beginning that is accepted has an
// end. Returns whether the root is left.
bool Grammar::remove_unproductive() {
  const auto has_text = [](const Terminal& terminal) { return terminal.start >= 0; };
  const std::vector<uint8_t> productive = closure_of(has_text);
  for (auto& firsts : productions_) {
    std::erase_if(firsts, [&](int32_t first) { return !consists_of(first, has_text, productive); });
  }
  return productive[static_cast<size_t>(root_)] != 0;
}

}  // namespace bitnet
