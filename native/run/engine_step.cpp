// One step of the engine: which rows, the pass, what comes of it.
#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "run/constraint.h"
#include "run/engine.h"
#include "run/operation.h"
#include "run/score.h"

namespace bitnet {

namespace {

using Clock = std::chrono::steady_clock;

// Rows of prompts beside sequences that decode: at least so many, and a multiple.
constexpr int64_t kPromptRows = 16;

// A running mean that follows within some ten steps.
void follow(double& mean, double value) { mean = mean == 0 ? value : mean + (value - mean) / 8; }

}  // namespace

// Rows that are left for prompts. Beside decoding sequences only as many as keep the step short.
int64_t Engine::prompt_budget(int64_t n_decoding) const {
  const int64_t most = options_.step_rows - n_decoding;
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
    // A text that has begun ends where the memory does.
    if (operation.phase == Operation::Phase::kDecode) {
      finish(operation, Event::Finish::kContext);
    } else {
      fail(operation, ErrorCode::kNoMemory, "not enough memory for keys and values");
    }
    return false;
  }
  const int64_t first = batch.size();
  const AdapterSet& adapters = operation.sequence->adapters;
  batch.add(table, ids, adapters.empty() ? nullptr : &adapters);
  operation.n_rows = static_cast<int64_t>(ids.size());
  const Request& request = operation.request;
  for (int64_t i = 0; i < operation.n_rows; ++i) {
    const int64_t position = batch.positions[static_cast<size_t>(first + i)];
    const bool is_last =
        operation.phase == Operation::Phase::kDecode || position == operation.n_target - 1;
    if (operation.pooled) {
      if (operation.pooled->wants(position)) batch.wanted.push_back(first + i);
      continue;
    }
    const bool is_scored = request.score_from > 0 && position >= request.score_from - 1;
    const bool is_kept = request.hidden_from && position >= *request.hidden_from;
    if (is_last || is_scored || is_kept || request.all_logits) batch.wanted.push_back(first + i);
  }
  return true;
}

// Sequences that decode come first, in turn if they are more than a step can hold beside prompts.
void Engine::plan_decoding(Batch& batch, std::vector<Operation*>& in_step) {
  std::vector<Operation*> ready;
  bool has_prompts = false;
  for (const auto& operation : operations_) {
    has_prompts = has_prompts || operation->phase == Operation::Phase::kPrompt;
    if (operation->phase == Operation::Phase::kDecode && operation->wants_token())
      ready.push_back(operation.get());
  }
  const int64_t kept = has_prompts ? std::min(kPromptRows, options_.step_rows / 2) : 0;
  const size_t most = static_cast<size_t>(options_.step_rows - kept);
  if (ready.size() > most) {
    std::vector<Scheduler::Ticket> tickets;
    for (const Operation* operation : ready)
      tickets.push_back({operation->id, &operation->request.urgency, 0});
    ready.clear();
    for (const uint64_t id : scheduler_.share(tickets, most)) ready.push_back(&find(id));
  }
  // Rows of the same adapters side by side read them once for all.
  std::stable_sort(ready.begin(), ready.end(), [](const Operation* a, const Operation* b) {
    return a->sequence->adapters.key() < b->sequence->adapters.key();
  });
  for (Operation* operation : ready) {
    const std::optional<int32_t>& pending = operation->sequence->pending;
    if (!pending || add_rows(batch, *operation, {&*pending, 1})) in_step.push_back(operation);
  }
}

void Engine::plan_prompts(Batch& batch, std::vector<Operation*>& in_step) {
  std::vector<Scheduler::Ticket> waiting;
  for (const auto& operation : operations_) {
    if (operation->phase == Operation::Phase::kPrompt) {
      waiting.push_back({operation->id, &operation->request.urgency,
                         static_cast<int64_t>(operation->rest().size())});
    }
  }
  int64_t left = prompt_budget(batch.size());
  for (const uint64_t id : scheduler_.order(std::move(waiting), current_prompt_)) {
    if (left == 0) break;
    Operation& operation = find(id);
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
  for (const auto& operation : operations_) fail(*operation, code, message);
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
  counters_.steps += 1;
  counters_.rows += batch.size();
  const float* hidden = hidden_.data();
  std::vector<Operation*> ready;
  for (Operation* operation : in_step) {
    hidden = finish_rows(*operation, batch, hidden);
    if (operation->phase == Operation::Phase::kDecode && operation->has_hidden() &&
        operation->wants_token() && !operation->cancelled)
      ready.push_back(operation);
  }
  sample_all(ready);
  const std::chrono::duration<double> seconds = Clock::now() - begun;
  counters_.step_seconds.add(seconds.count());
  counters_.step_rows.add(static_cast<double>(batch.size()));
  observe(batch.size() - n_decoding, n_decoding, seconds.count());
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
  const int64_t n_new = sequence.table.size() - std::max(first, operation.n_known);
  operation.n_evaluated += std::max<int64_t>(0, n_new);
  operation.n_rows = 0;
  if (operation.phase == Operation::Phase::kDecode) {
    sequence.pending.reset();
    sequence.logits.clear();
    sequence.hidden.assign(hidden, end);
    return end;
  }
  const Request& request = operation.request;
  if (operation.pooled) {
    if (!pool_rows(operation, {hidden, end})) return end;
  } else if (request.score_from > 0) {
    score_rows(operation, hidden, std::max(first, request.score_from - 1), n_wanted);
  } else if (request.all_logits || request.hidden_from) {
    sequence.hidden.insert(sequence.hidden.end(), hidden, end);
  } else {
    sequence.hidden.assign(hidden, end);
  }
  finish_prompt(operation);
  return end;
}

void Engine::finish_prompt(Operation& operation) {
  if (!operation.rest().empty()) {
    if (operation.is_resumed) return;
    Event event{operation.id, Event::Kind::kProgress};
    event.n_reused = operation.n_reused;
    event.n_evaluated = operation.n_evaluated;
    return emit(operation, std::move(event));
  }
  operation.phase = Operation::Phase::kDecode;
  if (operation.is_resumed) return;  // it goes on as before
  operation.first_token = Clock::now();
  if (operation.pooled) {
    operation.sequence->embedding = operation.pooled->take();
    operation.sequence->table.truncate(0);
  }
  if (operation.request.all_logits) {
    try {
      compute_logits(*operation.sequence);
    } catch (const std::bad_alloc&) {
      return fail(operation, ErrorCode::kNoMemory, "not enough memory for the logits of a prompt");
    }
  }
  begin_sampling(operation);
  if (operation.request.max_tokens == 0) finish(operation, Event::Finish::kLength);
}

// False: there is not enough memory, and the operation has failed.
bool Engine::pool_rows(Operation& operation, std::span<const float> hidden) {
  try {
    operation.pooled->add(hidden);
  } catch (const std::bad_alloc&) {
    fail(operation, ErrorCode::kNoMemory, "not enough memory for the hidden states of a text");
    return false;
  }
  return true;
}

// The scores of the tokens that follow the n positions from `first` on.
void Engine::score_rows(Operation& operation, const float* hidden, int64_t first, int64_t n) {
  const auto targets = std::span(operation.request.tokens)
                           .subspan(static_cast<size_t>(first + 1), static_cast<size_t>(n));
  Sequence& sequence = *operation.sequence;
  const int64_t n_top = operation.request.score_top;
  for (Score& score : score_tokens(*model_, hidden, targets, n_top)) {
    sequence.logprobs.push_back(score.logprob);
    sequence.is_likeliest.push_back(score.is_likeliest);
    if (n_top > 0) sequence.score_top.push_back(std::move(score.top));
  }
}

void Engine::begin_sampling(Operation& operation) {
  const Request& request = operation.request;
  if (request.sampling) operation.sequence->set_sampling(*request.sampling, texts_);
  if (!request.grammar || operation.grammar) return;
  const Tokenizer& tokenizer = model_->tokenizer;
  if (!trie_) {
    trie_ = std::make_shared<TokenTrie>(tokenizer.n_vocab(),
                                        [&](int32_t id) { return tokenizer.piece(id, false); });
  }
  try {
    operation.grammar.emplace(request.grammar, trie_, tokenizer.eog(),
                              request.starts_text && tokenizer.strips_space());
    for (const int32_t id : request.begun) operation.grammar->accept(id);
  } catch (const Error& error) {
    fail(operation, ErrorCode::kUsage, error.what());
  }
}

void Engine::sample_all(const std::vector<Operation*>& ready) {
  std::vector<Operation*> again;
  const auto in_groups = [this](const std::vector<Operation*>& operations, bool whole) {
    for (size_t first = 0; first < operations.size(); first += kHeadRows) {
      const size_t n = std::min(operations.size() - first, static_cast<size_t>(kHeadRows));
      sample_group(std::span(operations).subspan(first, n), whole);
    }
  };
  in_groups(ready, false);
  for (Operation* operation : ready) {
    if (operation->needs_all_logits) again.push_back(operation);
  }
  in_groups(again, true);
  for (Operation* operation : ready) take_sample(*operation);
}

// A sampler that looks only at the largest logits gets them without computing the others; with a
// grammar so many that the tokens it allows are most likely among them. Rows of the head that have
// no token, which pad some models to a round number, are never sampled.
void Engine::sample_group(std::span<Operation* const> group, bool whole) {
  const size_t n_vocab = static_cast<size_t>(model_->config.n_vocab);
  const size_t n_tokens = static_cast<size_t>(model_->tokenizer.n_vocab());
  const size_t n_embd = static_cast<size_t>(model_->config.n_embd);
  const size_t n = group.size();
  logits_.resize(std::max(logits_.size(), n * n_vocab));
  std::vector<HeadQuery> queries;
  std::vector<std::vector<int32_t>> adjusted(n);
  for (size_t i = 0; i < n; ++i) {
    const Sequence& sequence = *group[i]->sequence;
    adjusted[i] = sequence.sampler.adjusted_ids();
    std::erase_if(adjusted[i],
                  [=](int32_t id) { return id < 0 || static_cast<size_t>(id) >= n_vocab; });
    int64_t k = whole || n_tokens < n_vocab ? 0 : sequence.sampler.n_needed();
    if (k > 0 && group[i]->grammar) k = kGrammarLogits;
    queries.push_back({sequence.hidden.data() + sequence.hidden.size() - n_embd, k, adjusted[i],
                       &logits_[i * n_vocab]});
  }
  model_->head->top(queries);
  model_->pool.parallel_for(static_cast<int64_t>(n), 1, [&](int64_t begin, int64_t end, int) {
    for (size_t i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      try {
        sample_one(*group[i], std::span(queries[i].out, n_tokens), queries[i].k == 0);
      } catch (const Error& error) {
        group[i]->sampling_error.emplace(error);
      }
    }
  });
}

// `is_whole`: the logits of all tokens are there. If it takes them, the operation says so.
void Engine::sample_one(Operation& operation, std::span<const float> logits, bool is_whole) {
  Sampler& sampler = operation.sequence->sampler;
  operation.needs_all_logits = false;
  if (!operation.grammar) {
    operation.sample = sampler.sample(logits);
    return;
  }
  const Clock::time_point begun = Clock::now();
  const std::optional<std::vector<int32_t>> allowed =
      choose_allowed(*operation.grammar, sampler, logits, is_whole);
  const std::chrono::duration<double> seconds = Clock::now() - begun;
  operation.mask_seconds += seconds.count();
  operation.needs_all_logits = !allowed;
  if (!allowed) return;
  if (allowed->empty())
    throw Error(ErrorCode::kUsage, "no token of the vocabulary goes on with a text of the grammar");
  operation.sample = sampler.sample(logits, &*allowed);
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
  try {
    if (operation.grammar) operation.grammar->accept(id);
  } catch (const Error& error) {
    return fail(operation, error.code, error.what());
  }
  scheduler_.use(operation.request.urgency, 0, 1);
  counters_.sampled_tokens += 1;
  if (operation.grammar) counters_.mask_seconds.add(std::exchange(operation.mask_seconds, 0));
  if (operation.request.tell_tokens) {
    Event event{operation.id, Event::Kind::kToken};
    event.sample = std::move(operation.sample);
    emit(operation, std::move(event));
  }
  const bool is_done = operation.grammar && operation.grammar->is_done();
  if ((operation.request.stop_at_eog && model_->tokenizer.is_eog(id)) || is_done)
    return finish(operation, Event::Finish::kEog);
  if (operation.n_sampled == operation.request.max_tokens)
    return finish(operation, Event::Finish::kLength);
  if (sequence.table.size() >= operation.n_most) finish(operation, Event::Finish::kContext);
}

void Engine::observe(int64_t n_prompt, int64_t n_decoding, double seconds) {
  if (n_prompt == 0) return follow(decode_seconds_, seconds);
  const double of_prompt = n_decoding > 0 ? seconds - decode_seconds_ : seconds;
  if (n_prompt >= kPromptRows && of_prompt > 0)
    follow(row_seconds_, of_prompt / static_cast<double>(n_prompt));
}

}  // namespace bitnet
