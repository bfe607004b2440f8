// Whose prompt is read next.
#include "run/scheduler.h"

#include <map>

#include "check.h"

using bitnet::Scheduler;
using bitnet::Urgency;

namespace {

using Order = std::vector<uint64_t>;

const Urgency kAnn{false, "ann", 1}, kBob{false, "bob", 1}, kRich{false, "rich", 4};
const Urgency kBackground{true, "nightly", 1};

}  // namespace

TEST("who came first goes first, and a prompt that was begun is read to its end") {
  Scheduler scheduler;
  CHECK(
      (scheduler.order({{2, &kAnn, 100}, {1, &kAnn, 100}, {3, &kAnn, 100}}, 0) == Order{1, 2, 3}));
  CHECK(
      (scheduler.order({{2, &kAnn, 100}, {1, &kAnn, 100}, {3, &kAnn, 100}}, 3) == Order{3, 1, 2}));
  CHECK(scheduler.order({}, 0).empty());
}

TEST("a short prompt overtakes a long one, one in each step") {
  Scheduler scheduler;
  CHECK((scheduler.order({{1, &kAnn, 513}, {2, &kAnn, 65}, {3, &kAnn, 64}, {4, &kAnn, 10}}, 1) ==
         Order{3, 1, 2, 4}));
  CHECK((scheduler.order({{1, &kAnn, 512}, {3, &kAnn, 64}}, 1) == Order{1, 3}));
}

TEST("the client that has used least goes first") {
  Scheduler scheduler;
  scheduler.enter(kAnn);
  scheduler.use(kAnn, 1000, 0);
  scheduler.enter(kBob);  // begins where ann stands
  CHECK((scheduler.order({{1, &kAnn, 10}, {2, &kBob, 10}}, 0) == Order{1, 2}));
  scheduler.use(kAnn, 1, 0);
  CHECK((scheduler.order({{1, &kAnn, 10}, {2, &kBob, 10}}, 0) == Order{2, 1}));
  scheduler.use(kBob, 0, 1);  // a sampled token counts twice
  CHECK((scheduler.order({{1, &kAnn, 10}, {2, &kBob, 10}}, 0) == Order{1, 2}));
}

TEST("a client of four times the weight gets four times the tokens") {
  Scheduler scheduler;
  scheduler.enter(kAnn);
  scheduler.enter(kRich);
  std::map<uint64_t, int> turns;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t id = scheduler.order({{1, &kAnn, 10}, {2, &kRich, 10}}, 0).front();
    scheduler.use(id == 1 ? kAnn : kRich, 10, 0);
    ++turns[id];
  }
  CHECK(turns[2] > 3.9 * turns[1] && turns[2] < 4.1 * turns[1]);
}

TEST("a client's hundred requests do not keep another's one waiting") {
  Scheduler scheduler;
  std::vector<Scheduler::Ticket> waiting;
  for (uint64_t id = 1; id <= 100; ++id) {
    scheduler.enter(kAnn);
    waiting.push_back({id, &kAnn, 100});
  }
  scheduler.use(kAnn, 100, 0);
  scheduler.enter(kBob);
  scheduler.use(kAnn, 100, 0);
  waiting.push_back({101, &kBob, 100});
  CHECK(scheduler.order(waiting, 0).front() == 101);
}

TEST("work in the background gets every tenth turn while others wait") {
  Scheduler scheduler;
  int n_background = 0;
  for (int i = 0; i < 100; ++i)
    n_background += scheduler.order({{1, &kBackground, 100}, {2, &kAnn, 100}}, 0).front() == 1;
  CHECK_EQ(n_background, 10);
  CHECK((scheduler.order({{1, &kBackground, 100}}, 0) == Order{1}));
}

TEST("a client that has left is forgotten") {
  Scheduler scheduler;
  scheduler.enter(kAnn);
  scheduler.use(kAnn, 1000, 0);
  scheduler.leave(kAnn);
  scheduler.enter(kBob);
  scheduler.use(kBob, 5, 0);
  scheduler.enter(kAnn);
  CHECK((scheduler.order({{1, &kBob, 10}, {2, &kAnn, 10}}, 0) == Order{1, 2}));
  scheduler.leave({false, "nobody", 1});  // changes nothing
}
