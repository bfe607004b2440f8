// The thread pool: every item exactly once, whatever the sizes, the load and the number of threads.
// Also built and run under ThreadSanitizer.
#include "base/threads.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/cores.h"
#include "check.h"

using bitnet::physical_cores;
using bitnet::ThreadPool;

namespace {

// Emulated and instrumented runs are slow: they do the same with fewer repetitions.
const bool kQuick = std::getenv("BITNET_TEST_QUICK") != nullptr;

// The number of items that did not run exactly once, or ran on a thread that does not exist, or in
// a chunk of the wrong size. The counters are not atomic: two threads on one item are a data race,
// which ThreadSanitizer reports.
int wrong_items(ThreadPool& pool, int64_t n, int64_t grain) {
  std::vector<uint8_t> runs(static_cast<size_t>(n));
  std::atomic<int> wrong{0};
  pool.parallel_for(n, grain, [&](int64_t begin, int64_t end, int thread) {
    const bool whole_chunk = begin % grain == 0 && (end == n || end == begin + grain);
    const bool everything = begin == 0 && end == n;
    if (thread < 0 || thread >= pool.size() || begin >= end || end > n ||
        !(whole_chunk || everything))
      ++wrong;
    for (int64_t i = begin; i < end; ++i) ++runs[static_cast<size_t>(i)];
  });
  for (const uint8_t count : runs) wrong += count != 1;
  return wrong;
}

}  // namespace

TEST("a pool counts the calling thread") {
  for (const int n : {1, 2, 5}) CHECK_EQ(ThreadPool(n).size(), n);
  CHECK(physical_cores() >= 1);
}

TEST("every item runs exactly once for every size, grain and number of threads") {
  for (const int n_threads : {1, 2, 3, 8}) {
    ThreadPool pool(n_threads);
    for (const int64_t n : {0, 1, 2, 3, 7, 64, 65, 1000, 4099}) {
      for (const int64_t grain : {1, 2, 3, 8, 64, 1000, 5000}) {
        const int wrong = wrong_items(pool, n, grain);
        CHECK_EQ(wrong, 0);
      }
    }
  }
}

TEST("an empty range calls nothing") {
  ThreadPool pool(2);
  int calls = 0;
  pool.parallel_for(0, 1, [&](int64_t, int64_t, int) { ++calls; });
  pool.parallel_for(-5, 1, [&](int64_t, int64_t, int) { ++calls; });
  CHECK_EQ(calls, 0);
}

TEST("what the items wrote can be read when the call returns, and the next job sees it") {
  ThreadPool pool(4);
  std::vector<int64_t> values(257);
  const int rounds = kQuick ? 200 : 5000;
  for (int round = 0; round < rounds; ++round) {
    pool.parallel_for(257, 3, [&](int64_t begin, int64_t end, int) {
      // Reads what another thread may have written in the round before.
      for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(i)] += i;
    });
  }
  bool right = true;
  for (int64_t i = 0; i < 257; ++i) right &= values[static_cast<size_t>(i)] == i * rounds;
  CHECK(right);
}

TEST("100000 tiny jobs in a row lose nothing and never hang") {
  for (const int n_threads : {2, 3}) {
    ThreadPool pool(n_threads);
    const int jobs = kQuick ? 2000 : 100'000;
    int64_t sum = 0, expected = 0;
    for (int job = 0; job < jobs; ++job) {
      // Sizes change from job to job, so that a chunk taken for the job before would show.
      const int64_t n = 2 + job % 5;
      int64_t parts[8] = {};
      pool.parallel_for(n, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) parts[i] += job + i;
      });
      for (const int64_t part : parts) sum += part;
      expected += n * job + n * (n - 1) / 2;
    }
    CHECK_EQ(sum, expected);
  }
}

TEST("many more threads than cores finish their jobs") {
  ThreadPool pool(16 * physical_cores());
  const int jobs = kQuick ? 50 : 2000;
  int wrong = 0;
  for (int job = 0; job < jobs; ++job) wrong += wrong_items(pool, 100 + job % 7, 1 + job % 3);
  CHECK_EQ(wrong, 0);
}

TEST("several pools work at the same time") {
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&wrong] {
      ThreadPool pool(3);
      for (int job = 0; job < (kQuick ? 50 : 1000); ++job) wrong += wrong_items(pool, 50, 1);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST("callers may change from job to job, one at a time") {
  ThreadPool pool(3);
  std::mutex turn;
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int job = 0; job < (kQuick ? 20 : 500); ++job) {
        const std::lock_guard<std::mutex> lock(turn);
        wrong += wrong_items(pool, 33, 2);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST("jobs work after the threads have gone to sleep") {
  ThreadPool pool(3);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // well past the time they spin
    const int wrong = wrong_items(pool, 1000, 7);
    CHECK_EQ(wrong, 0);
  }
}

#if defined(__linux__)
TEST("threads that take every core have a core each, others go where the system wants them") {
  const int n = physical_cores();
  ThreadPool pool(n), many(n + 1);
  std::mutex mutex;
  std::vector<cpu_set_t> sets(static_cast<size_t>(n + 1));
  const auto look = [&](ThreadPool& from) {
    from.parallel_for(8 * from.size(), 1, [&](int64_t, int64_t, int thread) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));  // so that all take some
      const std::lock_guard<std::mutex> lock(mutex);
      sched_getaffinity(0, sizeof(cpu_set_t), &sets[static_cast<size_t>(thread)]);
    });
  };
  look(many);
  for (int i = 1; i <= n; ++i) CHECK(CPU_EQUAL(&sets[static_cast<size_t>(i)], &sets[0]));
  look(pool);
  const int all = CPU_COUNT(&sets[0]);
  for (int i = 1; i < n; ++i) {
    const int own = CPU_COUNT(&sets[static_cast<size_t>(i)]);
    CHECK(own == all || own <= all / n);  // all where a container's quota counts, not cores
    for (int j = i + 1; own < all && j < n; ++j) {
      cpu_set_t both;
      CPU_AND(&both, &sets[static_cast<size_t>(i)], &sets[static_cast<size_t>(j)]);
      CHECK_EQ(CPU_COUNT(&both), 0);
    }
  }
}
#endif

TEST("slow items are shared: nobody takes them all") {
  ThreadPool pool(2);
  std::mutex mutex;
  std::set<int> threads;
  pool.parallel_for(8, 1, [&](int64_t, int64_t, int thread) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const std::lock_guard<std::mutex> lock(mutex);
    threads.insert(thread);
  });
  CHECK_EQ(threads.size(), size_t{2});
}

TEST("a pool can be destroyed at once, while its threads spin, and while they sleep") {
  const int rounds = kQuick ? 20 : 500;
  for (int i = 0; i < rounds; ++i) {
    ThreadPool never_used(4);
    ThreadPool used(3);
    int calls = 0;
    used.parallel_for(1, 1, [&](int64_t, int64_t, int) { ++calls; });
    used.parallel_for(30, 1, [](int64_t, int64_t, int) {});
    CHECK_EQ(calls, 1);
  }
  for (int i = 0; i < 10; ++i) {
    ThreadPool asleep(3);
    asleep.parallel_for(30, 1, [](int64_t, int64_t, int) {});
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
}
