#include "base/threads.h"

#include <chrono>

#include "base/cores.h"

namespace bitnet {

namespace {

inline void pause_cpu() {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Spins until `done`, for at most about so many microseconds. Long enough to bridge the gap
// between two tokens.
template <class Done>
bool spin_until(Done done, int64_t microseconds) {
  if (microseconds == 0) return done();
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(microseconds);
  do {
    for (int i = 0; i < 64; ++i) {  // the clock costs more than a look: read it once in 64
      if (done()) return true;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

}  // namespace

ThreadPool::ThreadPool(int n_threads, int64_t spin_microseconds)
    : n_threads_(n_threads),
      spin_(n_threads <= physical_cores()),
      spin_microseconds_(spin_microseconds),
      cursors_(std::make_unique<Cursor[]>(static_cast<size_t>(n_threads))) {
  for (int i = 1; i < n_threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  generation_.fetch_add(1);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

// Claims and runs chunks of one part of whatever job is current until none is left. The job number
// in the cursor makes sure that a claim belongs to the job whose chunks were counted.
uint32_t ThreadPool::take_chunks_of(int part, int thread) {
  uint32_t taken = 0, end = 0;
  std::atomic<uint64_t>& cursor = cursors_[static_cast<size_t>(part)].next;
  uint64_t next = cursor.load();
  for (;;) {
    if (taken == 0) end = first_chunk(n_chunks_.load(), part + 1);  // from then on the job stays
    if (static_cast<uint32_t>(next) >= end) return taken;
    if (!cursor.compare_exchange_weak(next, next + 1)) continue;
    const int64_t begin = static_cast<int64_t>(static_cast<uint32_t>(next)) * grain_;
    function_(context_, begin, begin + grain_ < n_ ? begin + grain_ : n_, thread);
    ++taken;
    next = cursor.load();
  }
}

// What a thread has done is counted at the end, once: the counter is shared by all.
void ThreadPool::take_chunks(int thread) {
  uint32_t taken = 0;
  for (int i = 0; i < n_threads_; ++i) taken += take_chunks_of((thread + i) % n_threads_, thread);
  if (taken == 0) return;
  done_.fetch_add(taken);
  done_.notify_one();
}

// The order of the stores is what makes this safe without a lock: a worker that wakes up late, with
// the old job in mind, finds no chunks, then cursors with another job number, and only at last,
// when everything else is in place, chunks to claim.
void ThreadPool::run(int64_t n, int64_t grain, Function function, void* context) {
  const uint32_t n_chunks = static_cast<uint32_t>((n + grain - 1) / grain);
  const uint32_t number = generation_.load() + 1;
  n_chunks_.store(0);  // a late worker finds nothing to claim while the job is changed
  function_ = function;
  context_ = context;
  n_ = n;
  grain_ = grain;
  done_.store(0);
  for (int part = 0; part < n_threads_; ++part) {
    cursors_[static_cast<size_t>(part)].next.store(static_cast<uint64_t>(number) << 32 |
                                                   first_chunk(n_chunks, part));
  }
  n_chunks_.store(n_chunks);
  generation_.store(number);
  generation_.notify_all();
  take_chunks(0);
  const auto done = [this, n_chunks] { return done_.load() == n_chunks; };
  if (spin_ && spin_until(done, spin_microseconds_)) return;
  for (uint32_t count = done_.load(); count != n_chunks; count = done_.load()) done_.wait(count);
}

void ThreadPool::work(int thread) {
  prefer_fast_cores();
  bind_to_core(thread, n_threads_);
  uint32_t seen = 0;
  while (!stop_) {
    take_chunks(thread);
    const auto changed = [this, seen] { return generation_.load() != seen; };
    if (!spin_ || !spin_until(changed, spin_microseconds_)) generation_.wait(seen);
    seen = generation_.load();
  }
}

}  // namespace bitnet
