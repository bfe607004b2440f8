#include "run/scheduler.h"

#include <algorithm>
#include <limits>
#include <tuple>

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
