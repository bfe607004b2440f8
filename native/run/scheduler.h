// Whose prompt is read next. Knows nothing of models: operations are tickets.
//
// Urgent work goes before work in the background, which gets every tenth turn; among equals the
// client that has used least goes first, then who came first. A prompt that was begun is read to
// its end, but a short one may overtake it in each step while much of it is left.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace bitnet {

struct Urgency {
  bool background = false;
  std::string client;  // those of one client share its turns
  double weight = 1;   // a client of twice the weight gets twice the tokens
};

class Scheduler {
 public:
  static constexpr int64_t kShortPrompt = 64, kLongPrompt = 512;  // tokens
  static constexpr int kBackgroundTurns = 10;

  struct Ticket {
    uint64_t id;
    const Urgency* urgency;
    int64_t n_left;  // tokens of the prompt that are not evaluated
  };

  // The tickets in the order of their turns; those at the front are read in the next step.
  // `current` is the one whose prompt was begun, 0 if none.
  std::vector<uint64_t> order(std::vector<Ticket> waiting, uint64_t current);

  // A client comes, or has used so many tokens: evaluated ones count once, sampled ones twice.
  void enter(const Urgency& urgency);
  void leave(const Urgency& urgency);
  void use(const Urgency& urgency, int64_t n_evaluated, int64_t n_sampled);

 private:
  struct Client {
    double used = 0;  // virtual tokens
    int64_t n_operations = 0;
  };
  double used(const Urgency& urgency) const;

  std::unordered_map<std::string, Client> clients_;  // that have operations
  int turns_ = 0;
};

}  // namespace bitnet
