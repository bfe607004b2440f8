// Keys and values: blocks of 64 positions that sequences hold in tables, and an index that finds
// what any sequence has evaluated already.
//
// A block holds all layers of its positions, so that a sequence is a short list of blocks. Full
// blocks of tables that share are found by what they depend on: the blocks before them and their
// own tokens, compared, not only hashed. Blocks that no table holds stay as a cache of limited
// size; the least recently used one without a successor goes first.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "base/aligned.h"
#include "kernels/kernels.h"
#include "model/model.h"

namespace bitnet {

enum class CacheType { kF16, kQ8 };

// The chunk of the running softmax: a block is what attention takes at a time.
constexpr int64_t kBlockPositions = kAttentionChunk;

// Where the keys and values of a position lie in a block: for each layer and key/value head the
// arrays that AttentionTile describes, f16, or int8 with a factor for each key and value of a head
// (largest magnitude / 127).
class KvLayout {
 public:
  KvLayout(int64_t n_layers, int64_t n_heads, int64_t head_dim, CacheType type);
  KvLayout(const Config& config, CacheType type)
      : KvLayout(config.n_layers, config.n_kv_heads, config.head_dim, type) {}

  CacheType type() const { return type_; }
  int64_t n_layers() const { return n_layers_; }
  int64_t n_heads() const { return n_heads_; }
  int64_t head_dim() const { return head_dim_; }
  int64_t v_stride() const { return v_stride_; }
  int64_t block_bytes() const { return n_layers_ * n_heads_ * head_bytes_; }
  int64_t position_bytes() const { return block_bytes() / kBlockPositions; }
  // Of a context of so many tokens, in whole blocks.
  static int64_t blocks_for(int64_t n_ctx);
  int64_t context_bytes(int64_t n_ctx) const { return blocks_for(n_ctx) * block_bytes(); }

  // Points a tile at a head of a layer, in any table's blocks.
  void fill(AttentionTile& tile, int64_t layer, int64_t head) const;
  // k and v [head_dim] of one head at a position of the block, 0 to 63, rounded.
  void store(uint8_t* block, int64_t layer, int64_t head, int64_t slot, const float* k,
             const float* v) const;

 private:
  int64_t offset(int64_t layer, int64_t head) const {
    return (layer * n_heads_ + head) * head_bytes_;
  }

  CacheType type_;
  int64_t n_layers_, n_heads_, head_dim_, v_stride_;
  // Of one head of a layer: values, then the factors of keys and of values, after the keys.
  int64_t v_offset_, k_scale_offset_, head_bytes_;
};

struct KvBlock;

// What a block is found by among those that follow the same block: who may find it, and its tokens.
// They are in order, so that what agrees longest with a sequence stands beside its place.
struct KvKey {
  bool is_public;  // everybody may, else those of the salt
  std::string_view salt;
  std::span<const int32_t> ids;
};
struct KvOrder {
  using is_transparent = void;
  bool operator()(const KvBlock* a, const KvBlock* b) const;
  bool operator()(const KvBlock* a, const KvKey& b) const;
  bool operator()(const KvKey& a, const KvBlock* b) const;
};

struct KvBlock {
  uint8_t* data = nullptr;
  int64_t n_tables = 0;  // that hold it
  // In the index; null, and no children, while it is not full or not shared.
  KvBlock* parent = nullptr;
  std::set<KvBlock*, KvOrder> children{};
  int32_t ids[kBlockPositions] = {};
  std::string salt{};      // of who may find it ...
  bool is_public = false;  // ... unless everybody may
  uint64_t realm = 0;      // of a root
  uint64_t last_used = 0;  // of the pool's clock, when the last table let it go
  uint64_t counted = 0;    // the last count that it was part of
};

class KvTable;

// What a table holds and may come to hold: `n_blocks` in all, or what it holds already if that is
// more. With `ids`, it is going to adopt these first, of which `most` and `own_only` are the
// arguments.
struct KvClaim {
  const KvTable* table;
  int64_t n_blocks;
  std::span<const int32_t> ids{};
  int64_t most = 0;
  bool own_only = false;
};

// Safe from any thread; the data of a block only from who holds it.
class KvPool {
 public:
  // cache_bytes: what blocks that no table holds, and memory that waits for new ones, may keep.
  KvPool(const KvLayout& layout, int64_t cache_bytes);
  const KvLayout& layout() const { return layout_; }

  // Whatever its salt, a sequence that begins with these tokens shares their whole blocks with all
  // others of its realm: the beginning is nobody's secret. Before any table takes blocks.
  void publish(std::span<const int32_t> ids);

  struct Usage {
    int64_t held_blocks, cached_blocks, block_bytes;
  };
  Usage usage() const;
  // Blocks that all of these take together: one that several of them hold counts once. The tables
  // are of this pool, and those that adopt are nobody else's meanwhile.
  int64_t count_claimed(std::span<const KvClaim> claims);

 private:
  friend class KvTable;
  // All of these with the mutex held.
  KvBlock* allocate();  // throws std::bad_alloc
  void release(KvBlock* block);
  void hold(KvBlock* block);
  int64_t count_public(std::span<const int32_t> ids) const;
  KvBlock* find_root(const KvTable& table, bool is_public) const;
  KvBlock* insert(KvBlock* block, const KvTable& table, KvBlock* parent, const int32_t* ids,
                  bool is_public);
  void evict(int64_t most_bytes);
  void forget(KvBlock* leaf);
  void discard(KvBlock* block);
  uint8_t* take_memory();

  const KvLayout layout_;
  const int64_t cache_bytes_;
  mutable std::mutex mutex_;
  std::vector<HugeArray> slabs_;  // memory of many blocks each
  // Of the slabs: memory of former blocks that still has its pages, and memory without.
  std::vector<uint8_t*> warm_, cold_;
  std::map<KvBlock*, std::unique_ptr<KvBlock>> blocks_;
  // One for what everybody in a realm may find, and one for each salt in it; no data.
  using RootKey = std::tuple<uint64_t, bool, std::string>;
  static RootKey root_key(uint64_t realm, bool is_public, const std::string& salt) {
    return {realm, is_public, is_public ? std::string() : salt};
  }
  std::map<RootKey, KvBlock> roots_;
  std::vector<int32_t> public_ids_;
  int64_t n_cached_ = 0;  // blocks in the index that no table holds
  // Of these, those without a successor, by their last use.
  std::set<std::pair<uint64_t, KvBlock*>> leaves_;
  uint64_t clock_ = 0;
  uint64_t n_counts_ = 0;
};

// The blocks of one sequence, and the tokens whose keys and values are in them.
class KvTable {
 public:
  // share: offer full blocks to other tables of the same salt and realm, and take theirs. The realm
  // is what keys and values depend on beside their tokens: the key of an AdapterSet.
  KvTable(std::shared_ptr<KvPool> pool, bool share, std::string salt = {}, uint64_t realm = 0);
  ~KvTable();
  KvTable(const KvTable&) = delete;
  KvTable& operator=(const KvTable&) = delete;

  // Keeps, or takes from other tables, what is known of a sequence that begins with `ids`, at most
  // `most` positions of it. Returns how many: tokens() is then this prefix. own_only: nothing from
  // other tables. Throws std::bad_alloc.
  int64_t adopt(std::span<const int32_t> ids, int64_t most, bool own_only = false);
  // Forgets all but the first n positions, and the room for more.
  void truncate(int64_t n);
  // Makes room for n positions in all; those beyond tokens() may then be written. Throws
  // std::bad_alloc.
  void reserve(int64_t n);
  // The positions after tokens() now hold these.
  void append(std::span<const int32_t> ids);

  // What another table of the pool holds, which is empty then. Nobody else finds it.
  void take(KvTable& other);

  const std::vector<int32_t>& tokens() const { return tokens_; }
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t n_blocks() const { return static_cast<int64_t>(blocks_.size()); }
  const KvLayout& layout() const { return pool_->layout(); }
  const uint8_t* const* blocks() const { return data_.data(); }
  uint8_t* block_of(int64_t position) const {
    return blocks_[static_cast<size_t>(position / kBlockPositions)]->data;
  }

 private:
  friend class KvPool;
  // What is known of a sequence, here and in the index.
  struct Known {
    int64_t n_own;                // positions that the table holds itself
    size_t n_kept;                // whole blocks of these that stay; others follow them:
    std::vector<KvBlock*> found;  // whole
    KvBlock* part = nullptr;      // of which only a beginning agrees
    int64_t n = 0;                // positions in all, at least n_own
  };
  // With the pool's mutex held.
  Known find(std::span<const int32_t> ids, int64_t most, bool own_only) const;
  void drop_blocks(size_t n_kept);
  void push(KvBlock* block);
  void keep(int64_t n);

  std::shared_ptr<KvPool> pool_;
  const bool share_;
  const std::string salt_;
  const uint64_t realm_;
  bool is_foreign_ = false;  // what is held was not evaluated here, until nothing of it is left
  std::vector<int32_t> tokens_;
  std::vector<KvBlock*> blocks_;      // a block that is not full is in no other table
  std::vector<const uint8_t*> data_;  // of blocks_
};

}  // namespace bitnet
