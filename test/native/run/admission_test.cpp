// Who runs when not all can: the bounds hold, turns are fair, and nobody's text depends on them.
#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "base/error.h"
#include "engine_cases.h"

using namespace engine_cases;

namespace {

int64_t block_bytes(const Model& model, CacheType type = CacheType::kF16) {
  return bitnet::KvLayout(model.config, type).block_bytes();
}

EngineOptions bounded(int64_t parallel, int64_t kv_bytes, int64_t cache_bytes = 0) {
  EngineOptions options;
  options.cache_bytes = cache_bytes;
  options.parallel = parallel;
  options.kv_bytes = kv_bytes;
  return options;
}

Request endless(int32_t seed, bool background = false) {
  Request request;
  request.tokens = ids_of(10, seed);
  request.sampling.emplace();
  request.max_tokens = 100000;
  request.window = 3;  // what it samples before it waits for its client, which never comes
  request.urgency.background = background;
  return request;
}

// The prompt takes n_prompt tokens, the text n_text.
Request plain(int n_prompt, int64_t n_text, int32_t seed, const char* client = "") {
  Request request;
  request.tokens = ids_of(n_prompt, seed);
  request.sampling.emplace().seed = static_cast<uint64_t>(seed);
  request.max_tokens = n_text;
  request.urgency.client = client;
  return request;
}

Ids alone(const Request& request) {
  static const auto engine = engine_with(bundled(1));
  Session session(engine, {512, CacheType::kF16, false, {}});
  return session.generate(request.tokens, *request.sampling, request.max_tokens).tokens;
}

struct Running {
  const Case* c;
  std::shared_ptr<Sequence> sequence;
  std::shared_ptr<Operation> operation;
  bool is_cancelled;
};

// All cases in random order and classes; some are cancelled at once, some later.
std::vector<Running> submit_all(const std::vector<Case>& cases, Engine& engine, Mailbox& mailbox,
                                std::mt19937& random) {
  std::vector<const Case*> order;
  for (const Case& c : cases) order.push_back(&c);
  std::shuffle(order.begin(), order.end(), random);
  std::vector<Running> all;
  const auto sink = mailbox.sink();
  for (const Case* c : order) {
    Request request = request_of(*c);
    request.urgency.background = random() % 2 == 0;
    request.urgency.client = std::string(1, static_cast<char>('a' + random() % 3));
    const auto sequence = engine.create_sequence({512, c->cache_type, random() % 4 != 0, {}});
    all.push_back({c, sequence, engine.submit(sequence, request, sink), random() % 4 == 0});
    if (random() % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    if (!all.back().is_cancelled) continue;
    const size_t victim = random() % all.size();  // it may have begun, or not, or have given way
    all[victim].is_cancelled = true;
    engine.cancel(*all[victim].operation);
  }
  return all;
}

}  // namespace

TEST("texts are those of the request alone whatever may run at once, and the bounds hold") {
  const std::vector<Case> cases = make_cases(kQuick ? 8 : 20);
  const auto model = bundled(2);
  std::mt19937 random(7);
  for (const int64_t parallel : {1, 3, 0}) {
    // The largest needs 7 blocks, here one and a bit fit, or three.
    for (const int64_t n_blocks : {8, 21, 0}) {
      if (kQuick && (n_blocks == 0 || parallel == 3)) continue;
      const int64_t kv_bytes = n_blocks * block_bytes(*model);
      const auto engine =
          engine_with(model, bounded(parallel, kv_bytes, random() % 2 == 0 ? 0 : 1 << 30));
      for (int round = 0; round < (kQuick ? 1 : 3); ++round) {
        Mailbox mailbox;
        const std::vector<Running> all = submit_all(cases, *engine, mailbox, random);
        for (const Running& r : all) {
          bitnet::EngineStats stats;
          engine->call([&] { stats = engine->stats(); });  // between two steps
          CHECK(parallel == 0 || stats.running <= parallel);
          CHECK(kv_bytes == 0 || stats.cache[0].held_blocks * stats.cache[0].block_bytes +
                                         stats.cache[1].held_blocks * stats.cache[1].block_bytes <=
                                     kv_bytes);
          const Event done = mailbox.wait(*r.operation);
          const Ids tokens = mailbox.tokens(*r.operation);
          if (done.finish == Event::Finish::kFailed) {
            CHECK(r.is_cancelled && done.code == ErrorCode::kAborted);
            CHECK(tokens.size() <= r.c->tokens.size() &&
                  std::equal(tokens.begin(), tokens.end(), r.c->tokens.begin()));
          } else {
            CHECK(tokens == r.c->tokens);
            CHECK(same_bits(engine->logits(*r.sequence), r.c->logits));
          }
        }
      }
    }
  }
}

TEST("work in the background gives its place to urgent work, and goes on with the same bits") {
  const auto model = bundled();
  for (const bool by_memory : {false, true}) {
    for (const int64_t cache_bytes : {int64_t{0}, int64_t{1} << 30}) {
      const auto engine =
          engine_with(model, by_memory ? bounded(0, 5 * block_bytes(*model), cache_bytes)
                                       : bounded(1, 0, cache_bytes));
      Mailbox mailbox;
      for (const bool has_penalty : {false, true}) {
        const int64_t n_before = engine->stats().preemptions;
        Request lesser = plain(150, 40, 5);
        lesser.urgency.background = true;
        if (has_penalty) lesser.sampling->repeat_penalty = 1.4f;
        const Ids expected = alone(lesser);
        lesser.window = 7;
        const auto sequence = engine->create_sequence({512});
        const auto nightly = engine->submit(sequence, lesser, mailbox.sink());
        mailbox.wait_for_tokens(*nightly, 7);  // it waits for its client
        const Request urgent = plain(150, 20, 6);
        const auto chat = engine->submit(engine->create_sequence({512}), urgent, mailbox.sink());
        CHECK(mailbox.wait(*chat).finish == Event::Finish::kLength);
        CHECK(mailbox.tokens(*chat) == alone(urgent));
        CHECK_EQ(engine->stats().preemptions, n_before + 1);
        CHECK_EQ(mailbox.tokens(*nightly).size(), size_t{7});
        engine->acknowledge(*nightly, 40);
        const Event done = mailbox.wait(*nightly);
        CHECK(done.finish == Event::Finish::kLength);
        CHECK(mailbox.tokens(*nightly) == expected);
        // It tells of one beginning, and of what it would have done alone.
        CHECK_EQ(done.n_evaluated + done.n_reused, 150 + 39);
        CHECK_EQ(sequence->table.size(), 150 + 39);
      }
      CHECK_EQ(mailbox.started().size(), size_t{4});
    }
  }
}

TEST("a prompt, a score and the logits of a prompt that give way are computed anew") {
  const auto model = bundled();
  const Ids ids = ids_of(300, 8);
  Session fresh(engine_with(bundled(1)), {512, CacheType::kF16, false, {}});
  const std::vector<double> scores = fresh.score(ids, 1);
  Session whole(engine_with(bundled(1)), {512, CacheType::kF16, false, {}});
  whole.prefill(ids, true);
  const std::vector<float> logits = whole.logits();
  for (const char* kind : {"text", "score", "logits"}) {
    EngineOptions options = bounded(1, 0);
    options.step_rows = 16;
    const auto engine = engine_with(model, options);
    Mailbox mailbox, of_chat;
    Request lesser = plain(300, kind == std::string("text") ? 5 : 0, 8);
    if (kind == std::string("score")) lesser.score_from = 1;
    if (kind == std::string("logits")) lesser.all_logits = true;
    lesser.urgency.background = true;
    // Urgent work comes when some of the prompt is evaluated.
    std::shared_ptr<Operation> chat;
    const auto inner = mailbox.sink();
    const auto sink = std::make_shared<const bitnet::EventSink>([&](std::vector<Event>&& events) {
      const bool is_half =
          events.back().kind == Event::Kind::kProgress && events.back().n_evaluated >= 144;
      if (is_half && !chat)
        chat = engine->submit(engine->create_sequence({64}), plain(20, 3, 9), of_chat.sink());
      (*inner)(std::move(events));
    });
    const auto sequence = engine->create_sequence({512});
    const auto nightly = engine->submit(sequence, lesser, sink);
    CHECK(mailbox.wait(*nightly).finish == Event::Finish::kLength);
    CHECK(of_chat.wait(*chat).finish == Event::Finish::kLength);
    CHECK_EQ(engine->stats().preemptions, 1);
    if (kind == std::string("text")) CHECK(mailbox.tokens(*nightly) == alone(lesser));
    if (kind == std::string("score")) CHECK(sequence->logprobs == scores);
    if (kind == std::string("logits")) CHECK(same_bits(sequence->logits, logits));
  }
}

TEST("urgent work does not give way to urgent work, nor the background to itself") {
  const auto engine = engine_with(bundled(), bounded(1, 0));
  Mailbox mailbox;
  for (const bool background : {false, true}) {
    const auto first =
        engine->submit(engine->create_sequence({512}), endless(1, background), mailbox.sink());
    mailbox.wait_for_tokens(*first, 3);
    Request second = plain(10, 2, 2);
    second.urgency.background = background;
    const auto waits = engine->submit(engine->create_sequence({512}), second, mailbox.sink());
    engine->call([] {});
    engine->call([] {});  // it would have been admitted by now
    CHECK_EQ(engine->stats().running, 1);
    CHECK_EQ(engine->stats().waiting, 1);
    engine->cancel(*first);
    CHECK(mailbox.wait(*waits).finish == Event::Finish::kLength);
  }
  CHECK_EQ(engine->stats().preemptions, 0);
}

TEST("what is cancelled while it waits is never run, and takes no memory before") {
  const auto engine = engine_with(bundled(), bounded(1, 0));
  Mailbox mailbox;
  const auto sequence = engine->create_sequence({512});
  const auto first = engine->submit(engine->create_sequence({512}), endless(1), mailbox.sink());
  mailbox.wait_for_tokens(*first, 3);
  const int64_t held = engine->stats().cache[0].held_blocks;
  const auto second = engine->submit(sequence, plain(300, 10, 2), mailbox.sink());
  engine->call([] {});
  engine->call([] {});
  const bitnet::EngineStats before = engine->stats();
  CHECK_EQ(before.waiting, 1);
  CHECK_EQ(before.cache[0].held_blocks, held);
  engine->cancel(*second);
  const Event done = mailbox.wait(*second);
  CHECK(done.finish == Event::Finish::kFailed && done.code == ErrorCode::kAborted);
  CHECK_EQ(engine->stats().rows, before.rows);
  CHECK_EQ(mailbox.started().size(), size_t{1});
  CHECK_EQ(sequence->table.size(), 0);
  // One that had begun and gave way, too.
  engine->cancel(*first);
  mailbox.wait(*first);
  const auto nightly =
      engine->submit(engine->create_sequence({512}), endless(3, true), mailbox.sink());
  mailbox.wait_for_tokens(*nightly, 3);
  const auto chat = engine->submit(engine->create_sequence({512}), endless(4), mailbox.sink());
  mailbox.wait_for_tokens(*chat, 3);
  engine->cancel(*nightly);
  CHECK(mailbox.wait(*nightly).code == ErrorCode::kAborted);
  engine->cancel(*chat);
  mailbox.wait(*chat);
}

TEST("one request against a client's hundred waits for two of them at most") {
  const auto model = bundled();
  for (const int64_t parallel : {1, 2}) {
    for (const size_t n_before : {0, 10, 37}) {
      if (kQuick && n_before > 10) continue;  // that have ended when it comes
      const auto engine = engine_with(model, bounded(parallel, 0));
      Mailbox mailbox;
      std::shared_ptr<Operation> single;
      size_t n_ended = 0;
      const auto inner = mailbox.sink();
      const auto submit_single = [&] {
        single = engine->submit(engine->create_sequence({64}), plain(30, 3, 999, "bob"), inner);
      };
      const auto sink = std::make_shared<const bitnet::EventSink>([&](std::vector<Event>&& events) {
        for (const Event& event : events) n_ended += event.kind == Event::Kind::kDone;
        if (n_before > 0 && n_ended >= n_before && !single) submit_single();
        (*inner)(std::move(events));
      });
      std::vector<std::shared_ptr<Operation>> many;
      engine->call([&] {  // the engine is busy with this while they arrive
        for (int i = 0; i < 100; ++i) {
          Request request = plain(5 + i % 20, 1 + i % 4, i, "ann");
          many.push_back(engine->submit(engine->create_sequence({64}), request, sink));
        }
        if (n_before == 0) submit_single();
      });
      for (const auto& operation : many) mailbox.wait(*operation);
      mailbox.wait(*single);
      const std::vector<uint64_t> order = mailbox.started();
      const auto place = std::find(order.begin(), order.end(), Engine::id_of(*single));
      // Those that ended, those that ran when it came, and no more than one beside them.
      CHECK(place - order.begin() <= static_cast<std::ptrdiff_t>(n_before) + parallel + 1);
    }
  }
}

TEST("the background gets a tenth of the places, and keeps what it got in its turn") {
  const auto engine = engine_with(bundled(), bounded(1, 0));
  Mailbox mailbox;
  std::vector<std::shared_ptr<Operation>> all;
  std::set<uint64_t> nightly;
  engine->call([&] {
    for (int i = 0; i < 60; ++i) {
      Request request = plain(8, 2, i);
      request.urgency.background = i % 2 == 0;
      all.push_back(engine->submit(engine->create_sequence({64}), request, mailbox.sink()));
      if (request.urgency.background) nightly.insert(Engine::id_of(*all.back()));
    }
  });
  for (const auto& operation : all) mailbox.wait(*operation);
  const std::vector<uint64_t> order = mailbox.started();
  int n = 0;
  for (size_t i = 0; i < 30; ++i) n += nightly.count(order[i]) > 0;
  CHECK_EQ(n, 3);
  CHECK_EQ(engine->stats().preemptions, 0);
}

TEST("memory that is at its end ends one text, not its neighbours and not the engine") {
  const auto model = bundled();
  const auto engine = engine_with(model, bounded(0, 3 * block_bytes(*model)));
  Mailbox mailbox;
  Request greedy = plain(50, 100000, 1);
  const auto first = engine->submit(engine->create_sequence({512}), greedy, mailbox.sink());
  CHECK(mailbox.wait(*first).finish == Event::Finish::kContext);
  CHECK_EQ(mailbox.tokens(*first).size(), size_t{3 * 64 - 50 + 1});
  // Two that fit beside each other do run beside each other.
  Request small = endless(2);
  small.max_tokens = 50;
  const auto a = engine->submit(engine->create_sequence({512}), small, mailbox.sink());
  const auto b = engine->submit(engine->create_sequence({512}), small, mailbox.sink());
  mailbox.wait_for_tokens(*a, 3);
  mailbox.wait_for_tokens(*b, 3);
  engine->cancel(*a);
  engine->cancel(*b);
  CHECK_THROWS(engine->submit(engine->create_sequence({512}), plain(193, 1, 3), mailbox.sink()),
               Error, "take more than");
  const auto last =
      engine->submit(engine->create_sequence({512}), plain(190, 2, 3), mailbox.sink());
  CHECK(mailbox.wait(*last).finish == Event::Finish::kLength);
}

TEST("answers to one prompt take its keys and values once, and the bound holds") {
  const auto model = bundled();
  const int64_t block = block_bytes(*model);
  // Three whole blocks are common; a part of the fourth, and the text, are each answer's own.
  const auto engine = engine_with(model, bounded(0, (5 + 2 * 2) * block));
  const auto answer = [](int32_t seed) {
    Request request = plain(230, 40, 9);
    request.sampling->seed = static_cast<uint64_t>(seed);
    return request;
  };
  Mailbox mailbox;
  const auto submit = [&](Request request, int64_t window) {
    request.window = window;
    return engine->submit(engine->create_sequence({512}), std::move(request), mailbox.sink());
  };
  const auto stats = [&] {
    bitnet::EngineStats out;
    engine->call([&] { out = engine->stats(); });
    return out;
  };
  const auto first = submit(answer(1), 3);
  mailbox.wait_for_tokens(*first, 3);
  const auto second = submit(answer(2), 3), third = submit(answer(3), 3);
  const auto fourth = submit(answer(4), 40);
  const auto other = submit(plain(100, 28, 10), 28);  // two blocks of its own
  (void)stats();                                      // all have arrived ...
  CHECK_EQ(stats().running, 3);                       // ... and been admitted, or not
  engine->acknowledge(*second, 40);
  CHECK(mailbox.wait(*second).finish == Event::Finish::kLength);
  CHECK(mailbox.tokens(*second) == alone(answer(2)));
  CHECK(mailbox.wait(*fourth).finish == Event::Finish::kLength);
  CHECK(mailbox.tokens(*fourth) == alone(answer(4)));
  CHECK(mailbox.wait(*other).finish == Event::Finish::kLength);
  // Who came first may go first: the prompt stays with the others.
  engine->cancel(*first);
  CHECK(mailbox.wait(*first).code == ErrorCode::kAborted);
  const auto fifth = submit(answer(5), 40);
  CHECK(mailbox.wait(*fifth).finish == Event::Finish::kLength);
  CHECK(mailbox.tokens(*fifth) == alone(answer(5)));
  CHECK(stats().cache[0].held_blocks <= 5 + 2 * 2);
  engine->acknowledge(*third, 40);
  CHECK(mailbox.wait(*third).finish == Event::Finish::kLength);
  CHECK(mailbox.tokens(*third) == alone(answer(3)));
}

TEST("an idle sequence gives its memory to a request that waits, and is computed again") {
  const auto model = bundled();
  const auto engine = engine_with(model, bounded(0, 5 * block_bytes(*model)));
  const Ids ids = ids_of(120, 4);
  Session oldest(engine, {512}), newer(engine, {512}), other(engine, {512});
  oldest.prefill(ids, false);
  const std::vector<float> logits = oldest.logits();
  newer.prefill(ids_of(100, 5), false);
  const Request request = plain(120, 5, 6);
  CHECK(other.generate(request.tokens, *request.sampling, 5).tokens == alone(request));
  CHECK_EQ(oldest.tokens().size(), size_t{0});
  CHECK_EQ(newer.tokens().size(), size_t{100});
  CHECK(same_bits(oldest.logits(), logits));  // of the last evaluation, as before
  CHECK_THROWS(oldest.step(), Error, "nothing to continue");
  CHECK_EQ(oldest.prefill(ids, false).reused, 0);
  CHECK(same_bits(oldest.logits(), logits));
}

TEST("a step that cannot hold all who decode is shared by clients, not by their sequences") {
  EngineOptions options;
  options.step_rows = 4;
  const auto engine = engine_with(bundled(), options);
  Mailbox mailbox;
  std::vector<std::shared_ptr<Operation>> many;
  std::shared_ptr<Operation> single;
  int64_t n_of_others = 0;  // tokens until the single one has ended
  bool has_ended = false;
  const auto inner = mailbox.sink();
  const auto sink = std::make_shared<const bitnet::EventSink>([&](std::vector<Event>&& events) {
    for (const Event& event : events) {
      const bool is_single = event.operation == Engine::id_of(*single);
      n_of_others += !has_ended && !is_single && event.kind == Event::Kind::kToken;
      has_ended = has_ended || (is_single && event.kind == Event::Kind::kDone);
    }
    (*inner)(std::move(events));
  });
  engine->call([&] {
    for (int i = 0; i < 12; ++i)
      many.push_back(engine->submit(engine->create_sequence({64}), plain(3, 40, i, "ann"), sink));
    single = engine->submit(engine->create_sequence({64}), plain(3, 40, 77, "bob"), sink);
  });
  CHECK(mailbox.wait(*single).finish == Event::Finish::kLength);
  for (const auto& operation : many)
    CHECK(mailbox.wait(*operation).finish == Event::Finish::kLength);
  // It has a row in each of its 40 steps, so that they have three at most.
  CHECK(n_of_others <= 3 * 40);
  CHECK(mailbox.tokens(*single) == alone(plain(3, 40, 77)));
  for (int i = 0; i < 12; ++i) CHECK(mailbox.tokens(*many[i]) == alone(plain(3, 40, i)));
}

TEST("what is evaluated anew is evaluated whole, and the same") {
  const auto engine = engine_with(bundled());
  Mailbox mailbox;
  Request request = plain(200, 10, 3);
  const auto sequence = engine->create_sequence({512});
  const Ids expected = alone(request);
  for (const bool anew : {false, false, true}) {
    request.anew = anew;
    const int64_t rows = engine->stats().rows;
    const auto operation = engine->submit(sequence, request, mailbox.sink());
    const Event done = mailbox.wait(*operation);
    CHECK_EQ(done.n_reused, rows == 0 || anew ? 0 : 199);
    CHECK(mailbox.tokens(*operation) == expected);
  }
}
