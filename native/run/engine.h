// Runs all sequences of a model. One thread of its own joins the rows of every sequence that is
// ready into steps: a row for each that decodes, then rows of prompts up to a budget, so that the
// weights are read once for all. Clients submit operations and are told what happened; nothing
// waits for them, and they for nothing but their own results. What a request gets is a function of
// the model, its tokens, its options and its seed alone: logits do not depend on what else is in a
// step.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "grammar/token_grammar.h"
#include "model/adapter.h"
#include "run/engine_stats.h"
#include "run/forward.h"
#include "run/kv_pool.h"
#include "run/pooling.h"
#include "run/sampler.h"
#include "run/scheduler.h"
#include "run/score.h"

namespace bitnet {

struct EngineOptions {
  // What keys and values that no sequence holds any more may keep, per cache type.
  int64_t cache_bytes = int64_t{512} << 20;
  // How long a step may take while a sequence decodes: bounds the rows of prompts beside it.
  double step_seconds = 0.2;
  // Rows of a step at most.
  int64_t step_rows = kBatchTokens;
  // Operations that run at once; the others wait and take no memory. 0: all run.
  int64_t parallel = 0;
  // What keys and values in use may take, of both cache types together. 0: no bound.
  int64_t kv_bytes = 0;
};

struct SequenceOptions {
  int64_t n_ctx = 0;  // tokens it may hold
  CacheType cache_type = CacheType::kF16;
  bool share = true;  // find the beginnings of prompts that other sequences evaluated, and be found
  std::string salt{};                       // only sequences of the same salt find each other
  std::vector<AdapterSet::Use> adapters{};  // only sequences of the same ones find each other, too
};

// A sequence of tokens. A client's own while no operation runs on it, else the engine's.
struct Sequence {
  Sequence(std::shared_ptr<KvPool> pool, const SequenceOptions& options);
  // A new sampler; the tokens so far count for the penalties.
  void set_sampling(const SamplerParams& params, const TokenTexts& texts);
  // Forgets all but the first n tokens, and what was computed or sampled to follow them.
  void truncate(int64_t n);

  // Forgets what was computed or sampled to follow its tokens.
  void clear_results();
  // Gives back the keys and values, but what was computed from them last stays.
  void release();

  const int64_t n_ctx;
  const AdapterSet adapters;
  // Held by the client that looks at the table, and by the engine where it takes an idle one's
  // memory.
  std::mutex mutex;
  KvTable table;  // tokens() are evaluated
  Sampler sampler{SamplerParams{}};
  std::optional<int32_t> pending;     // sampled, not evaluated
  std::vector<float> hidden;          // [positions, n_embd] of the last evaluation
  std::vector<float> logits;          // [positions, n_vocab] of them, with all_logits
  std::vector<double> logprobs;       // of the last operation with score_from
  std::vector<uint8_t> is_likeliest;  // the same: whether the token has the largest logit
  std::vector<std::vector<TokenScore>> score_top;  // the same: the likeliest tokens
  std::vector<float> embedding;                    // of the last operation with pooling
  std::atomic<bool> busy{false};
  // Busy with something that is no operation, for which it needs so many bytes; with the mutex
  // held.
  bool is_pinned = false;
  int64_t pinned_bytes = 0;

  // The engine's own.
  bool is_admitted = false;
  uint64_t last_operation = 0;  // whose id is the order of use
};

struct Request {
  // What the sequence is to be: what is known of it is kept, the rest is evaluated, at least the
  // last token. Empty: the sequence goes on.
  std::vector<int32_t> tokens;
  // The logits of every evaluated position: the session's own cache is all that is not evaluated.
  bool all_logits = false;
  // At least 1: log-probabilities of tokens[score_from ...], each given all before it. The last
  // token is not evaluated, as nothing follows it.
  int64_t score_from = 0;
  int64_t score_top = 0;  // how many of the likeliest tokens of each position are told
  // Hidden states of the positions from here on are kept, for Engine::logits_of(); nothing else is
  // computed from them.
  std::optional<int64_t> hidden_from;

  // The embedding of the tokens; their keys and values are gone then.
  std::optional<Pooling> pooling;

  int64_t max_tokens = 0;                  // to sample
  bool stop_at_eog = false;                // an end-of-generation token is the last one
  std::optional<SamplerParams> sampling;   // a new sampler; else the sequence's goes on
  std::shared_ptr<const Grammar> grammar;  // what is sampled is a text of it; null: any
  bool starts_text = false;                // ... and the beginning of what a client decodes
  std::vector<int32_t> begun;              // ... which begins with these last tokens of the prompt
  bool tell_tokens = true;                 // false: only the end matters, as to a measurement
  bool anew = false;                       // evaluates every token, whatever is known
  // Tokens that may be sampled beyond those that Engine::acknowledge() was told of.
  int64_t window = std::numeric_limits<int64_t>::max();

  Urgency urgency;         // whose turn it is, see scheduler.h
  bool cancelled = false;  // by a client that has left already: it ends with kAborted at once
};

struct Event {
  enum class Kind {
    kStarted,   // n_reused, queue_seconds
    kProgress,  // n_reused, n_evaluated of the prompt, after each of its steps but the last
    kToken,     // sample
    kDone,      // everything else
  };
  enum class Finish { kLength, kEog, kContext, kFailed };
  uint64_t operation;
  Kind kind;
  int64_t n_reused = 0, n_evaluated = 0;
  Sample sample{};
  Finish finish = Finish::kLength;
  ErrorCode code = ErrorCode::kInternal;  // if kFailed
  std::string message{};
  // From the start of the operation to its first token or, without any, its end; from there on.
  double prompt_seconds = 0, decode_seconds = 0;
  double queue_seconds = 0;  // from the submission to that start
};

// Where the events of operations go: one call per step with all of them, on the engine's thread.
// Must not call the engine's blocking functions.
using EventSink = std::function<void(std::vector<Event>&&)>;

struct Operation;

class Engine {
 public:
  explicit Engine(std::shared_ptr<Model> model, const EngineOptions& options = {});
  ~Engine();  // operations that still run end with kAborted
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Model& model() const { return *model_; }
  const TokenTexts& texts() const { return texts_; }
  const std::shared_ptr<Model>& shared_model() const { return model_; }

  // Throws kUsage, kNoMemory if the context would not fit into the machine's memory.
  std::shared_ptr<Sequence> create_sequence(const SequenceOptions& options);
  // Sequences of any salt share this beginning. Before the first sequence. Throws kUsage for ids
  // outside the vocabulary.
  void publish(std::span<const int32_t> ids);

  // Starts an operation. Throws kUsage: a sequence that is busy, ids outside the vocabulary, a
  // context that is too small, nothing to continue.
  std::shared_ptr<Operation> submit(std::shared_ptr<Sequence> sequence, Request request,
                                    std::shared_ptr<const EventSink> sink);
  static uint64_t id_of(const Operation& operation);
  // Ends an operation within a step, with kAborted. What was evaluated completely stays.
  void cancel(Operation& operation);
  // The client has seen so many tokens in all.
  void acknowledge(Operation& operation, int64_t n_tokens);

  // A sequence that is not busy to a file, and back: what is in it then is what was saved, or, if
  // this throws, what was there before. Wait for the file; not from the engine's thread. Throw what
  // slot_file.h says, kUsage, kNoMemory.
  struct Slot {
    int64_t n_tokens, n_bytes;
  };
  Slot save(Sequence& sequence, const std::string& path);
  Slot restore(Sequence& sequence, const std::string& path);
  uint64_t fingerprint();  // of the model's file, see model/fingerprint.h

  // Runs `work` on the engine's thread between two steps and waits for it; the model's pool, head
  // and tuning are its own for that time. Passes on what it throws.
  void call(const std::function<void()>& work);
  // [positions, n_vocab] of the hidden states of a sequence that is not busy. Waits for its turn.
  const std::vector<float>& logits(Sequence& sequence);
  // out [n, tokens of the vocabulary] = the logits of the hidden states [first, first + n) that an
  // operation with hidden_from has kept. The sequence is busy meanwhile. Waits for its turn. Throws
  // kUsage: a sequence that is busy, states that are not there, a wrong size of `out`.
  void logits_of(Sequence& sequence, int64_t first, int64_t n, std::span<float> out);
  void set_tuning(const Tuning& tuning);  // waits; throws kUsage

  EngineStats stats() const;

 private:
  void wake();
  void run();
  bool take_inbox();
  // engine_admission.cpp
  void admit();
  bool make_place(const Operation& operation);
  void begin(Operation& operation);
  void begin_prompt(Operation& operation, bool is_first);
  void preempt(Operation& operation);
  void leave_place(Operation& operation);
  int64_t positions_of(const Sequence& sequence, const Request& request) const;
  int64_t pinned_bytes();
  using Claims = std::array<std::vector<KvClaim>, 2>;  // by CacheType
  Claims claims_of(std::span<Operation* const> running, const Operation* next) const;
  int64_t bytes_of(const Claims& claims) const;
  void reclaim(Claims claims, int64_t n_more, const Sequence& own);
  std::vector<std::shared_ptr<Sequence>> live_sequences();
  Operation& find(uint64_t id) const;
  // engine_slots.cpp
  class Pin;
  void make_room(Sequence& sequence, int64_t n_bytes);
  // engine_step.cpp
  void try_step();
  void step();
  int64_t prompt_budget(int64_t n_decoding) const;
  bool add_rows(Batch& batch, Operation& operation, std::span<const int32_t> ids);
  void plan_decoding(Batch& batch, std::vector<Operation*>& in_step);
  void plan_prompts(Batch& batch, std::vector<Operation*>& in_step);
  const float* finish_rows(Operation& operation, const Batch& batch, const float* hidden);
  bool pool_rows(Operation& operation, std::span<const float> hidden);
  void finish_prompt(Operation& operation);
  void compute_logits(Sequence& sequence);
  void compute_logits_of(const float* hidden, int64_t n, std::span<float> out);
  void score_rows(Operation& operation, const float* hidden, int64_t first, int64_t n);
  void begin_sampling(Operation& operation);
  void sample_all(const std::vector<Operation*>& ready);
  void sample_group(std::span<Operation* const> group, bool whole);
  void sample_one(Operation& operation, std::span<const float> logits, bool is_whole);
  void take_sample(Operation& operation);
  void finish(Operation& operation, Event::Finish how);
  void fail(Operation& operation, ErrorCode code, const std::string& message);
  void end(Operation& operation, Event event);
  void emit(const Operation& operation, Event event);
  void deliver();
  void count();
  void observe(int64_t n_prompt, int64_t n_decoding, double seconds);
  void progress();

  const std::shared_ptr<Model> model_;
  const EngineOptions options_;
  const std::shared_ptr<KvPool> pools_[2];  // by CacheType
  Forward forward_;
  const TokenTexts texts_;
  std::shared_ptr<const TokenTrie> trie_;  // made for the first grammar

  // Shared with clients.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<Operation>> inbox_;
  std::vector<std::packaged_task<void()>*> calls_;
  uint64_t next_id_ = 1;
  bool signal_ = false;  // a cancellation or an acknowledgement may make a step possible
  std::vector<std::weak_ptr<Sequence>> sequences_;  // of an engine whose keys have a bound
  EngineCounters published_;
  std::once_flag fingerprint_once_;
  uint64_t fingerprint_ = 0;
  std::atomic<bool> end_{false};
  std::atomic<int64_t> last_progress_{0};  // nanoseconds of the steady clock; 0: idle

  // The thread's own.
  std::vector<std::shared_ptr<Operation>> operations_;
  bool has_left_ = false;  // an operation, so that another one may be admitted
  uint64_t n_admissions_ = 0;
  EngineCounters counters_;
  Scheduler scheduler_;
  uint64_t current_prompt_ = 0;  // the operation whose prompt was begun
  std::vector<std::pair<std::shared_ptr<const EventSink>, std::vector<Event>>> outbox_;
  std::vector<float> hidden_, logits_;
  double row_seconds_ = 0, decode_seconds_ = 0;  // running means of a prompt row, of a decode step

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace bitnet
