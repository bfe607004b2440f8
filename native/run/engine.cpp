#include "run/engine.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/cores.h"
#include "base/memory.h"
#include "run/operation.h"

namespace bitnet {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

int64_t nanoseconds_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}

constexpr int64_t kMaxContext = int64_t{1} << 24;
constexpr double kMaxWeight = 1e6;  // of a client

void check_ids(const std::vector<int32_t>& ids, int64_t n_vocab) {
  for (const int32_t id : ids) {
    if (id >= 0 && id < n_vocab) continue;
    throw Error(ErrorCode::kUsage, "token id " + std::to_string(id) +
                                       " is outside the vocabulary of " + std::to_string(n_vocab));
  }
}

}  // namespace

uint64_t Engine::id_of(const Operation& operation) { return operation.id; }

Sequence::Sequence(std::shared_ptr<KvPool> pool, const SequenceOptions& options)
    : n_ctx(options.n_ctx),
      adapters(options.adapters),
      table(std::move(pool), options.share, options.salt, adapters.key()) {}

// ---- The side of the clients

Engine::Engine(std::shared_ptr<Model> model, const EngineOptions& options)
    : model_(std::move(model)),
      options_(options),
      pools_{
          std::make_shared<KvPool>(KvLayout(model_->config, CacheType::kF16), options.cache_bytes),
          std::make_shared<KvPool>(KvLayout(model_->config, CacheType::kQ8), options.cache_bytes)},
      forward_(*model_),
      texts_(token_texts_of(model_->tokenizer)),
      thread_([this] { run(); }) {}

Engine::~Engine() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    end_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Engine::publish(std::span<const int32_t> ids) {
  check_ids({ids.begin(), ids.end()}, model_->config.n_vocab);
  for (const auto& pool : pools_) pool->publish(ids);
}

std::shared_ptr<Sequence> Engine::create_sequence(const SequenceOptions& options) {
  if (options.n_ctx < 1 || options.n_ctx > kMaxContext) {
    throw Error(ErrorCode::kUsage, "the context size must be between 1 and " +
                                       std::to_string(kMaxContext) + " tokens");
  }
  const auto& pool = pools_[static_cast<size_t>(options.cache_type)];
  const int64_t n_bytes = pool->layout().context_bytes(options.n_ctx);
  if (n_bytes > physical_memory()) {
    throw Error(ErrorCode::kNoMemory, "a context of " + std::to_string(options.n_ctx) +
                                          " tokens needs " + std::to_string(n_bytes >> 20) +
                                          " MiB of keys and values, more than this machine has");
  }
  const auto sequence = std::make_shared<Sequence>(pool, options);
  if (options_.kv_bytes > 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    sequences_.push_back(sequence);
  }
  return sequence;
}

namespace {

void check_request(const Sequence& sequence, const Request& request, const Model& model) {
  const int64_t n = static_cast<int64_t>(request.tokens.size());
  check_ids(request.tokens, model.config.n_vocab);
  if (!model.head && !request.pooling) {
    throw Error(ErrorCode::kUnsupported,
                "the model makes embeddings only: it has no head to predict tokens with");
  }
  if (request.pooling && n == 0) throw Error(ErrorCode::kUsage, "the text has no tokens");
  if (!(request.urgency.weight > 0 && request.urgency.weight <= kMaxWeight))
    throw Error(ErrorCode::kUsage, "the weight of a client must be above 0 and at most 1000000");
  if (n > sequence.n_ctx) {
    throw Error(ErrorCode::kUsage, "the prompt has " + std::to_string(n) +
                                       " tokens, more than the context of " +
                                       std::to_string(sequence.n_ctx));
  }
  if (request.score_from != 0 && (request.score_from < 1 || request.score_from >= n)) {
    throw Error(ErrorCode::kUsage, "scores can begin at position 1 to " + std::to_string(n - 1) +
                                       " of " + std::to_string(n) + " tokens, not at " +
                                       std::to_string(request.score_from));
  }
  if (request.score_top < 0 || request.score_top > kMaxScoreTop) {
    throw Error(ErrorCode::kUsage, "the likeliest tokens of a score are 0 to " +
                                       std::to_string(kMaxScoreTop) + ", not " +
                                       std::to_string(request.score_top));
  }
  if (request.hidden_from && (*request.hidden_from < 0 || *request.hidden_from >= n)) {
    throw Error(ErrorCode::kUsage, "of " + std::to_string(n) +
                                       " tokens the hidden states from position " +
                                       std::to_string(*request.hidden_from) + " cannot be kept");
  }
  if (n > 0) return;
  if (sequence.pending && sequence.table.size() >= sequence.n_ctx) {
    throw Error(ErrorCode::kUsage,
                "the context of " + std::to_string(sequence.n_ctx) + " tokens is full");
  }
  if (!sequence.pending && (sequence.hidden.empty() || sequence.table.size() == 0))
    throw Error(ErrorCode::kUsage, "there is nothing to continue: prefill first");
}

}  // namespace

std::shared_ptr<Operation> Engine::submit(std::shared_ptr<Sequence> sequence, Request request,
                                          std::shared_ptr<const EventSink> sink) {
  if (sequence->busy.exchange(true))
    throw Error(ErrorCode::kUsage, "the sequence is busy: one operation at a time");
  int64_t n_most = 0;
  try {
    const std::lock_guard<std::mutex> lock(sequence->mutex);
    check_request(*sequence, request, *model_);
    if (request.sampling) check_sampling(*request.sampling);
    n_most = positions_of(*sequence, request);
  } catch (...) {
    sequence->busy = false;
    throw;
  }
  auto operation = std::make_shared<Operation>();
  operation->sequence = std::move(sequence);
  operation->request = std::move(request);
  operation->cancelled = operation->request.cancelled;
  operation->n_most = n_most;
  operation->sink = std::move(sink);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    operation->id = next_id_++;
    inbox_.push_back(operation);
  }
  wake_.notify_one();
  return operation;
}

void Engine::wake() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    signal_ = true;
  }
  wake_.notify_one();
}

void Engine::cancel(Operation& operation) {
  operation.cancelled = true;
  wake();
}

void Engine::acknowledge(Operation& operation, int64_t n_tokens) {
  operation.n_acknowledged = n_tokens;
  wake();
}

void Engine::call(const std::function<void()>& work) {
  std::packaged_task<void()> task(work);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    calls_.push_back(&task);
  }
  wake_.notify_one();
  task.get_future().get();
}

const std::vector<float>& Engine::logits(Sequence& sequence) {
  if (sequence.logits.empty()) call([&] { compute_logits(sequence); });
  return sequence.logits;
}

void Engine::compute_logits(Sequence& sequence) {
  const size_t n = sequence.hidden.size() / static_cast<size_t>(model_->config.n_embd);
  sequence.logits.resize(n * static_cast<size_t>(model_->config.n_vocab));
  model_->head->all(sequence.hidden.data(), static_cast<int64_t>(n), sequence.logits.data());
}

void Engine::logits_of(Sequence& sequence, int64_t first, int64_t n, std::span<float> out) {
  if (sequence.busy.exchange(true))
    throw Error(ErrorCode::kUsage, "the sequence is busy: one operation at a time");
  struct Free {
    Sequence& sequence;
    ~Free() { sequence.busy = false; }
  } free{sequence};
  const int64_t n_embd = model_->config.n_embd, n_tokens = model_->tokenizer.n_vocab();
  const int64_t n_kept = static_cast<int64_t>(sequence.hidden.size()) / n_embd;
  if (first < 0 || n < 1 || first > n_kept - n ||
      static_cast<int64_t>(out.size()) != n * n_tokens) {
    throw Error(ErrorCode::kUsage, "there are hidden states of " + std::to_string(n_kept) +
                                       " positions, not " + std::to_string(n) + " from " +
                                       std::to_string(first) + " on");
  }
  const float* hidden = sequence.hidden.data() + first * n_embd;
  call([&] { compute_logits_of(hidden, n, out); });
}

// Without the rows of the head that have no token.
void Engine::compute_logits_of(const float* hidden, int64_t n, std::span<float> out) {
  const int64_t n_tokens = model_->tokenizer.n_vocab();
  model_->head->blocks(hidden, n, [&](const LogitBlock& block) {
    const int64_t rows = std::min(block.end, n_tokens) - block.begin;
    for (int64_t i = 0; i < block.n && rows > 0; ++i) {
      const float* logits = block.logits + i * (block.end - block.begin);
      std::copy(logits, logits + rows, &out[(block.first + i) * n_tokens + block.begin]);
    }
  });
}

void Engine::set_tuning(const Tuning& tuning) {
  call([&] { model_->set_tuning(tuning); });
}

EngineStats Engine::stats() const {
  const int64_t last = last_progress_;
  EngineStats out{};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    static_cast<EngineCounters&>(out) = published_;
  }
  double held = 0;
  for (size_t i = 0; i < 2; ++i) {
    out.cache[i] = pools_[i]->usage();
    held += static_cast<double>(out.cache[i].held_blocks * out.cache[i].block_bytes);
  }
  const int64_t most = options_.kv_bytes > 0 ? options_.kv_bytes : physical_memory();
  out.kv_usage = std::min(1.0, held / static_cast<double>(most));
  out.seconds_since_progress = last == 0 ? 0 : static_cast<double>(nanoseconds_now() - last) * 1e-9;
  return out;
}

// ---- The engine's thread

void Engine::run() {
  prefer_fast_cores();
  while (take_inbox()) {
    for (const auto& operation : operations_) {
      if (operation->cancelled) fail(*operation, ErrorCode::kAborted, "stopped");
    }
    admit();
    try_step();
    std::erase_if(operations_, [](const auto& operation) {
      return operation->phase == Operation::Phase::kDone;
    });
    count();
    deliver();
  }
  for (const auto& operation : operations_) fail(*operation, ErrorCode::kAborted, "stopped");
  deliver();
}

// Waits until there is something to do, and takes in new operations. False: the end.
bool Engine::take_inbox() {
  std::vector<std::shared_ptr<Operation>> arrived;
  std::vector<std::packaged_task<void()>*> calls;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto has_work = [this] {
      if (end_ || signal_ || has_left_ || !inbox_.empty() || !calls_.empty()) return true;
      return std::any_of(operations_.begin(), operations_.end(),
                         [](const auto& operation) { return operation->can_run(); });
    };
    if (!has_work()) last_progress_ = 0;
    wake_.wait(lock, has_work);
    signal_ = false;
    arrived.swap(inbox_);
    calls.swap(calls_);
  }
  has_left_ = false;
  progress();
  for (auto* call : calls) (*call)();
  for (auto& operation : arrived) {
    operations_.push_back(operation);
    scheduler_.enter(operation->request.urgency);
  }
  return !end_;
}

void Sequence::set_sampling(const SamplerParams& params, const TokenTexts& texts) {
  sampler = Sampler(params, texts);
  for (const int32_t id : table.tokens()) sampler.accept(id);
}

void Sequence::release() {
  table.truncate(0);
  pending.reset();
}

void Sequence::clear_results() {
  pending.reset();
  hidden.clear();
  logits.clear();
  logprobs.clear();
  is_likeliest.clear();
  score_top.clear();
  embedding.clear();
}

void Sequence::truncate(int64_t n) {
  table.truncate(n);
  clear_results();
}

// ---- Ends and events

void Engine::finish(Operation& operation, Event::Finish how) {
  if (operation.phase == Operation::Phase::kDone) return;
  Event event{operation.id, Event::Kind::kDone};
  event.finish = how;
  end(operation, std::move(event));
}

void Engine::fail(Operation& operation, ErrorCode code, const std::string& message) {
  if (operation.phase == Operation::Phase::kDone) return;
  Event event{operation.id, Event::Kind::kDone};
  event.finish = Event::Finish::kFailed;
  event.code = code;
  event.message = message;
  end(operation, std::move(event));
}

void Engine::end(Operation& operation, Event event) {
  const Clock::time_point now = Clock::now();
  if (operation.admission == 0) operation.begun = now;
  if (operation.n_sampled == 0) operation.first_token = now;
  event.n_reused = operation.n_reused;
  event.n_evaluated = operation.n_evaluated;
  event.queue_seconds = seconds_between(operation.submitted, operation.begun);
  event.prompt_seconds = seconds_between(operation.begun, operation.first_token);
  event.decode_seconds = seconds_between(operation.first_token, now);
  if (operation.is_admitted()) leave_place(operation);
  // What the sequence holds stays, but it does not go on as if nothing had been asked.
  if (operation.admission == 0 && !operation.request.tokens.empty())
    operation.sequence->clear_results();
  // It has paid for the whole prompt.
  if (operation.phase == Operation::Phase::kPrompt && !operation.is_resumed)
    scheduler_.use(operation.request.urgency, -static_cast<int64_t>(operation.rest().size()), 0);
  operation.phase = Operation::Phase::kDone;
  operation.sequence->last_operation = operation.id;
  has_left_ = true;
  scheduler_.leave(operation.request.urgency);
  operation.sequence->busy = false;
  emit(operation, std::move(event));
}

void Engine::emit(const Operation& operation, Event event) {
  for (auto& [sink, events] : outbox_) {
    if (sink == operation.sink) return events.push_back(std::move(event));
  }
  outbox_.emplace_back(operation.sink, std::vector<Event>{});
  outbox_.back().second.push_back(std::move(event));
}

void Engine::deliver() {
  for (auto& [sink, events] : outbox_) (*sink)(std::move(events));
  outbox_.clear();
}

void Engine::count() {
  counters_.decoding = counters_.running = counters_.waiting = 0;
  for (const auto& operation : operations_) {
    counters_.decoding += operation->phase == Operation::Phase::kDecode;
    counters_.running += operation->is_admitted();
    counters_.waiting += operation->phase == Operation::Phase::kWaiting;
  }
  if (operations_.empty()) last_progress_ = 0;
  const std::lock_guard<std::mutex> lock(mutex_);
  published_ = counters_;
}

void Engine::progress() { last_progress_ = nanoseconds_now(); }

}  // namespace bitnet
