// Which operations run: places, memory for keys and values, and who gives them up for whom.
#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "run/engine.h"
#include "run/operation.h"

namespace bitnet {

namespace {

bool is_background(const Operation& operation) { return operation.request.urgency.background; }

int64_t held_bytes(const Sequence& sequence) {
  return sequence.table.n_blocks() * sequence.table.layout().block_bytes();
}

// What a prompt may take from what is known: of the last token, or of the first that is scored or
// kept, the hidden state is wanted; for an embedding every one may be.
int64_t most_known(const Request& request) {
  if (request.anew || request.pooling) return 0;
  if (request.hidden_from) return *request.hidden_from;
  return request.score_from > 0 ? request.score_from - 1
                                : static_cast<int64_t>(request.tokens.size()) - 1;
}

bool takes_own_only(const Request& request) {
  return request.all_logits || request.anew || request.pooling;
}

}  // namespace

Operation& Engine::find(uint64_t id) const {
  return **std::find_if(operations_.begin(), operations_.end(),
                        [id](const auto& operation) { return operation->id == id; });
}

// ---- What an operation takes

// The positions that its sequence may come to: of prompt and text, at most the context, at most
// what all keys and values may take. A text that comes further ends there.
int64_t Engine::positions_of(const Sequence& sequence, const Request& request) const {
  const int64_t n = static_cast<int64_t>(request.tokens.size());
  int64_t most = sequence.n_ctx;
  if (options_.kv_bytes > 0) {
    const int64_t n_blocks = options_.kv_bytes / sequence.table.layout().block_bytes();
    most = std::min(most, n_blocks * kBlockPositions);
  }
  if (n > most) {
    throw Error(ErrorCode::kNoMemory, "the keys and values of a prompt of " + std::to_string(n) +
                                          " tokens take more than the " +
                                          std::to_string(options_.kv_bytes) + " bytes for all");
  }
  const int64_t n_begun = n > 0 ? n : sequence.table.size() + 1;
  return std::min(most, n_begun + std::min(request.max_tokens, most));
}

// ---- Whose turn it is

void Engine::admit() {
  for (bool goes_on = true; goes_on;) {
    std::vector<Scheduler::Ticket> waiting;
    for (const auto& operation : operations_) {
      if (operation->phase == Operation::Phase::kWaiting)
        waiting.push_back({operation->id, &operation->request.urgency, 0});
    }
    goes_on = false;
    for (const uint64_t id : scheduler_.admission_order(waiting)) {
      Operation& operation = find(id);
      if (!make_place(operation)) continue;
      const auto is_other_class = [&](const Scheduler::Ticket& ticket) {
        return ticket.urgency->background != is_background(operation);
      };
      const bool other_waits = std::any_of(waiting.begin(), waiting.end(), is_other_class);
      scheduler_.admit(operation.request.urgency, other_waits);
      operation.keeps_place = is_background(operation) && other_waits;
      begin(operation);
      goes_on = true;
      break;
    }
  }
}

// Whether there is a place and memory, at the expense of work in the background if the operation is
// urgent: what began last gives way first, and nothing does so in vain.
bool Engine::make_place(const Operation& operation) {
  const auto parallel = options_.parallel;
  const auto kv_bytes = options_.kv_bytes;
  if (parallel == 0 && kv_bytes == 0) return true;
  std::vector<Operation*> running, lesser;
  for (const auto& other : operations_) {
    if (!other->is_admitted()) continue;
    running.push_back(other.get());
    if (is_background(*other) && !is_background(operation) && !other->keeps_place)
      lesser.push_back(other.get());
  }
  std::sort(lesser.begin(), lesser.end(),
            [](const Operation* a, const Operation* b) { return a->admission < b->admission; });
  const int64_t room = kv_bytes > 0 ? kv_bytes - pinned_bytes() : 0;
  const auto has_place = [&] {
    if (parallel > 0 && static_cast<int64_t>(running.size()) >= parallel) return false;
    return kv_bytes == 0 || bytes_of(claims_of(running, &operation)) <= room;
  };
  std::vector<Operation*> leaving;
  while (!has_place()) {
    if (lesser.empty()) return false;
    leaving.push_back(lesser.back());
    std::erase(running, lesser.back());
    lesser.pop_back();
  }
  for (Operation* other : leaving) preempt(*other);
  if (kv_bytes > 0) reclaim(claims_of(running, &operation), 0, *operation.sequence);
  return true;
}

// ---- What keys and values take together

// Of operations that run, with all that they may come to, and of one that is to run beside them.
Engine::Claims Engine::claims_of(std::span<Operation* const> running, const Operation* next) const {
  Claims claims;
  const auto add = [&](const Operation& operation) -> KvClaim& {
    const KvTable& table = operation.sequence->table;
    auto& of_type = claims[static_cast<size_t>(table.layout().type())];
    return of_type.emplace_back(KvClaim{&table, table.layout().blocks_for(operation.n_most)});
  };
  for (const Operation* operation : running) add(*operation);
  if (next) {
    KvClaim& claim = add(*next);
    claim.ids = next->request.tokens;
    claim.most = most_known(next->request);
    claim.own_only = takes_own_only(next->request);
  }
  return claims;
}

int64_t Engine::bytes_of(const Claims& claims) const {
  int64_t n = 0;
  for (size_t i = 0; i < claims.size(); ++i)
    n += pools_[i]->count_claimed(claims[i]) * pools_[i]->layout().block_bytes();
  return n;
}

// ---- Memory of sequences on which nothing runs

std::vector<std::shared_ptr<Sequence>> Engine::live_sequences() {
  std::vector<std::shared_ptr<Sequence>> live;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& sequence : sequences_) {
    if (auto held = sequence.lock()) live.push_back(std::move(held));
  }
  std::erase_if(sequences_, [](const auto& sequence) { return sequence.expired(); });
  return live;
}

int64_t Engine::pinned_bytes() {
  int64_t n = 0;
  for (const auto& sequence : live_sequences()) {
    if (sequence->is_admitted) continue;
    const std::lock_guard<std::mutex> lock(sequence->mutex);
    if (sequence->is_pinned) n += std::max(held_bytes(*sequence), sequence->pinned_bytes);
  }
  return n;
}

// Takes keys and values away from idle sequences, those first that were used longest ago, until
// what is claimed and `n_more` bytes fit beside those that stay. Whole blocks of them may still be
// found.
void Engine::reclaim(Claims claims, int64_t n_more, const Sequence& own) {
  std::vector<std::shared_ptr<Sequence>> idle = live_sequences();
  std::erase_if(
      idle, [&](const auto& sequence) { return sequence->is_admitted || sequence.get() == &own; });
  std::sort(idle.begin(), idle.end(),
            [](const auto& a, const auto& b) { return a->last_operation < b->last_operation; });
  const int64_t room = options_.kv_bytes - pinned_bytes() - n_more;
  std::vector<Sequence*> holders;
  for (const auto& sequence : idle) {
    const std::lock_guard<std::mutex> lock(sequence->mutex);
    if (sequence->is_pinned || sequence->table.n_blocks() == 0) continue;
    claims[static_cast<size_t>(sequence->table.layout().type())].push_back({&sequence->table, 0});
    holders.push_back(sequence.get());
  }
  for (Sequence* sequence : holders) {
    if (bytes_of(claims) <= room) return;
    const std::lock_guard<std::mutex> lock(sequence->mutex);
    if (!sequence->is_pinned) sequence->release();
  }
}

// ---- The beginning, and the way back

void Engine::begin(Operation& operation) {
  Sequence& sequence = *operation.sequence;
  sequence.is_admitted = true;
  if (operation.admission == 0) operation.begun = std::chrono::steady_clock::now();
  const bool is_first = std::exchange(operation.admission, ++n_admissions_) == 0;
  if (!operation.request.tokens.empty()) {
    operation.phase = Operation::Phase::kPrompt;
    return begin_prompt(operation, is_first);
  }
  operation.phase = Operation::Phase::kDecode;
  if (!sequence.pending && sequence.table.size() == 0) {
    return fail(operation, ErrorCode::kNoMemory,
                "what was to be continued has given its memory to others");
  }
  begin_sampling(operation);
  if (operation.request.max_tokens == 0) finish(operation, Event::Finish::kLength);
}

void Engine::begin_prompt(Operation& operation, bool is_first) {
  const Request& request = operation.request;
  Sequence& sequence = *operation.sequence;
  sequence.clear_results();
  const int64_t n = static_cast<int64_t>(request.tokens.size());
  operation.n_target = request.score_from > 0 ? n - 1 : n;
  if (request.pooling) operation.pooled.emplace(*request.pooling, n, model_->config.n_embd);
  int64_t n_reused = 0;
  try {
    n_reused = sequence.table.adopt(request.tokens, most_known(request), takes_own_only(request));
  } catch (const std::bad_alloc&) {
    return fail(operation, ErrorCode::kNoMemory, "not enough memory for keys and values");
  }
  if (!operation.is_resumed) operation.n_reused = n_reused;
  if (!is_first) return;
  counters_.prompt_tokens += operation.n_target;
  counters_.reused_tokens += n_reused;
  scheduler_.use(request.urgency, operation.n_target - n_reused, 0);
  Event event{operation.id, Event::Kind::kStarted};
  event.n_reused = n_reused;
  event.queue_seconds =
      std::chrono::duration<double>(operation.begun - operation.submitted).count();
  emit(operation, std::move(event));
}

// Gives up its place and its memory. What it has evaluated becomes its prompt; its sampler stays as
// it is, so that it goes on with the same bits.
void Engine::preempt(Operation& operation) {
  Sequence& sequence = *operation.sequence;
  if (operation.phase == Operation::Phase::kDecode) {
    operation.request.tokens = sequence.table.tokens();
    if (sequence.pending) operation.request.tokens.push_back(*sequence.pending);
    operation.request.all_logits = false;
    operation.is_resumed = true;
    operation.n_known = sequence.table.size();
  } else if (!operation.is_resumed) {
    operation.n_evaluated = 0;
  }
  sequence.release();
  leave_place(operation);
  operation.phase = Operation::Phase::kWaiting;
  counters_.preemptions += 1;
}

void Engine::leave_place(Operation& operation) {
  operation.sequence->is_admitted = false;
  if (current_prompt_ == operation.id) current_prompt_ = 0;
}

}  // namespace bitnet
