#include "run/scheduler.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

namespace bitnet {

double Scheduler::used(const Urgency& urgency) const {
  const auto found = clients_.find(urgency.client);
  return found == clients_.end() ? 0 : found->second.used;
}

// A newcomer starts where the least of those who are here stands: it neither waits for what they
// have used nor pays for it.
void Scheduler::enter(const Urgency& urgency) {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [name, client] : clients_) least = std::min(least, client.used);
  const auto [entry, is_new] = clients_.try_emplace(urgency.client);
  if (is_new && clients_.size() > 1) entry->second.used = least;
  ++entry->second.n_operations;
}

void Scheduler::leave(const Urgency& urgency) {
  const auto found = clients_.find(urgency.client);
  if (found != clients_.end() && --found->second.n_operations == 0) clients_.erase(found);
}

void Scheduler::use(const Urgency& urgency, int64_t n_evaluated, int64_t n_sampled) {
  const auto found = clients_.find(urgency.client);
  if (found == clients_.end()) return;
  found->second.used += static_cast<double>(n_evaluated + 2 * n_sampled) / urgency.weight;
}

bool Scheduler::goes_before(const Ticket& a, const Ticket& b) const {
  return std::make_tuple(used(*a.urgency), a.id) < std::make_tuple(used(*b.urgency), b.id);
}

std::vector<uint64_t> Scheduler::admission_order(const std::vector<Ticket>& waiting) const {
  const Ticket* best[2] = {};  // urgent, in the background
  for (const Ticket& ticket : waiting) {
    const Ticket*& of_class = best[ticket.urgency->background];
    if (!of_class || goes_before(ticket, *of_class)) of_class = &ticket;
  }
  const bool background_first = n_passed_over_ >= kBackgroundTurns - 1;
  std::vector<uint64_t> order;
  const auto add = [&](const Ticket* ticket) {
    if (ticket) order.push_back(ticket->id);
  };
  add(best[background_first]);
  const bool takes_no_other = background_first ? n_passed_over_ >= 2 * kBackgroundTurns : true;
  if (order.empty() || !takes_no_other) add(best[!background_first]);
  return order;
}

void Scheduler::admit(const Urgency& urgency, bool other_waits) {
  if (urgency.background) {
    n_passed_over_ = 0;
  } else if (other_waits) {
    ++n_passed_over_;
  }
}

std::vector<uint64_t> Scheduler::share(const std::vector<Ticket>& decoding, size_t n) {
  std::vector<Ticket> of[2];
  for (const Ticket& ticket : decoding) of[ticket.urgency->background].push_back(ticket);
  const size_t n_kept = std::min(of[1].size(), n / kBackgroundTurns);
  const size_t n_urgent = std::min(of[0].size(), n - n_kept);
  std::vector<uint64_t> out;
  pick(std::move(of[0]), n_urgent, out);
  pick(std::move(of[1]), n - n_urgent, out);
  std::unordered_map<uint64_t, uint64_t> still_here;
  for (const Ticket& ticket : decoding) still_here[ticket.id] = last_row_[ticket.id];
  last_row_.swap(still_here);
  return out;
}

// Row by row to the client that has used least, the rows of this step included, and there to the
// operation whose last row is furthest back.
void Scheduler::pick(std::vector<Ticket> decoding, size_t n, std::vector<uint64_t>& out) {
  std::sort(decoding.begin(), decoding.end(), [&](const Ticket& a, const Ticket& b) {
    return std::make_tuple(last_row_[a.id], a.id) < std::make_tuple(last_row_[b.id], b.id);
  });
  struct Turn {
    double used;
    std::vector<Ticket> tickets;
    size_t n_taken = 0;
  };
  std::map<std::string, Turn> turns;
  for (const Ticket& ticket : decoding)
    turns.try_emplace(ticket.urgency->client, Turn{used(*ticket.urgency), {}})
        .first->second.tickets.push_back(ticket);
  for (; n > 0; --n) {
    Turn* next = nullptr;
    for (auto& [client, turn] : turns) {
      if (turn.n_taken < turn.tickets.size() && (!next || turn.used < next->used)) next = &turn;
    }
    const Ticket& ticket = next->tickets[next->n_taken++];
    next->used += 2 / ticket.urgency->weight;
    last_row_[ticket.id] = ++n_shared_;
    out.push_back(ticket.id);
  }
}

std::vector<uint64_t> Scheduler::order(std::vector<Ticket> waiting, uint64_t current) {
  const bool background_first = turns_ == kBackgroundTurns - 1;
  const auto rank = [&](const Ticket& t) {
    const bool late = t.urgency->background != background_first;
    const bool begun = t.id == current;
    return std::make_tuple(late, !begun, used(*t.urgency), t.id);
  };
  std::sort(waiting.begin(), waiting.end(),
            [&](const Ticket& a, const Ticket& b) { return rank(a) < rank(b); });
  if (!waiting.empty()) {
    turns_ = (turns_ + 1) % kBackgroundTurns;
    const Ticket first = waiting.front();
    const auto passes = [&](const Ticket& t) {
      return t.n_left <= kShortPrompt && t.urgency->background == first.urgency->background;
    };
    const auto short_one = std::find_if(waiting.begin(), waiting.end(), passes);
    if (first.n_left > kLongPrompt && short_one != waiting.end())
      std::rotate(waiting.begin(), short_one, short_one + 1);  // it goes first, the rest follows
  }
  std::vector<uint64_t> ids;
  for (const Ticket& t : waiting) ids.push_back(t.id);
  return ids;
}

}  // namespace bitnet
