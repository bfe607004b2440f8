// The engine: what a request gets must not depend on its neighbours, on how steps are cut, on what
// the cache held or on who left; and nobody waits for a client.
#include "run/engine.h"

#include <chrono>
#include <cmath>
#include <numeric>
#include <random>
#include <thread>

#include "base/error.h"
#include "engine_cases.h"

using namespace engine_cases;

namespace {

// All cases at once in a random schedule; some of them are cancelled at random moments.
void run_schedule(const std::vector<Case>& cases, const std::shared_ptr<Engine>& engine,
                  std::mt19937& random) {
  Mailbox mailbox;
  const auto sink = mailbox.sink();
  struct Running {
    const Case* c;
    std::shared_ptr<Sequence> sequence;
    std::shared_ptr<Operation> operation;
    bool cancelled;
  };
  std::vector<const Case*> order;
  for (const Case& c : cases) order.push_back(&c);
  std::shuffle(order.begin(), order.end(), random);
  std::vector<Running> all;
  for (const Case* c : order) {
    SequenceOptions options{512, c->cache_type, random() % 4 != 0, {}};
    Request request = request_of(*c);
    request.urgency.background = random() % 4 == 0;
    request.urgency.client = std::string(1, static_cast<char>('a' + random() % 3));
    const auto sequence = engine->create_sequence(options);
    const auto operation = engine->submit(sequence, request, sink);
    all.push_back({c, sequence, operation, random() % 5 == 0});
    if (random() % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    if (all.back().cancelled) engine->cancel(*operation);
  }
  for (const Running& r : all) {
    const Event done = mailbox.wait(*r.operation);
    const Ids tokens = mailbox.tokens(*r.operation);
    if (done.finish == Event::Finish::kFailed) {
      CHECK(r.cancelled && done.code == ErrorCode::kAborted);
      CHECK(tokens.size() <= r.c->tokens.size());
      CHECK(std::equal(tokens.begin(), tokens.end(), r.c->tokens.begin()));
      continue;
    }
    CHECK(tokens == r.c->tokens);
    CHECK(same_bits(engine->logits(*r.sequence), r.c->logits));
  }
}

}  // namespace

TEST("a request gets the same text and logits alone and in any schedule") {
  const std::vector<Case> cases = make_cases(kQuick ? 8 : 16);
  std::mt19937 random(5);
  for (const int n_threads : {1, 2, 3}) {
    const auto model = bundled(n_threads);
    for (const double step_seconds : {0.0, 0.2}) {  // 0: the fewest rows beside decoding sequences
      for (const int64_t cache_bytes : {int64_t{0}, int64_t{3} << 20, int64_t{1} << 30}) {
        if (kQuick && cache_bytes != int64_t{3} << 20) continue;
        const auto engine = engine_with(model, {cache_bytes, step_seconds});
        for (int round = 0; round < (kQuick ? 1 : 2); ++round) run_schedule(cases, engine, random);
      }
    }
  }
}

TEST("operations of all sequences share steps") {
  const auto engine = engine_with(bundled());
  Mailbox mailbox;
  const auto sink = mailbox.sink();
  Request request;
  request.tokens = ids_of(10, 1);
  request.max_tokens = 50;
  request.sampling.emplace();
  std::vector<std::shared_ptr<Operation>> operations;
  engine->call([&] {  // the engine is busy with this while they arrive
    for (uint64_t i = 0; i < 8; ++i) {
      request.sampling->seed = i;
      operations.push_back(engine->submit(engine->create_sequence({512}), request, sink));
    }
  });
  for (const auto& operation : operations) mailbox.wait(*operation);
  const bitnet::EngineStats stats = engine->stats();
  CHECK_EQ(stats.steps, 50);  // one with the prompts, one for each further token
  CHECK_EQ(stats.rows, 8 * (10 + 49));
  CHECK_EQ(stats.decoding, 0);
  CHECK_EQ(stats.seconds_since_progress, 0.0);
}

TEST("a prompt that begins like another's takes its keys and values, to the token") {
  const auto engine = engine_with(bundled());
  const Ids first = ids_of(300, 1);
  Ids second(first.begin(), first.begin() + 200);  // three blocks and eight positions of a fourth
  for (const int32_t id : ids_of(20, 9)) second.push_back(id);
  Session a(engine, {512}), b(engine, {512}), alone(engine, {512, CacheType::kF16, false, {}});
  CHECK_EQ(a.prefill(first, false).reused, 0);
  CHECK_EQ(b.prefill(second, false).reused, 200);
  CHECK_EQ(alone.prefill(second, false).reused, 0);
  CHECK(same_bits(b.logits(), alone.logits()));
  // A block that was not full is its sequence's own.
  Session c(engine, {512});
  CHECK_EQ(c.prefill(first, false).reused, 256);
  CHECK(same_bits(c.logits(), a.logits()));
  // Other salts and other types of the cache are other worlds.
  Session salted(engine, {512, CacheType::kF16, true, "key"}), q8(engine, {512, CacheType::kQ8});
  CHECK_EQ(salted.prefill(second, false).reused, 0);
  CHECK_EQ(q8.prefill(second, false).reused, 0);
  // "all" wants the logits of every position.
  Session all(engine, {512});
  CHECK_EQ(all.prefill(second, true).reused, 0);
  CHECK_EQ(all.logits().size(),
           second.size() * static_cast<size_t>(engine->model().config.n_vocab));
}

TEST("what a sequence that is gone has evaluated is found, as far as the cache may keep it") {
  const auto model = bundled();
  const int64_t block = bitnet::KvLayout(model->config, CacheType::kF16).block_bytes();
  const Ids ids = ids_of(300, 1);
  for (const int64_t n_blocks : {0, 2, 4, 100}) {
    const auto engine = engine_with(model, {n_blocks * block, 0.2});
    Session(engine, {512}).prefill(ids, false);
    CHECK_EQ(engine->stats().cache[0].held_blocks, 0);
    const int64_t kept = std::min<int64_t>(n_blocks, 4);
    CHECK_EQ(engine->stats().cache[0].cached_blocks, kept);
    // The end of a sequence goes first, so what is left can be found.
    CHECK_EQ(Session(engine, {512}).prefill(ids, false).reused, 64 * kept);
  }
}

TEST("sequences hold the blocks that they use, not those that their context could fill") {
  const auto engine = engine_with(bundled());
  std::vector<std::unique_ptr<Session>> sessions;
  for (int i = 0; i < 16; ++i) {
    sessions.push_back(std::make_unique<Session>(engine, SequenceOptions{1 << 20}));
    sessions.back()->prefill(ids_of(70, 500 + i), false);
  }
  CHECK_EQ(engine->stats().cache[0].held_blocks, 32);
  sessions.clear();
  CHECK_EQ(engine->stats().cache[0].held_blocks, 0);
}

TEST("a window stops the engine until the tokens are acknowledged") {
  const auto engine = engine_with(bundled());
  const std::vector<Case> cases = make_cases(4);
  Mailbox mailbox;
  for (const Case& c : cases) {
    Request request = request_of(c);
    request.window = 3;
    const auto operation =
        engine->submit(engine->create_sequence({512, c.cache_type}), request, mailbox.sink());
    for (size_t seen = 0; seen < c.tokens.size(); seen += 3) {
      mailbox.wait_for_tokens(*operation, std::min(seen + 3, c.tokens.size()));
      engine->call([] {});  // a step more would have been taken by now
      CHECK(mailbox.tokens(*operation).size() <= seen + 3);
      engine->acknowledge(*operation, static_cast<int64_t>(seen + 3));
    }
    CHECK(mailbox.wait(*operation).finish == Event::Finish::kLength);
    CHECK(mailbox.tokens(*operation) == c.tokens);
  }
}

TEST("a generation ends at the end of the context, or at an end-of-generation token") {
  const auto engine = engine_with(bundled());
  Session full(engine, {20});
  const auto to_the_end = full.generate(ids_of(15, 2), {}, 100);
  CHECK(to_the_end.done.finish == Event::Finish::kContext);
  CHECK_EQ(to_the_end.tokens.size(), size_t{6});  // the last one has no place and needs none
  CHECK_EQ(full.tokens().size(), size_t{20});
  SamplerParams only_eog;
  const int32_t eog = engine->model().tokenizer.eog().at(0);
  only_eog.logit_bias = {{eog, 1e6f}};
  const auto ended = Session(engine, {64}).generate(ids_of(15, 2), only_eog, 100, true);
  CHECK(ended.done.finish == Event::Finish::kEog);
  CHECK(ended.tokens == Ids{eog});
}

TEST("cancelling one sequence costs its neighbours nothing") {
  const auto engine = engine_with(bundled());
  const std::vector<Case> cases = make_cases(2);
  for (int round = 0; round < (kQuick ? 3 : 30); ++round) {
    Mailbox mailbox;
    Request doomed;
    doomed.tokens = ids_of(400, 77 + round);
    doomed.max_tokens = 100;
    doomed.sampling.emplace();
    const auto leaving = engine->submit(engine->create_sequence({512}), doomed, mailbox.sink());
    const auto staying = engine->submit(engine->create_sequence({512, cases[0].cache_type}),
                                        request_of(cases[0]), mailbox.sink());
    std::this_thread::sleep_for(std::chrono::microseconds(100 * round));
    engine->cancel(*leaving);
    mailbox.wait(*leaving);
    CHECK(mailbox.wait(*staying).finish == Event::Finish::kLength);
    CHECK(mailbox.tokens(*staying) == cases[0].tokens);
  }
}

TEST("an engine that ends tells those who still wait") {
  Mailbox mailbox;
  std::shared_ptr<Operation> operation;
  {
    const auto engine = engine_with(bundled());
    Request request;
    request.tokens = ids_of(10, 1);
    request.max_tokens = 100000;
    request.sampling.emplace();
    request.window = 5;  // it would wait for ever
    operation = engine->submit(engine->create_sequence({512}), request, mailbox.sink());
    mailbox.wait_for_tokens(*operation, 5);
  }
  const Event done = mailbox.wait(*operation);
  CHECK(done.finish == Event::Finish::kFailed && done.code == ErrorCode::kAborted);
}

TEST("requests that make no sense are refused, and leave the sequence free") {
  const auto engine = engine_with(bundled());
  const auto sequence = engine->create_sequence({64});
  Mailbox mailbox;
  const auto refused = [&](const Request& request, const char* part) {
    CHECK_THROWS(engine->submit(sequence, request, mailbox.sink()), Error, part);
    CHECK(!sequence->busy);
  };
  Request request;
  refused(request, "prefill first");
  request.tokens = ids_of(65, 1);
  refused(request, "more than the context of 64");
  request.tokens = {1, -1};
  refused(request, "outside the vocabulary");
  request.tokens = {1, 2, 3};
  for (const int64_t from : {-1, 3, 1000}) {
    request.score_from = from;
    refused(request, "scores can begin at position 1 to 2");
  }
  request.score_from = 0;
  for (const int64_t n_top : {-1, 21}) {
    request.score_top = n_top;
    refused(request, "0 to 20");
  }
  request.score_top = 0;
  for (const int64_t from : {-1, 3, 1000}) {
    request.hidden_from = from;
    refused(request, "cannot be kept");
  }
  request.hidden_from.reset();
  for (const double weight : {0.0, -1.0, std::nan(""), 1e7}) {
    request.urgency.weight = weight;
    refused(request, "weight");
  }
  request.urgency.weight = 1;
  request.sampling.emplace().top_p = 7;
  refused(request, "topP");
  CHECK_THROWS(engine->create_sequence({0}), Error, "context size");
  CHECK_THROWS(engine->create_sequence({(1 << 24) + 1}), Error, "context size");
  request.sampling.reset();
  request.max_tokens = 1 << 20;
  request.sampling.emplace();
  request.window = 1;
  const auto running = engine->submit(sequence, request, mailbox.sink());
  CHECK_THROWS(engine->submit(sequence, request, mailbox.sink()), Error, "busy");
  engine->cancel(*running);
  mailbox.wait(*running);
}

TEST("scores are the log-softmax of the logits, whatever is known of the prompt") {
  for (const char* path : {"tiny-bitnet/tiny-bitnet.gguf", "golden/llama-TQ2_0-q6_k.gguf"}) {
    const auto engine = engine_with(load(path, 2));
    const Ids ids = ids_of(kQuick ? 40 : 100, 4);
    const size_t n_vocab = static_cast<size_t>(engine->model().config.n_vocab);
    const size_t n_tokens = static_cast<size_t>(engine->model().tokenizer.n_vocab());
    Session plain(engine, {256, CacheType::kF16, false, {}});
    plain.prefill(ids, true);
    std::vector<double> expected;
    for (size_t t = 1; t < ids.size(); ++t) {
      const float* row = plain.logits().data() + (t - 1) * n_vocab;
      const float most = *std::max_element(row, row + n_tokens);
      double sum = 0;
      for (size_t i = 0; i < n_tokens; ++i) sum += std::exp(double{row[i]} - double{most});
      expected.push_back(double{row[ids[t]]} - double{most} - std::log(sum));
    }
    Session session(engine, {256});
    for (const int64_t from : {int64_t{1}, int64_t{70}, int64_t{39}, int64_t{2}}) {
      if (from >= static_cast<int64_t>(ids.size())) continue;
      const std::vector<double> scores = session.score(ids, from);
      CHECK_EQ(scores.size(), ids.size() - static_cast<size_t>(from));
      for (size_t i = 0; i < scores.size(); ++i)
        CHECK(std::fabs(scores[i] - expected[static_cast<size_t>(from) - 1 + i]) < 1e-9);
    }
    // The likeliest are those of all logits, in their order.
    const auto sequence = engine->create_sequence({256});
    for (const int64_t n_top : {1, 5, 20}) {
      Mailbox mailbox;
      Request request;
      request.tokens = ids;
      request.score_from = 3;
      request.score_top = n_top;
      mailbox.wait(*engine->submit(sequence, request, mailbox.sink()));
      CHECK_EQ(sequence->score_top.size(), ids.size() - 3);
      for (size_t t = 0; t < sequence->score_top.size(); ++t) {
        const float* row = plain.logits().data() + (t + 2) * n_vocab;
        Ids order(n_tokens);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
                         [row](int32_t a, int32_t b) { return row[a] > row[b]; });
        const auto& top = sequence->score_top[t];
        CHECK_EQ(top.size(), static_cast<size_t>(n_top));
        for (size_t i = 0; i < top.size(); ++i) {
          CHECK_EQ(top[i].id, order[i]);
          const double difference = double{row[order[i]]} - double{row[ids[t + 3]]};
          CHECK(std::fabs(top[i].logprob - (expected[t + 2] + difference)) < 1e-9);
        }
        CHECK_EQ(sequence->is_likeliest[t] == 1, top[0].id == ids[t + 3]);
      }
    }
    // What was known then is used: all but the token before the first that is scored.
    CHECK_EQ(session.tokens().size(), ids.size() - 1);
  }
}

TEST(
    "distributions are the logits of all tokens bit for bit, whatever is known and in any blocks") {
  for (const char* path : {"tiny-bitnet/tiny-bitnet.gguf", "golden/llama-TQ2_0-q6_k.gguf"}) {
    for (const int threads : {1, 2}) {
      const auto engine = engine_with(load(path, threads));
      const Ids ids = ids_of(kQuick ? 20 : 60, 4);
      const size_t n_vocab = static_cast<size_t>(engine->model().config.n_vocab);
      const size_t n_tokens = static_cast<size_t>(engine->model().tokenizer.n_vocab());
      Session plain(engine, {256, CacheType::kF16, false, {}});
      plain.prefill(ids, true);
      Session session(engine, {256});
      for (const size_t from : {size_t{1}, size_t{17}, size_t{2}}) {
        for (const int64_t rows : {1, 16, 32}) {
          const std::vector<float> out =
              session.distributions(ids, static_cast<int64_t>(from), rows);
          CHECK_EQ(out.size(), (ids.size() - from) * n_tokens);
          for (size_t t = from; t < ids.size(); ++t) {
            const float* expected = plain.logits().data() + (t - 1) * n_vocab;
            CHECK(std::equal(expected, expected + n_tokens, &out[(t - from) * n_tokens]));
          }
        }
      }
      // Only what was kept can be asked for, and only of a sequence that keeps something.
      const auto sequence = engine->create_sequence({256});
      std::vector<float> out(n_tokens);
      CHECK_THROWS(engine->logits_of(*sequence, 0, 1, out), Error, "hidden states of 0 positions");
      Mailbox mailbox;
      Request request;
      request.tokens = ids;
      request.hidden_from = static_cast<int64_t>(ids.size()) - 2;
      mailbox.wait(*engine->submit(sequence, request, mailbox.sink()));
      engine->logits_of(*sequence, 1, 1, out);
      CHECK_THROWS(engine->logits_of(*sequence, 1, 2, out), Error, "hidden states of 2 positions");
      CHECK_THROWS(engine->logits_of(*sequence, -1, 1, out), Error, "hidden states of 2");
      CHECK(!sequence->busy);
    }
  }
}

// What a sampler chooses from all logits, where only the tokens that the grammar allows are left.
static Ids generate_masked(const Ids& prompt, const SamplerParams& params, int max_tokens,
                           const std::shared_ptr<const bitnet::Grammar>& grammar) {
  Session session(engine_with(bundled(1)), {512, CacheType::kF16, false, {}});
  const bitnet::Tokenizer& tokenizer = session.model().tokenizer;
  const auto trie = std::make_shared<bitnet::TokenTrie>(
      tokenizer.n_vocab(), [&](int32_t id) { return tokenizer.piece(id, false); });
  bitnet::TokenGrammar constraint(grammar, trie, tokenizer.eog());
  bitnet::Sampler sampler(params, session.engine().texts());
  for (const int32_t id : prompt) sampler.accept(id);
  Ids sequence = prompt, out;
  while (std::ssize(out) < max_tokens) {
    session.prefill(sequence, false);
    const std::vector<int32_t> allowed = constraint.allowed();
    const int32_t id = sampler.sample(session.logits(), &allowed).id;
    sampler.accept(id);
    constraint.accept(id);
    out.push_back(id);
    sequence.push_back(id);
    if (tokenizer.is_eog(id) || constraint.is_done()) break;
  }
  return out;
}

TEST("under a grammar the likeliest tokens that it allows decide, alone and beside others") {
  const char* texts[] = {
      "root ::= \"{\" pair (\",\" pair)* \"}\"\npair ::= [a-z]+ \": \" (root | [0-9]+)",
      "root ::= ([A-Z] [a-z]* \" \"){3,6}", "root ::= \"Once\" [^x]* \"end.\"", "root ::= [0-9]+"};
  const auto engine = engine_with(bundled(2));
  Mailbox mailbox;
  struct Run {
    Ids prompt;
    SamplerParams params;
    std::shared_ptr<const bitnet::Grammar> grammar;
    std::shared_ptr<Operation> operation;
  };
  std::vector<Run> runs;
  for (int i = 0; i < 12; ++i) {
    Run run{ids_of(5 + i, i), {}, bitnet::Grammar::from_gbnf(texts[i % 4]), nullptr};
    run.params.seed = static_cast<uint64_t>(i);
    if (i % 3 == 0) run.params.temperature = 0;
    if (i % 3 == 1) run.params.top_k = 0;
    if (i % 4 == 1) run.params.repeat_penalty = 1.5f;
    if (i % 5 == 2) run.params.n_probs = 2;
    Request request;
    request.tokens = run.prompt;
    request.sampling = run.params;
    request.max_tokens = 24;
    request.stop_at_eog = true;
    request.grammar = run.grammar;
    run.operation = engine->submit(engine->create_sequence({512}), request, mailbox.sink());
    runs.push_back(run);
  }
  for (const Run& run : runs) {
    const Event done = mailbox.wait(*run.operation);
    CHECK(done.finish != Event::Finish::kFailed);
    CHECK(mailbox.tokens(*run.operation) ==
          generate_masked(run.prompt, run.params, 24, run.grammar));
  }
}
