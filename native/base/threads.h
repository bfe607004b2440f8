// A pool of threads for one model. Work is a range of items in chunks. Each thread has its own part
// of the range and takes its chunks in order, so that it reads weights as one stream of memory;
// whoever is done takes chunks of the others' parts. A thread that the OS keeps waiting takes no
// chunk and nobody waits for it, so a busy machine slows the pool down no more than it must.
// Between jobs the threads spin for a moment, then sleep. On Linux, where a pool takes every core,
// its threads stay on a core each; the calling thread is left alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/tuning.h"

namespace bitnet {

class ThreadPool {
 public:
  // n_threads includes the calling thread; at least 1.
  explicit ThreadPool(int n_threads, int64_t spin_microseconds = Tuning{}.spin_microseconds);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void set_spin(int64_t microseconds) { spin_microseconds_ = microseconds; }
  int size() const { return n_threads_; }

  // body(begin, end, thread) for all of [0, n) in chunks of `grain`; thread < size(). Returns when
  // all are done. One call at a time; body must not throw.
  template <class Body>
  void parallel_for(int64_t n, int64_t grain, Body&& body) {
    if (n <= 0) return;
    if (n_threads_ == 1 || n <= grain) {
      body(int64_t{0}, n, 0);
      return;
    }
    run(
        n, grain,
        [](void* context, int64_t begin, int64_t end, int thread) {
          (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end, thread);
        },
        &body);
  }

 private:
  using Function = void (*)(void* context, int64_t begin, int64_t end, int thread);
  void run(int64_t n, int64_t grain, Function function, void* context);
  // The next chunk of a thread's part: job number << 32 | index. On a cache line of its own, as
  // each is written by one thread most of the time.
  struct alignas(64) Cursor {
    std::atomic<uint64_t> next{0};
  };
  void take_chunks(int thread);
  uint32_t take_chunks_of(int part, int thread);  // how many
  // Chunks before this one belong to the parts [0, part).
  uint32_t first_chunk(uint32_t n_chunks, int part) const {
    return static_cast<uint32_t>(uint64_t{n_chunks} * static_cast<uint64_t>(part) /
                                 static_cast<uint64_t>(size()));
  }
  void work(int thread);

  const int n_threads_;
  std::vector<std::thread> workers_;
  bool spin_;  // false when there are more threads than cores
  std::atomic<int64_t> spin_microseconds_;
  // The job. Read by a worker only between claiming a chunk and counting it as done, while the
  // caller waits; n_chunks_ also before, hence atomic.
  Function function_ = nullptr;
  void* context_ = nullptr;
  int64_t n_ = 0, grain_ = 1;  // items; items of a chunk, the last may have fewer
  std::atomic<uint32_t> n_chunks_{0};
  std::atomic<bool> stop_{false};
  std::unique_ptr<Cursor[]> cursors_;  // [size()]
  // On cache lines of their own: each is written while others read the neighbours.
  alignas(64) std::atomic<uint32_t> generation_{0};  // job number, what sleeping workers wait on
  alignas(64) std::atomic<uint32_t> done_{0};        // chunks of the job that are finished
};

}  // namespace bitnet
