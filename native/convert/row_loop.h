// The rows of a matrix on all threads of a pool, in chunks that one thread works on at a time and
// in bands of chunks; exceptions of the work and a request to abort end it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "base/threads.h"

namespace bitnet {

class RowLoop {
 public:
  RowLoop(ThreadPool& pool, const std::atomic<bool>& abort) : pool_(pool), abort_(abort) {}

  // body(begin, end, thread) for chunks of rows that begin at multiples of `granularity`;
  // after_band(begin, end) on the calling thread. Throws what a body threw, or kAborted.
  template <class Body, class AfterBand>
  void for_each_chunk(int64_t rows, int64_t cols, int64_t granularity, Body&& body,
                      AfterBand&& after_band) {
    const int64_t chunk = chunk_rows(cols, granularity);
    const int64_t band = std::max(chunk, kBandElements / cols / chunk * chunk);
    for (int64_t begin = 0; begin < rows; begin += band) {
      const int64_t end = std::min(rows, begin + band);
      run_band(begin, end, chunk, body);
      after_band(begin, end);
    }
  }
  // body(row, thread).
  template <class Body, class AfterBand>
  void for_each_row(int64_t rows, int64_t cols, Body&& body, AfterBand&& after_band) {
    for_each_chunk(
        rows, cols, 1,
        [&](int64_t begin, int64_t end, int thread) {
          for (int64_t row = begin; row < end; ++row) body(row, thread);
        },
        after_band);
  }
  template <class Body>
  void for_each_row(int64_t rows, int64_t cols, Body&& body) {
    for_each_row(rows, cols, body, [](int64_t, int64_t) {});
  }

  // The rows of all chunks but the last one.
  static int64_t chunk_rows(int64_t cols, int64_t granularity) {
    return std::max<int64_t>(1, kChunkElements / cols / granularity) * granularity;
  }
  int n_threads() const { return pool_.size(); }
  // One of n elements for every thread.
  template <class T>
  std::vector<std::vector<T>> make_buffers(int64_t n) const {
    return std::vector<std::vector<T>>(static_cast<size_t>(n_threads()),
                                       std::vector<T>(static_cast<size_t>(n)));
  }

 private:
  template <class Body>
  void run_band(int64_t begin, int64_t end, int64_t chunk, Body& body) {
    std::mutex mutex;
    std::exception_ptr failure;
    int64_t failed_at = end;  // the first one in the file is reported, whoever comes first in time
    pool_.parallel_for(
        (end - begin + chunk - 1) / chunk, 1, [&](int64_t first, int64_t last, int thread) {
          for (int64_t i = first; i < last && !abort_.load(std::memory_order_relaxed); ++i) {
            const int64_t from = begin + i * chunk;
            try {
              body(from, std::min(end, from + chunk), thread);
            } catch (...) {
              const std::lock_guard<std::mutex> lock(mutex);
              if (from < failed_at) {
                failed_at = from;
                failure = std::current_exception();
              }
            }
          }
        });
    if (failure) std::rethrow_exception(failure);
    if (abort_) throw Error(ErrorCode::kAborted, "the conversion was stopped");
  }

  static constexpr int64_t kChunkElements = int64_t{1} << 18;
  static constexpr int64_t kBandElements = int64_t{1} << 25;

  ThreadPool& pool_;
  const std::atomic<bool>& abort_;
};

}  // namespace bitnet
