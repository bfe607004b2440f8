// Who is admitted next, whose prompt is read next, who decodes where a step cannot hold all. Knows
// nothing of models: operations are tickets.
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

  // Who may be admitted next: the first, or if there is no place for it, the second. A class that
  // has been passed over for too long has no second.
  std::vector<uint64_t> admission_order(const std::vector<Ticket>& waiting) const;
  // One is admitted. Whether the other class waits, too: its turn comes nearer then.
  void admit(const Urgency& urgency, bool other_waits);

  // Which `n` of those that decode have a row in the next step, in turn within a client; n is below
  // their number. Work in the background has at least a tenth.
  std::vector<uint64_t> share(const std::vector<Ticket>& decoding, size_t n);

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
  bool goes_before(const Ticket& a, const Ticket& b) const;
  void pick(std::vector<Ticket> decoding, size_t n, std::vector<uint64_t>& out);

  std::unordered_map<std::string, Client> clients_;  // that have operations
  int turns_ = 0;
  int n_passed_over_ = 0;  // admissions since one of the background, while that waited
  std::unordered_map<uint64_t, uint64_t> last_row_;  // of those that decode in turn, by id
  uint64_t n_shared_ = 0;                            // rows
};

}  // namespace bitnet
