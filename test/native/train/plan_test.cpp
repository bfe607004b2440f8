// The plan of the memory against what is allocated, which this program counts.
#include <atomic>
#include <cstdlib>
#include <new>

#include "golden_training.h"

namespace {

std::atomic<int64_t> held{0}, most{0};
constexpr size_t kHeader = 64;

// With the size in front; as AlignedArray asks for it.
void* counted(size_t n) {
  void* p = std::aligned_alloc(kHeader, (n + 2 * kHeader - 1) / kHeader * kHeader);
  if (!p) throw std::bad_alloc();
  *static_cast<size_t*>(p) = n;
  const int64_t now = held += static_cast<int64_t>(n);
  int64_t before = most;
  while (now > before && !most.compare_exchange_weak(before, now)) {
  }
  return static_cast<char*>(p) + kHeader;
}

void forget(void* p) noexcept {
  if (!p) return;
  void* block = static_cast<char*>(p) - kHeader;
  held -= static_cast<int64_t>(*static_cast<size_t*>(block));
  std::free(block);
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

// Of random weights.
bitnet::ConvertRequest request_of(int64_t n_vocab, bool is_ternary) {
  constexpr int64_t kEmbd = 128, kFf = 384, kLayers = 3;
  bitnet::ConvertRequest out;
  out.file.string("general.architecture", "bitnet-b1.58");
  const auto key = [&](const char* name, int64_t value) {
    out.file.u32(std::string("bitnet-b1.58.") + name, static_cast<uint32_t>(value));
  };
  key("block_count", kLayers);
  key("embedding_length", kEmbd);
  key("feed_forward_length", kFf);
  key("attention.head_count", 4);
  key("attention.head_count_kv", 2);
  key("context_length", 512);
  const auto add = [&](const std::string& name, std::vector<int64_t> ne, bool is_matrix) {
    bitnet::ConvertJob job;
    job.name = name + ".weight";
    job.ne = std::move(ne);
    job.source.kind = bitnet::SourceKind::kRandom;
    job.source.seed = out.jobs.size();
    job.source.mean = job.ne.size() == 1 ? 1 : 0;
    job.source.deviation = job.ne.size() == 1 ? 0 : 0.02f;
    job.source.factor = 0.05f;
    job.ternary = is_matrix && is_ternary;
    job.declared = true;
    out.jobs.push_back(job);
  };
  add("token_embd", {kEmbd, n_vocab}, false);
  add("output_norm", {kEmbd}, false);
  for (int64_t i = 0; i < kLayers; ++i) {
    const std::string blk = bitnet::layer_prefix(i);
    add(blk + "attn_norm", {kEmbd}, false);
    add(blk + "ffn_norm", {kEmbd}, false);
    add(blk + "attn_sub_norm", {kEmbd}, false);
    add(blk + "ffn_sub_norm", {kFf}, false);
    add(blk + "attn_q", {kEmbd, kEmbd}, true);
    add(blk + "attn_k", {kEmbd, kEmbd / 2}, true);
    add(blk + "attn_v", {kEmbd, kEmbd / 2}, true);
    add(blk + "attn_output", {kEmbd, kEmbd}, true);
    add(blk + "ffn_gate", {kEmbd, kFf}, true);
    add(blk + "ffn_up", {kEmbd, kFf}, true);
    add(blk + "ffn_down", {kFf, kEmbd}, true);
  }
  return out;
}

bitnet::TrainRow row_of(int64_t n, int32_t n_vocab) {
  bitnet::TrainRow row;
  for (int32_t t = 0; t < n; ++t) {
    row.ids.push_back(t * 7919 % n_vocab);
    row.labels.push_back(t == 0 ? bitnet::kIgnoredLabel : (t * 104729 + 1) % n_vocab);
  }
  row.documents = {0};
  return row;
}

// The most that two steps held, beside the plan.
void check_plan(const bitnet::TrainOptions& options, int64_t n_vocab) {
  const bool is_full = options.mode == bitnet::TrainMode::kFull;
  const bitnet::TrainRow row = row_of(options.max_length, static_cast<int32_t>(n_vocab));
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
