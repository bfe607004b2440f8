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

TEST("urgent work is admitted first, then the client that has used least, then who came first") {
  Scheduler scheduler;
  CHECK(scheduler.admission_order({}).empty());
  scheduler.enter(kAnn);
  scheduler.enter(kBob);
  scheduler.enter(kBackground);
  scheduler.use(kAnn, 10, 0);
  CHECK((scheduler.admission_order({{1, &kBackground, 0}, {3, &kAnn, 0}, {2, &kAnn, 0}}) ==
         Order{2}));
  CHECK((scheduler.admission_order(
             {{1, &kBackground, 0}, {2, &kAnn, 0}, {4, &kBob, 0}, {3, &kBob, 0}}) == Order{3}));
  CHECK((scheduler.admission_order({{2, &kBackground, 0}, {1, &kBackground, 0}}) == Order{1}));
}

TEST("every tenth admission is one of the background; if there is no place for it, the next is") {
  Scheduler scheduler;
  const std::vector<Scheduler::Ticket> both = {{1, &kAnn, 0}, {2, &kBackground, 0}};
  for (int i = 0; i < 9; ++i) {
    CHECK(scheduler.admission_order(both) == Order{1});
    scheduler.admit(kAnn, true);
  }
  // It may be passed over for a while, but not for ever.
  for (int i = 9; i < 20; ++i) {
    CHECK((scheduler.admission_order(both) == Order{2, 1}));
    scheduler.admit(kAnn, true);
  }
  CHECK(scheduler.admission_order(both) == Order{2});
  scheduler.admit(kBackground, true);
  CHECK(scheduler.admission_order(both) == Order{1});
  // While nothing of it waits, no turn comes nearer.
  for (int i = 0; i < 30; ++i) scheduler.admit(kAnn, false);
  CHECK(scheduler.admission_order(both) == Order{1});
}

TEST("rows that are too few go to the clients by weight, to each one's sequences in turn") {
  Scheduler scheduler;
  std::vector<Scheduler::Ticket> decoding;
  for (uint64_t id = 1; id <= 20; ++id) decoding.push_back({id, &kAnn, 0});
  for (uint64_t id = 21; id <= 40; ++id) decoding.push_back({id, &kRich, 0});
  decoding.push_back({41, &kBackground, 0});
  scheduler.enter(kAnn);
  scheduler.enter(kRich);
  std::map<uint64_t, int> rows;
  int of_ann = 0, of_rich = 0;
  for (int step = 0; step < 100; ++step) {
    const Order got = scheduler.share(decoding, 11);
    CHECK_EQ(got.size(), size_t{11});
    for (const uint64_t id : got) {
      ++rows[id];
      const Urgency& of = id <= 20 ? kAnn : kRich;
      if (id <= 40) scheduler.use(of, 0, 1);
      of_ann += id <= 20;
      of_rich += id > 20 && id <= 40;
    }
  }
  CHECK_EQ(rows[41], 100);  // at least a tenth
  CHECK_EQ(of_ann, 200);
  CHECK_EQ(of_rich, 800);
  for (uint64_t id = 1; id <= 40; ++id) CHECK_EQ(rows[id], id <= 20 ? 10 : 40);
}
