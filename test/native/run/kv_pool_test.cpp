// Tables and blocks: a position always holds what its own tokens wrote, whatever was shared,
// copied, forgotten and evicted on the way.
#include "run/kv_pool.h"

#include <algorithm>
#include <array>
#include <memory>
#include <random>

#include "check.h"
#include "formats/dequantize.h"

using bitnet::CacheType;
using bitnet::kBlockPositions;
using bitnet::KvLayout;
using bitnet::KvPool;
using bitnet::KvTable;

namespace {

using Ids = std::vector<int32_t>;

bitnet::Config small() {
  bitnet::Config config{};
  config.n_layers = 1;
  config.n_kv_heads = 1;
  config.head_dim = 16;
  return config;
}

// What stands at a position is a function of the tokens up to it: a number that q8 keeps apart.
float mark_of(const Ids& ids, int64_t position) {
  uint32_t hash = 2166136261u;
  for (int64_t i = 0; i <= position; ++i)
    hash = (hash ^ static_cast<uint32_t>(ids[static_cast<size_t>(i)])) * 16777619u;
  return static_cast<float>(hash % 2000 + 1);
}

// Evaluates as the engine does: keys and values of the tokens that the table does not know.
void write(KvTable& table, const Ids& ids) {
  const int64_t known = table.size(), n = static_cast<int64_t>(ids.size());
  table.reserve(n);
  for (int64_t p = known; p < n; ++p) {
    const std::vector<float> x(16, mark_of(ids, p));
    table.layout().store(table.block_of(p), 0, 0, p % kBlockPositions, x.data(), x.data());
  }
  table.append(std::span(ids).subspan(static_cast<size_t>(known)));
}

// Reads the f16 key back that stands at a position.
float read(const KvTable& table, int64_t position) {
  bitnet::AttentionTile tile{};
  table.layout().fill(tile, 0, 0);
  const uint8_t* block = table.blocks()[position / kBlockPositions];
  const int64_t slot = position % kBlockPositions;
  const auto* keys = reinterpret_cast<const uint16_t*>(block + tile.k_offset);
  return bitnet::f16_to_f32(keys[slot / 16 * 16 * 16 + slot % 16]);
}

void check_table(const KvTable& table, const Ids& ids) {
  CHECK(table.tokens() == ids);
  for (int64_t p = 0; p < table.size(); ++p) {
    if (read(table, p) == mark_of(ids, p)) continue;
    return check::fail(__FILE__, __LINE__, "other keys at position " + std::to_string(p));
  }
}

Ids random_ids(std::mt19937& random, size_t n) {
  Ids ids(n);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % 2);  // many sequences begin alike
  return ids;
}

}  // namespace

TEST("a table holds its own tokens' keys through any order of adopting, cutting and evicting") {
  std::mt19937 random(7);
  for (int round = 0; round < 40; ++round) {
    const KvLayout layout(small(), CacheType::kF16);
    const auto pool =
        std::make_shared<KvPool>(layout, static_cast<int64_t>(random() % 8) * layout.block_bytes());
    const Ids base = random_ids(random, 400);
    std::vector<std::unique_ptr<KvTable>> tables;
    std::vector<Ids> expected;
    for (int i = 0; i < 5; ++i) {
      tables.push_back(std::make_unique<KvTable>(pool, i != 4, i == 3 ? "other" : ""));
      expected.emplace_back();
    }
    for (int step = 0; step < 60; ++step) {
      const size_t t = random() % tables.size();
      if (random() % 6 == 0) {  // a client leaves, another comes
        tables[t] = std::make_unique<KvTable>(pool, t != 4, t == 3 ? "other" : "");
        expected[t].clear();
      } else if (random() % 4 == 0) {
        const int64_t n = static_cast<int64_t>(random() % (expected[t].size() + 1));
        tables[t]->truncate(n);
        expected[t].resize(static_cast<size_t>(n));
      } else {
        Ids ids(base.begin(), base.begin() + static_cast<int64_t>(random() % 300));
        for (const int32_t id : random_ids(random, 1 + random() % 90)) ids.push_back(id);
        const int64_t most = static_cast<int64_t>(ids.size()) - 1;
        const int64_t known = tables[t]->adopt(ids, most, random() % 5 == 0);
        CHECK(known <= most);
        CHECK_EQ(known, tables[t]->size());
        check_table(*tables[t], Ids(ids.begin(), ids.begin() + known));
        write(*tables[t], ids);
        expected[t] = ids;
      }
      for (size_t i = 0; i < tables.size(); ++i) check_table(*tables[i], expected[i]);
      const KvPool::Usage usage = pool->usage();
      CHECK(usage.held_blocks <= 5 * 7);
      std::vector<bitnet::KvClaim> claims;
      for (const auto& table : tables) claims.push_back({table.get(), 0});
      CHECK_EQ(pool->count_claimed(claims), usage.held_blocks);
    }
    tables.clear();
    CHECK_EQ(pool->usage().held_blocks, 0);
  }
}

TEST("a table that does not share neither finds others nor is found") {
  const auto pool = std::make_shared<KvPool>(KvLayout(small(), CacheType::kF16), 1 << 30);
  std::mt19937 random(1);
  const Ids ids = random_ids(random, 200);
  KvTable shares(pool, true), alone(pool, false), later(pool, true);
  write(alone, ids);
  CHECK_EQ(shares.adopt(ids, 199), 0);
  write(shares, ids);
  KvTable also_alone(pool, false);
  CHECK_EQ(also_alone.adopt(ids, 199), 0);
  CHECK_EQ(later.adopt(ids, 199, true), 0);
  CHECK_EQ(later.adopt(ids, 199), 192);
}

TEST("a published beginning is shared by all salts, and what follows it by none") {
  const auto pool = std::make_shared<KvPool>(KvLayout(small(), CacheType::kF16), 1 << 30);
  std::mt19937 random(1);
  const Ids ids = random_ids(random, 300);
  pool->publish(std::span(ids).first(150));  // two whole blocks
  KvTable a(pool, true, "a"), b(pool, true, "b"), again(pool, true, "a");
  write(a, ids);
  CHECK_EQ(b.adopt(ids, 299), 128);
  write(b, ids);
  CHECK_EQ(pool->usage().held_blocks, 2 + 2 * 3);  // each its own third, fourth and last block
  check_table(a, ids);
  check_table(b, ids);
  CHECK_EQ(again.adopt(ids, 299), 256);
  // One that begins otherwise shares nothing with another salt.
  Ids other = ids;
  other[100] ^= 1;
  KvTable c(pool, true, "c"), d(pool, true, "d");
  write(c, other);
  CHECK_EQ(d.adopt(other, 299), 100);  // of the published beginning, inside its second block
  CHECK_EQ(KvTable(pool, true, "c").adopt(other, 299), 256);
}

TEST("equal blocks of two sequences that run at once become one") {
  const auto pool = std::make_shared<KvPool>(KvLayout(small(), CacheType::kF16), 0);
  std::mt19937 random(1);
  const Ids ids = random_ids(random, 128);
  KvTable a(pool, true), b(pool, true);
  write(a, ids);
  write(b, ids);
  CHECK_EQ(pool->usage().held_blocks, 2);
  check_table(a, ids);
  check_table(b, ids);
}

TEST("the block that was used least lately goes first, and never before its successors") {
  const KvLayout layout(small(), CacheType::kF16);
  const auto pool = std::make_shared<KvPool>(layout, 4 * layout.block_bytes());
  Ids first(200, 1), second(200, 2);
  write(*std::make_unique<KvTable>(pool, true), first);   // three blocks
  write(*std::make_unique<KvTable>(pool, true), second);  // three more: two of the first must go
  CHECK_EQ(pool->usage().cached_blocks, 4);
  CHECK_EQ(KvTable(pool, true).adopt(second, 199), 192);
  CHECK_EQ(KvTable(pool, true).adopt(first, 199), 64);
}

TEST("what several tables hold counts once, beside all that each may still take") {
  const auto pool = std::make_shared<KvPool>(KvLayout(small(), CacheType::kF16), 0);
  std::mt19937 random(1);
  const Ids ids = random_ids(random, 200);  // three whole blocks and a part
  KvTable first(pool, true), second(pool, true), alone(pool, false);
  write(first, ids);
  const std::span<const int32_t> all(ids);
  CHECK_EQ(pool->count_claimed(std::array{bitnet::KvClaim{&first, 5}}), 5);
  CHECK_EQ(pool->count_claimed(
               std::array{bitnet::KvClaim{&first, 5}, bitnet::KvClaim{&second, 5, all, 199}}),
           5 + 2);
  CHECK_EQ(pool->count_claimed(
               std::array{bitnet::KvClaim{&first, 5}, bitnet::KvClaim{&second, 5, all, 199, true}}),
           5 + 5);
  CHECK_EQ(pool->count_claimed(
               std::array{bitnet::KvClaim{&first, 5}, bitnet::KvClaim{&alone, 5, all, 199}}),
           5 + 5);
  second.adopt(ids, 199);
  CHECK_EQ(pool->count_claimed(std::array{bitnet::KvClaim{&first, 5}, bitnet::KvClaim{&second, 5}}),
           5 + 2);
  first.truncate(0);  // what it leaves to the other one counts still
  CHECK_EQ(pool->count_claimed(std::array{bitnet::KvClaim{&first, 0}, bitnet::KvClaim{&second, 5}}),
           5);
}

TEST("thousands of prompts leave in the order of their last use") {
  const KvLayout layout(small(), CacheType::kF16);
  const int n = 8000, n_kept = 2000;
  const auto pool = std::make_shared<KvPool>(layout, 2 * n_kept * layout.block_bytes());
  const auto prompt = [](int i) {
    Ids ids(128, i);  // two blocks, of which the first is common to eight prompts
    std::fill_n(ids.begin(), kBlockPositions, i / 8);
    return ids;
  };
  for (int i = 0; i < n; ++i) write(*std::make_unique<KvTable>(pool, true), prompt(i));
  CHECK_EQ(pool->usage().cached_blocks, 2 * n_kept);
  const int n_found = 2 * n_kept * 8 / 9;  // eight of nine blocks are a prompt's own
  for (int i = n - 1; i >= 0; --i) {
    const int64_t known = KvTable(pool, true).adopt(prompt(i), 128);
    if (i > n - n_found) CHECK_EQ(known, 128);
    if (i < n - n_found - 8) CHECK_EQ(known, 0);
  }
}
