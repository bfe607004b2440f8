// What a client has asked of a sequence, while the engine works on it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/error.h"
#include "run/engine.h"

namespace bitnet {

struct Operation {
  enum class Phase {
    kWaiting,  // to be admitted, also again
    kPrompt,
    kDecode,
    kDone,
  };

  uint64_t id;
  std::shared_ptr<Sequence> sequence;
  Request request;
  std::shared_ptr<const EventSink> sink;
  std::atomic<bool> cancelled{false};
  std::atomic<int64_t> n_acknowledged{0};

  // The engine's own.
  Phase phase = Phase::kWaiting;
  uint64_t admission = 0;    // its number; 0: never admitted
  int64_t n_most = 0;        // positions that it may fill
  bool keeps_place = false;  // it was the turn of the background: it is not preempted
  bool is_resumed = false;   // it has sampled before; its prompt holds what was evaluated then
  int64_t n_known = 0;       // positions that were evaluated then
  int64_t n_target = 0;      // positions that the prompt has to fill
  int64_t n_reused = 0, n_evaluated = 0, n_sampled = 0;
  int64_t n_rows = 0;  // in the step that runs
  const std::chrono::steady_clock::time_point submitted = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point begun = submitted, first_token = submitted;
  std::optional<PooledStates> pooled;  // of a request with pooling
  std::optional<TokenGrammar> grammar;
  Sample sample{};
  bool needs_all_logits = false;  // to be sampled in this step
  double mask_seconds = 0;        // what the grammar took in it
  std::optional<Error> sampling_error;

  bool is_admitted() const { return phase == Phase::kPrompt || phase == Phase::kDecode; }
  bool has_hidden() const { return !sequence->pending && !sequence->hidden.empty(); }
  bool wants_token() const {
    return n_sampled < request.max_tokens && n_sampled - n_acknowledged < request.window;
  }
  // The tokens of the prompt that are not evaluated.
  std::span<const int32_t> rest() const {
    const size_t done = sequence->table.tokens().size();
    return std::span(request.tokens).subspan(done, static_cast<size_t>(n_target) - done);
  }
  bool can_run() const {
    return phase == Phase::kPrompt ? !rest().empty() : phase == Phase::kDecode && wants_token();
  }
};

}  // namespace bitnet
