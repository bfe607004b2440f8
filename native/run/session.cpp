#include "run/session.h"

#include <condition_variable>
#include <utility>

#include "base/error.h"

namespace bitnet {

Session::Session(std::shared_ptr<Engine> engine, const SequenceOptions& options)
    : engine_(std::move(engine)), sequence_(engine_->create_sequence(options)) {}

Session::Outcome Session::run(Request request) {
  struct Mailbox {
    std::mutex mutex;
    std::condition_variable done;
    Outcome outcome{{}, {0, Event::Kind::kStarted}};
  };
  const auto mailbox = std::make_shared<Mailbox>();
  const auto sink = std::make_shared<const EventSink>([mailbox](std::vector<Event>&& events) {
    std::lock_guard<std::mutex> lock(mailbox->mutex);
    for (Event& event : events) {
      if (event.kind == Event::Kind::kToken) {
        mailbox->outcome.samples.push_back(std::move(event.sample));
      } else if (event.kind == Event::Kind::kDone) {
        mailbox->outcome.done = std::move(event);
        mailbox->done.notify_one();
      }
    }
  });
  {
    std::lock_guard<std::mutex> lock(mutex_);
    request.cancelled = abort_;
    running_ = engine_->submit(sequence_, std::move(request), sink);
  }
  std::unique_lock<std::mutex> lock(mailbox->mutex);
  mailbox->done.wait(lock, [&] { return mailbox->outcome.done.kind == Event::Kind::kDone; });
  const Event& done = mailbox->outcome.done;
  if (done.finish == Event::Finish::kFailed) throw Error(done.code, done.message);
  return std::move(mailbox->outcome);
}

namespace {

void check_not_empty(std::span<const int32_t> tokens) {
  if (tokens.empty()) throw Error(ErrorCode::kUsage, "the prompt has no tokens");
}

}  // namespace

Session::Prefilled Session::prefill(std::span<const int32_t> tokens, bool all_logits) {
  check_not_empty(tokens);
  Request request;
  request.tokens.assign(tokens.begin(), tokens.end());
  request.all_logits = all_logits;
  const Event done = run(std::move(request)).done;
  return {done.n_reused, done.n_evaluated};
}

Sample Session::step() {
  Request request;
  request.max_tokens = 1;
  return run(std::move(request)).samples.at(0);
}

Session::Generated Session::generate(std::span<const int32_t> tokens, const SamplerParams& params,
                                     int64_t max_tokens, bool stop_at_eog,
                                     std::shared_ptr<const Grammar> grammar) {
  check_not_empty(tokens);
  Request request;
  request.tokens.assign(tokens.begin(), tokens.end());
  request.sampling = params;
  request.max_tokens = max_tokens;
  request.stop_at_eog = stop_at_eog;
  request.grammar = std::move(grammar);
  Outcome outcome = run(std::move(request));
  Generated out{{}, std::move(outcome.done)};
  for (const Sample& sample : outcome.samples) out.tokens.push_back(sample.id);
  return out;
}

std::vector<double> Session::score(std::span<const int32_t> tokens, int64_t from) {
  check_not_empty(tokens);
  Request request;
  request.tokens.assign(tokens.begin(), tokens.end());
  request.score_from = from;
  run(std::move(request));
  return sequence_->logprobs;
}

std::vector<float> Session::embed(std::span<const int32_t> tokens, Pooling pooling) {
  Request request;
  request.tokens.assign(tokens.begin(), tokens.end());
  request.pooling = pooling;
  run(std::move(request));
  return std::move(sequence_->embedding);
}

std::vector<float> Session::distributions(std::span<const int32_t> tokens, int64_t from,
                                          int64_t rows) {
  check_not_empty(tokens);
  const int64_t n = static_cast<int64_t>(tokens.size()) - from;
  const int64_t width = model().tokenizer.n_vocab();
  Request request;
  request.tokens.assign(tokens.begin(), tokens.end() - 1);
  request.hidden_from = from - 1;
  run(std::move(request));
  std::vector<float> out(static_cast<size_t>(n * width));
  for (int64_t first = 0; first < n; first += rows) {
    const int64_t count = std::min(rows, n - first);
    engine_->logits_of(*sequence_, first, count,
                       std::span(out).subspan(static_cast<size_t>(first * width),
                                              static_cast<size_t>(count * width)));
  }
  return out;
}

void Session::abort() {
  abort_ = true;
  std::lock_guard<std::mutex> lock(mutex_);
  if (running_) engine_->cancel(*running_);
}

}  // namespace bitnet
