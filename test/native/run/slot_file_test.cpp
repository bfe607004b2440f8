// Sequences as files: what comes back is what was saved, and no file does harm.
#include "run/slot_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "base/error.h"
#include "engine_cases.h"

using namespace engine_cases;

namespace {

using Bytes = std::vector<char>;

Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), std::ssize(bytes));
}

// Deleted at the end.
struct Path {
  const std::string name;
  explicit Path(const char* suffix)
      : name((std::filesystem::temp_directory_path() /
              ("bitnet-slot-" + std::to_string(std::random_device{}()) + suffix))
                 .string()) {}
  ~Path() { std::filesystem::remove(name); }
};

Event run(Engine& engine, const std::shared_ptr<Sequence>& sequence, const Ids& ids) {
  Mailbox mailbox;
  Request request;
  request.tokens = ids;
  return mailbox.wait(*engine.submit(sequence, request, mailbox.sink()));
}

ErrorCode code_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.code;
  }
  return ErrorCode::kInternal;
}

}  // namespace

TEST("a sequence that was saved comes back in another engine, with the same bits") {
  const Path path(".slot");
  for (const CacheType type : {CacheType::kF16, CacheType::kQ8}) {
    for (const int n : {1, 63, 64, 65, 300}) {
      const Ids ids = ids_of(n, 5), longer = ids_of(n + 20, 5);
      const auto first = engine_with(bundled(1)), second = engine_with(bundled(2));
      const auto saved = first->create_sequence({512, type}),
                 alone = first->create_sequence({512, type, false, {}});
      run(*first, saved, ids);
      const Engine::Slot slot = first->save(*saved, path.name);
      CHECK_EQ(slot.n_tokens, n);
      CHECK_EQ(slot.n_bytes, static_cast<int64_t>(std::filesystem::file_size(path.name)));
      const auto restored = second->create_sequence({400, type});
      run(*second, restored, ids_of(30, 77));  // it holds something else
      CHECK_EQ(second->restore(*restored, path.name).n_tokens, n);
      CHECK(restored->table.tokens() == ids);
      CHECK_EQ(run(*second, restored, longer).n_reused, n);
      run(*first, alone, longer);
      CHECK(same_bits(second->logits(*restored), first->logits(*alone)));
      // It comes from a file: others do not find it, nor what follows it.
      CHECK_EQ(run(*second, second->create_sequence({512, type}), longer).n_reused, 0);
      // Once nothing of it is left, they do.
      run(*second, restored, ids_of(100, 78));
      CHECK_EQ(run(*second, second->create_sequence({512, type}), ids_of(100, 78)).n_reused, 64);
    }
  }
}

TEST("equal sequences are equal files, whatever their memory held before") {
  const Path a(".a"), b(".b");
  const auto engine = engine_with(bundled());
  const Ids ids = ids_of(70, 5);
  const auto sequence = engine->create_sequence({512, CacheType::kQ8, false, {}});
  run(*engine, sequence, ids);
  engine->save(*sequence, a.name);
  run(*engine, sequence, ids_of(200, 9));
  run(*engine, sequence, ids);
  engine->save(*sequence, b.name);
  CHECK(read_file(a.name) == read_file(b.name));
}

TEST("a file of another model, cache or context is refused, and the sequence is as before") {
  const Path path(".slot");
  const auto engine = engine_with(bundled());
  const auto saved = engine->create_sequence({512});
  run(*engine, saved, ids_of(70, 5));
  engine->save(*saved, path.name);
  const Ids own = ids_of(40, 6);
  const auto refused = [&](const std::shared_ptr<Engine>& by, const SequenceOptions& options,
                           const char* part) {
    const auto sequence = by->create_sequence(options);
    run(*by, sequence, own);
    const std::vector<float> logits = by->logits(*sequence);
    CHECK_THROWS(by->restore(*sequence, path.name), Error, part);
    CHECK(code_of([&] { by->restore(*sequence, path.name); }) == ErrorCode::kUsage);
    CHECK(sequence->table.tokens() == own && !sequence->busy && !sequence->is_pinned);
    CHECK(same_bits(by->logits(*sequence), logits));
  };
  refused(engine, {512, CacheType::kQ8}, "cache of type f16, this one of type q8");
  refused(engine, {69}, "has 70 tokens, more than the context of 69");
  refused(engine_with(load("golden/llama-TQ2_0-q6_k.gguf", 1)), {512}, "another model");
  bitnet::LoadOptions scalar;
  scalar.n_threads = 1;
  scalar.kernel = "scalar";
  const std::shared_ptr<Model> model =
      Model::load(check::data("tiny-bitnet/tiny-bitnet.gguf"), scalar);
  if (std::string(engine->model().kernels.name) != "scalar")
    refused(engine_with(model), {512}, "round otherwise");
}

TEST("no damaged or cut file is taken, none does harm, and the sequence is as before") {
  const Path good(".good"), bad(".bad");
  const auto engine = engine_with(bundled());
  const auto sequence = engine->create_sequence({512});
  const Ids ids = ids_of(70, 5);
  run(*engine, sequence, ids);
  engine->save(*sequence, good.name);
  const Bytes bytes = read_file(good.name);
  const auto refused = [&](const Bytes& content) {
    write_file(bad.name, content);
    const ErrorCode code = code_of([&] { engine->restore(*sequence, bad.name); });
    CHECK(code == ErrorCode::kBadFile || code == ErrorCode::kUsage);
    CHECK(sequence->table.tokens() == ids && !sequence->busy);
  };
  std::mt19937 random(3);
  for (const size_t n :
       {size_t{0}, size_t{1}, size_t{79}, size_t{80}, size_t{200}, bytes.size() - 1})
    refused(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n)));
  Bytes longer = bytes;
  longer.push_back(0);
  refused(longer);
  // Every byte of the header, and of the ids; then any. Zeros between them are not read.
  const size_t n_ids_end = 80 + 70 * 4, n_data = (n_ids_end + 63) / 64 * 64;
  for (int round = 0; round < (kQuick ? 50 : 400); ++round) {
    Bytes damaged = bytes;
    size_t at = static_cast<size_t>(round) < n_ids_end ? static_cast<size_t>(round)
                                                       : random() % bytes.size();
    if (at >= n_ids_end && at < n_data) at = n_data;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << random() % 8));
    refused(damaged);
  }
  // Numbers that would overflow sizes.
  for (const uint64_t n : {~uint64_t{0}, uint64_t{1} << 62, uint64_t{1} << 32, uint64_t{513}}) {
    Bytes huge = bytes;
    std::memcpy(huge.data() + 64, &n, sizeof n);
    refused(huge);
  }
  CHECK(code_of([&] { engine->restore(*sequence, "/nowhere/x"); }) == ErrorCode::kNotFound);
  CHECK(code_of([&] { engine->restore(*sequence, "/"); }) == ErrorCode::kNotFound);
  CHECK(code_of([&] { engine->save(*sequence, "/nowhere/x"); }) == ErrorCode::kNotFound);
  CHECK_EQ(engine->stats().cache[0].held_blocks, 2);
  CHECK_EQ(engine->restore(*sequence, good.name).n_tokens, 70);
}

TEST("a restored sequence takes its memory from the bound for all, or waits for nobody's") {
  const Path path(".slot");
  const auto model = bundled();
  EngineOptions options;
  options.kv_bytes = 5 * bitnet::KvLayout(model->config, CacheType::kF16).block_bytes();
  options.cache_bytes = 0;
  const auto engine = engine_with(model, options);
  const Ids ids = ids_of(120, 5);
  const auto sequence = engine->create_sequence({512}), idle = engine->create_sequence({512});
  run(*engine, sequence, ids);
  engine->save(*sequence, path.name);
  run(*engine, idle, ids_of(120, 6));
  engine->restore(*sequence, path.name);  // two blocks beside the two that it has until then
  CHECK_EQ(idle->table.size(), 0);
  CHECK(sequence->table.tokens() == ids);
  // Somebody who runs has all of it.
  Mailbox mailbox;
  Request request;
  request.tokens = ids_of(60, 7);
  request.max_tokens = 250;
  request.sampling.emplace();
  request.window = 3;
  const auto running = engine->submit(engine->create_sequence({512}), request, mailbox.sink());
  mailbox.wait_for_tokens(*running, 3);
  CHECK_THROWS(engine->restore(*idle, path.name), Error, "more than is free");
  engine->cancel(*running);
  mailbox.wait(*running);
  CHECK_EQ(engine->restore(*idle, path.name).n_tokens, 120);
}
