// The plan of the memory against what is allocated, which this program counts.
#include <atomic>
#include <cstdlib>
#include <new>

#include "check.h"
#include "kernel_fixture.h"
#include "random_model.h"
#include "train/training.h"

namespace {

std::atomic<int64_t> held{0}, most{0};
// Of a block on a cache line, as AlignedArray wants it: where it begins and how long it is.
struct alignas(64) Header {
  void* memory;
  size_t size;
};

void* counted(size_t n) {
  void* memory = std::malloc(n + 2 * sizeof(Header));
  if (!memory) throw std::bad_alloc();
  const uintptr_t place = (reinterpret_cast<uintptr_t>(memory) + sizeof(Header) - 1) / 64 * 64;
  Header* header = new (reinterpret_cast<void*>(place)) Header{memory, n};
  const int64_t now = held += static_cast<int64_t>(n);
  int64_t before = most;
  while (now > before && !most.compare_exchange_weak(before, now)) {
  }
  return header + 1;
}

void forget(void* p) noexcept {
  if (!p) return;
  const Header* header = static_cast<Header*>(p) - 1;
  held -= static_cast<int64_t>(header->size);
  std::free(header->memory);
}

}  // namespace

void* operator new(size_t n) { return counted(n); }
void* operator new(size_t n, std::align_val_t) { return counted(n); }
void* operator new[](size_t n) { return counted(n); }
void operator delete(void* p) noexcept { forget(p); }
void operator delete(void* p, size_t) noexcept { forget(p); }
void operator delete(void* p, std::align_val_t) noexcept { forget(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { forget(p); }
void operator delete[](void* p) noexcept { forget(p); }
void operator delete[](void* p, size_t) noexcept { forget(p); }

namespace {

bitnet::ConvertRequest request_of(int64_t n_vocab, bool is_ternary) {
  return random_request({3, 128, 384, 4, 2, n_vocab}, is_ternary);
}

// The most that two steps held, beside the plan.
void check_plan(const bitnet::TrainOptions& options, int64_t n_vocab) {
  const bool is_full = options.mode == bitnet::TrainMode::kFull;
  const bitnet::TrainRow row = random_row(options.max_length, n_vocab);
  const int64_t before = held;
  most = before;
  const auto training = bitnet::Training::open(request_of(n_vocab, !is_full), options);
  for (int i = 0; i < 2; ++i) {
    const auto never = [] { return false; };
    CHECK(std::isfinite(training->backward(std::span(&row, 1), row.n_labels(), i, never).loss));
    CHECK(training->step({1e-3, 0.1, 0.9, 0.95, 1e-8, 1}).skipped.empty());
  }
  const double planned = static_cast<double>(training->plan().total());
  const double taken = static_cast<double>(most - before);
  if (!(std::fabs(planned - taken) <= 0.05 * taken)) {
    check::fail(
        __FILE__, __LINE__,
        std::to_string(planned) + " bytes were planned, " + std::to_string(taken) + " taken");
  }
}

bitnet::TrainOptions options_of(bitnet::TrainMode mode, int64_t max_length, bool checkpointing) {
  bitnet::TrainOptions out;
  out.mode = mode;
  out.adapter.rank = 8;
  out.adapter.alpha = 16;
  std::fill_n(out.adapter.matrices, bitnet::kLayerMatrices, true);
  out.max_length = max_length;
  out.checkpointing = checkpointing;
  out.n_threads = 2;
  return out;
}

}  // namespace

TEST("the plan is within 5 % of the memory that a training takes") {
  const int64_t length = bitnet::quick() ? 100 : 300;
  for (const bool checkpointing : {false, true}) {
    check_plan(options_of(bitnet::TrainMode::kFull, length, checkpointing), 500);
    bitnet::TrainOptions options = options_of(bitnet::TrainMode::kLora, length, checkpointing);
    check_plan(options, 500);
    options.adapter.dropout = 0.1f;
    options.adapter.layers = {false, false, true};
    options.adapter.matrices[bitnet::kUp] = false;
    check_plan(options, 500);
  }
}

TEST("a vocabulary of 128 thousand is trained without logits of all positions") {
  if (bitnet::quick()) return;
  const bitnet::TrainOptions options = options_of(bitnet::TrainMode::kFull, 260, true);
  check_plan(options, 128256);
}
