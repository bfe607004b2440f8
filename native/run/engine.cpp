#include "run/engine.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "base/memory.h"
#include "run/score.h"

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
// Rows of prompts beside sequences that decode: at least so many, and a multiple.
constexpr int64_t kPromptRows = 16;

void check_ids(const std::vector<int32_t>& ids, int64_t n_vocab) {
  for (const int32_t id : ids) {
    if (id >= 0 && id < n_vocab) continue;
    throw Error(ErrorCode::kUsage, "token id " + std::to_string(id) +
                                       " is outside the vocabulary of " + std::to_string(n_vocab));
  }
}

// A running mean that follows within some ten steps.
void follow(double& mean, double value) { mean = mean == 0 ? value : mean + (value - mean) / 8; }

}  // namespace

struct Operation {
  enum class Phase { kPrompt, kDecode, kDone };

  uint64_t id;
  std::shared_ptr<Sequence> sequence;
  Request request;
  std::shared_ptr<const EventSink> sink;
  std::atomic<bool> cancelled{false};
  std::atomic<int64_t> n_acknowledged{0};

  // The engine's own.
  Phase phase = Phase::kPrompt;
  int64_t n_target = 0;  // positions that the prompt has to fill
  int64_t n_reused = 0, n_evaluated = 0, n_sampled = 0;
  int64_t n_rows = 0;  // in the step that runs
  Clock::time_point begun = Clock::now(), first_token = begun;
  Sample sample{};
  std::optional<Error> sampling_error;

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

uint64_t Engine::id_of(const Operation& operation) { return operation.id; }

Sequence::Sequence(std::shared_ptr<KvPool> pool, const SequenceOptions& options)
    : n_ctx(options.n_ctx), table(std::move(pool), options.share, options.salt) {}

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
  return std::make_shared<Sequence>(pool, options);
}

namespace {

void check_request(const Sequence& sequence, const Request& request, int64_t n_vocab) {
  const int64_t n = static_cast<int64_t>(request.tokens.size());
  check_ids(request.tokens, n_vocab);
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
  if (n > 0) return;
  if (sequence.pending && sequence.table.size() >= sequence.n_ctx) {
    throw Error(ErrorCode::kUsage,
                "the context of " + std::to_string(sequence.n_ctx) + " tokens is full");
  }
  if (!sequence.pending && sequence.hidden.empty())
    throw Error(ErrorCode::kUsage, "there is nothing to continue: prefill first");
}

}  // namespace

std::shared_ptr<Operation> Engine::submit(std::shared_ptr<Sequence> sequence, Request request,
                                          std::shared_ptr<const EventSink> sink) {
  if (sequence->busy.exchange(true))
    throw Error(ErrorCode::kUsage, "the sequence is busy: one operation at a time");
  try {
    check_request(*sequence, request, model_->config.n_vocab);
    if (request.sampling) check_sampling(*request.sampling);
  } catch (...) {
    sequence->busy = false;
    throw;
  }
  auto operation = std::make_shared<Operation>();
  operation->sequence = std::move(sequence);
  operation->request = std::move(request);
  operation->cancelled = operation->request.cancelled;
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

void Engine::set_tuning(const Tuning& tuning) {
  call([&] { model_->set_tuning(tuning); });
}

Engine::Stats Engine::stats() const {
  const int64_t last = last_progress_;
  return {n_steps_,
          n_rows_,
          n_decoding_,
          n_waiting_,
          {pools_[0]->usage(), pools_[1]->usage()},
          last == 0 ? 0 : static_cast<double>(nanoseconds_now() - last) * 1e-9};
}

// ---- The engine's thread

void Engine::run() {
  while (take_inbox()) {
    for (const auto& operation : running_) {
      if (operation->cancelled && operation->phase != Operation::Phase::kDone)
        fail(*operation, ErrorCode::kAborted, "stopped");
    }
    try_step();
    std::erase_if(running_, [](const auto& operation) {
      return operation->phase == Operation::Phase::kDone;
    });
    count();
    deliver();
  }
  for (const auto& operation : running_) fail(*operation, ErrorCode::kAborted, "stopped");
  deliver();
}

// Waits until there is something to do; new operations are started. False: the end.
bool Engine::take_inbox() {
  std::vector<std::shared_ptr<Operation>> arrived;
  std::vector<std::packaged_task<void()>*> calls;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto has_work = [this] {
      if (end_ || signal_ || !inbox_.empty() || !calls_.empty()) return true;
      return std::any_of(running_.begin(), running_.end(),
                         [](const auto& operation) { return operation->can_run(); });
    };
    if (!has_work()) last_progress_ = 0;
    wake_.wait(lock, has_work);
    signal_ = false;
    arrived.swap(inbox_);
    calls.swap(calls_);
  }
  progress();
  for (auto* call : calls) (*call)();
  for (auto& operation : arrived) {
    running_.push_back(operation);
    scheduler_.enter(operation->request.urgency);
    start(*operation);
  }
  return !end_;
}

void Engine::start(Operation& operation) {
  const Request& request = operation.request;
  Sequence& sequence = *operation.sequence;
  operation.begun = Clock::now();
  if (request.tokens.empty()) {
    operation.phase = Operation::Phase::kDecode;
    if (request.sampling) sequence.set_sampling(*request.sampling, texts_);
    if (request.max_tokens == 0) finish(operation, Event::Finish::kLength);
    return;
  }
  sequence.hidden.clear();
  sequence.logits.clear();
  sequence.pending.reset();
  sequence.logprobs.clear();
  sequence.is_likeliest.clear();
  if (operation.cancelled) return;  // what the sequence holds stays
  const int64_t n = static_cast<int64_t>(request.tokens.size());
  // Of the last token, or of the first that is scored, the hidden state is wanted.
  const int64_t most = request.score_from > 0 ? request.score_from - 1 : n - 1;
  operation.n_target = request.score_from > 0 ? n - 1 : n;
  try {
    operation.n_reused = sequence.table.adopt(request.tokens, most, request.all_logits);
  } catch (const std::bad_alloc&) {
    return fail(operation, ErrorCode::kNoMemory, "not enough memory for keys and values");
  }
  Event event{operation.id, Event::Kind::kStarted};
  event.n_reused = operation.n_reused;
  emit(operation, std::move(event));
}

void Sequence::set_sampling(const SamplerParams& params, const TokenTexts& texts) {
  sampler = Sampler(params, texts);
  for (const int32_t id : table.tokens()) sampler.accept(id);
}

void Sequence::truncate(int64_t n) {
  table.truncate(n);
  pending.reset();
  hidden.clear();
  logits.clear();
}

// Rows that are left for prompts. Beside decoding sequences only as many as keep the step short.
int64_t Engine::prompt_budget(int64_t n_decoding) const {
  const int64_t most = kBatchTokens - n_decoding;
  if (n_decoding == 0 || row_seconds_ == 0) return most;
  const double seconds = options_.step_seconds - decode_seconds_;
  const int64_t rows = static_cast<int64_t>(seconds / row_seconds_) / kPromptRows * kPromptRows;
  return std::min(most, std::max(rows, kPromptRows));
}

bool Engine::add_rows(Batch& batch, Operation& operation, std::span<const int32_t> ids) {
  KvTable& table = operation.sequence->table;
  try {
    table.reserve(table.size() + static_cast<int64_t>(ids.size()));
  } catch (const std::bad_alloc&) {
    fail(operation, ErrorCode::kNoMemory, "not enough memory for keys and values");
    return false;
  }
  const int64_t first = batch.size();
  batch.add(table, ids);
  operation.n_rows = static_cast<int64_t>(ids.size());
  const Request& request = operation.request;
  for (int64_t i = 0; i < operation.n_rows; ++i) {
    const int64_t position = batch.positions[static_cast<size_t>(first + i)];
    const bool is_last =
        operation.phase == Operation::Phase::kDecode || position == operation.n_target - 1;
    const bool is_scored = request.score_from > 0 && position >= request.score_from - 1;
    if (is_last || is_scored || request.all_logits) batch.wanted.push_back(first + i);
  }
  return true;
}

// Sequences that decode come first, in turn if they are more than a step can hold.
void Engine::plan_decoding(Batch& batch, std::vector<Operation*>& in_step) {
  std::vector<Operation*> ready;
  for (const auto& operation : running_) {
    if (operation->phase == Operation::Phase::kDecode && operation->wants_token())
      ready.push_back(operation.get());
  }
  if (ready.size() > static_cast<size_t>(kBatchTokens)) {
    next_decoder_ %= ready.size();
    std::rotate(ready.begin(), ready.begin() + static_cast<int64_t>(next_decoder_), ready.end());
    ready.resize(static_cast<size_t>(kBatchTokens));
    next_decoder_ += ready.size();
  }
  for (Operation* operation : ready) {
    const std::optional<int32_t>& pending = operation->sequence->pending;
    if (!pending || add_rows(batch, *operation, {&*pending, 1})) in_step.push_back(operation);
  }
}

void Engine::plan_prompts(Batch& batch, std::vector<Operation*>& in_step) {
  std::vector<Scheduler::Ticket> waiting;
  for (const auto& operation : running_) {
    if (operation->phase == Operation::Phase::kPrompt) {
      waiting.push_back({operation->id, &operation->request.urgency,
                         static_cast<int64_t>(operation->rest().size())});
    }
  }
  int64_t left = prompt_budget(batch.size());
  for (const uint64_t id : scheduler_.order(std::move(waiting), current_prompt_)) {
    if (left == 0) break;
    Operation& operation = **std::find_if(running_.begin(), running_.end(),
                                          [id](const auto& other) { return other->id == id; });
    const auto rest = operation.rest();
    const auto rows = rest.first(std::min(rest.size(), static_cast<size_t>(left)));
    if (!add_rows(batch, operation, rows)) continue;
    in_step.push_back(&operation);
    left -= static_cast<int64_t>(rows.size());
    current_prompt_ = rows.size() < rest.size() ? id : 0;
  }
}

void Engine::try_step() {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  try {
    return step();
  } catch (const std::bad_alloc&) {
    code = ErrorCode::kNoMemory;
    message = "not enough memory for a step";
  } catch (const std::exception& error) {
    message = error.what();
  }
  for (const auto& operation : running_) fail(*operation, code, message);
}

void Engine::step() {
  Batch batch;
  std::vector<Operation*> in_step;
  plan_decoding(batch, in_step);
  const int64_t n_decoding = batch.size();
  plan_prompts(batch, in_step);
  if (in_step.empty()) return;
  const Clock::time_point begun = Clock::now();
  const auto stopped = [&] {
    progress();
    return end_ || std::all_of(in_step.begin(), in_step.end(), [](const Operation* operation) {
             return operation->cancelled.load();
           });
  };
  hidden_.clear();
  if (batch.size() > 0 && !forward_.run(batch, hidden_, stopped)) return;
  n_steps_ += 1;
  n_rows_ += batch.size();
  const float* hidden = hidden_.data();
  std::vector<Operation*> ready;
  for (Operation* operation : in_step) {
    hidden = finish_rows(*operation, batch, hidden);
    if (operation->phase == Operation::Phase::kDecode && operation->has_hidden() &&
        !operation->cancelled)
      ready.push_back(operation);
  }
  sample_all(ready);
  observe(batch.size() - n_decoding, n_decoding, seconds_between(begun, Clock::now()));
}

// What a step has evaluated for an operation. `hidden` are the wanted states that are not taken
// yet.
const float* Engine::finish_rows(Operation& operation, const Batch& batch, const float* hidden) {
  if (operation.n_rows == 0) return hidden;  // it had a hidden state already
  Sequence& sequence = *operation.sequence;
  const int64_t n_embd = model_->config.n_embd, first = sequence.table.size();
  const Batch::Part& part =
      *std::find_if(batch.parts.begin(), batch.parts.end(),
                    [&](const Batch::Part& other) { return other.table == &sequence.table; });
  const int64_t n_wanted = std::count_if(
      batch.wanted.begin(), batch.wanted.end(),
      [&](int64_t row) { return row >= part.first_row && row < part.first_row + part.n; });
  const float* end = hidden + n_wanted * n_embd;
  sequence.table.append(
      std::span(batch.tokens)
          .subspan(static_cast<size_t>(part.first_row), static_cast<size_t>(part.n)));
  scheduler_.use(operation.request.urgency, operation.n_rows, 0);
  operation.n_evaluated += operation.n_rows;
  operation.n_rows = 0;
  if (operation.phase == Operation::Phase::kDecode) {
    sequence.pending.reset();
    sequence.logits.clear();
    sequence.hidden.assign(hidden, end);
    return end;
  }
  const Request& request = operation.request;
  if (request.score_from > 0) {
    score_rows(operation, hidden, std::max(first, request.score_from - 1), n_wanted);
  } else if (request.all_logits) {
    sequence.hidden.insert(sequence.hidden.end(), hidden, end);
  } else {
    sequence.hidden.assign(hidden, end);
  }
  finish_prompt(operation);
  return end;
}

void Engine::finish_prompt(Operation& operation) {
  if (!operation.rest().empty()) {
    Event event{operation.id, Event::Kind::kProgress};
    event.n_reused = operation.n_reused;
    event.n_evaluated = operation.n_evaluated;
    return emit(operation, std::move(event));
  }
  operation.phase = Operation::Phase::kDecode;
  operation.first_token = Clock::now();
  if (operation.request.all_logits) {
    try {
      compute_logits(*operation.sequence);
    } catch (const std::bad_alloc&) {
      return fail(operation, ErrorCode::kNoMemory, "not enough memory for the logits of a prompt");
    }
  }
  if (operation.request.sampling)
    operation.sequence->set_sampling(*operation.request.sampling, texts_);
  if (operation.request.max_tokens == 0) finish(operation, Event::Finish::kLength);
}

// The scores of the tokens that follow the n positions from `first` on.
void Engine::score_rows(Operation& operation, const float* hidden, int64_t first, int64_t n) {
  const auto targets = std::span(operation.request.tokens)
                           .subspan(static_cast<size_t>(first + 1), static_cast<size_t>(n));
  for (const Score& score : score_tokens(*model_, hidden, targets)) {
    operation.sequence->logprobs.push_back(score.logprob);
    operation.sequence->is_likeliest.push_back(score.is_likeliest);
  }
}

// A sampler that looks only at the largest logits gets them without computing the others. Rows of
// the head that have no token, which pad some models to a round number, are never sampled.
void Engine::sample_all(const std::vector<Operation*>& ready) {
  const size_t n_vocab = static_cast<size_t>(model_->config.n_vocab);
  const size_t n_tokens = static_cast<size_t>(model_->tokenizer.n_vocab());
  const size_t n_embd = static_cast<size_t>(model_->config.n_embd);
  for (size_t first = 0; first < ready.size(); first += kHeadRows) {
    const size_t n = std::min(ready.size() - first, static_cast<size_t>(kHeadRows));
    logits_.resize(std::max(logits_.size(), n * n_vocab));
    std::vector<HeadQuery> queries;
    std::vector<std::vector<int32_t>> adjusted(n);
    for (size_t i = 0; i < n; ++i) {
      const Sequence& sequence = *ready[first + i]->sequence;
      adjusted[i] = sequence.sampler.adjusted_ids();
      std::erase_if(adjusted[i],
                    [=](int32_t id) { return id < 0 || static_cast<size_t>(id) >= n_vocab; });
      const int64_t k = n_tokens < n_vocab ? 0 : sequence.sampler.n_needed();
      queries.push_back({sequence.hidden.data() + sequence.hidden.size() - n_embd, k, adjusted[i],
                         &logits_[i * n_vocab]});
    }
    model_->head->top(queries);
    model_->pool.parallel_for(static_cast<int64_t>(n), 1, [&](int64_t begin, int64_t end, int) {
      for (size_t i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        Operation& operation = *ready[first + i];
        try {
          operation.sample =
              operation.sequence->sampler.sample(std::span(queries[i].out, n_tokens));
        } catch (const Error& error) {
          operation.sampling_error.emplace(error);
        }
      }
    });
    for (size_t i = 0; i < n; ++i) take_sample(*ready[first + i]);
  }
}

void Engine::take_sample(Operation& operation) {
  if (operation.sampling_error) {
    const Error error = *operation.sampling_error;
    return fail(operation, error.code, error.what());
  }
  Sequence& sequence = *operation.sequence;
  const int32_t id = operation.sample.id;
  if (operation.n_sampled++ == 0) operation.first_token = Clock::now();
  sequence.sampler.accept(id);
  sequence.pending = id;
  scheduler_.use(operation.request.urgency, 0, 1);
  if (operation.request.tell_tokens) {
    Event event{operation.id, Event::Kind::kToken};
    event.sample = std::move(operation.sample);
    emit(operation, std::move(event));
  }
  if (operation.request.stop_at_eog && model_->tokenizer.is_eog(id))
    return finish(operation, Event::Finish::kEog);
  if (operation.n_sampled == operation.request.max_tokens)
    return finish(operation, Event::Finish::kLength);
  if (sequence.table.size() >= sequence.n_ctx) finish(operation, Event::Finish::kContext);
}

// ---- Ends and events

void Engine::finish(Operation& operation, Event::Finish how) {
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
  if (operation.n_sampled == 0) operation.first_token = now;
  event.n_reused = operation.n_reused;
  event.n_evaluated = operation.n_evaluated;
  event.prompt_seconds = seconds_between(operation.begun, operation.first_token);
  event.decode_seconds = seconds_between(operation.first_token, now);
  if (current_prompt_ == operation.id) current_prompt_ = 0;
  operation.phase = Operation::Phase::kDone;
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

void Engine::observe(int64_t n_prompt, int64_t n_decoding, double seconds) {
  if (n_prompt == 0) return follow(decode_seconds_, seconds);
  const double of_prompt = n_decoding > 0 ? seconds - decode_seconds_ : seconds;
  if (n_prompt >= kPromptRows && of_prompt > 0)
    follow(row_seconds_, of_prompt / static_cast<double>(n_prompt));
}

void Engine::count() {
  const auto in_phase = [this](Operation::Phase phase) {
    return std::count_if(running_.begin(), running_.end(),
                         [=](const auto& operation) { return operation->phase == phase; });
  };
  n_decoding_ = in_phase(Operation::Phase::kDecode);
  n_waiting_ = in_phase(Operation::Phase::kPrompt);
  if (running_.empty()) last_progress_ = 0;
}

void Engine::progress() { last_progress_ = nanoseconds_now(); }

}  // namespace bitnet
