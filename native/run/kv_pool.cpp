#include "run/kv_pool.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <iterator>
#include <utility>

#include "base/numbers.h"
#include "formats/dequantize.h"

namespace bitnet {

namespace {

constexpr int64_t kGroup = 16;  // positions of keys that lie side by side
// Memory is reserved for many blocks at once where pages are taken at their first use: huge pages
// are then not cut to the size of a block.
constexpr int64_t kSlabBytes = int64_t{64} << 20;

// to[i * step] = x[i] / factor to the nearest integer, half to even; returns factor = max|x| / 127.
float quantize_vector(const float* x, int64_t n, int8_t* to, int64_t step) {
  float most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::fabs(x[i]));
  const float inverse = most > 0 ? 127 / most : 0;
  for (int64_t i = 0; i < n; ++i)
    to[i * step] = static_cast<int8_t>(round_half_even(x[i] * inverse));
  return most / 127;
}

int64_t common_prefix(const int32_t* a, const int32_t* b, int64_t n) {
  return std::mismatch(a, a + n, b).first - a;
}

KvKey key_of(const KvBlock& block) { return {block.is_public, block.salt, block.ids}; }

bool is_before(const KvKey& a, const KvKey& b) {
  if (a.is_public != b.is_public) return b.is_public;
  if (const int order = a.salt.compare(b.salt); order != 0) return order < 0;
  return std::lexicographical_compare(a.ids.begin(), a.ids.end(), b.ids.begin(), b.ids.end());
}

// Under which keys somebody of this salt finds blocks with these tokens.
std::array<KvKey, 2> keys_for(const std::string& salt, std::span<const int32_t> ids) {
  return {KvKey{true, {}, ids}, KvKey{false, salt, ids}};
}

KvBlock* find_child(const KvBlock& parent, const std::string& salt, const int32_t* ids) {
  for (const KvKey& key : keys_for(salt, {ids, static_cast<size_t>(kBlockPositions)})) {
    const auto found = parent.children.find(key);
    if (found != parent.children.end()) return *found;
  }
  return nullptr;
}

// The child that begins most like ids [n], and how many positions of it.
std::pair<KvBlock*, int64_t> nearest_child(const KvBlock& parent, const std::string& salt,
                                           const int32_t* ids, int64_t n) {
  std::pair<KvBlock*, int64_t> best{nullptr, 0};
  const auto consider = [&](KvBlock* child, const KvKey& key) {
    if (child->is_public != key.is_public || child->salt != key.salt) return;
    const int64_t common = common_prefix(child->ids, ids, n);
    if (common > best.second) best = {child, common};
  };
  for (const KvKey& key : keys_for(salt, {ids, static_cast<size_t>(n)})) {
    const auto after = parent.children.lower_bound(key);
    if (after != parent.children.end()) consider(*after, key);
    if (after != parent.children.begin()) consider(*std::prev(after), key);
  }
  return best;
}

size_t blocks_for(int64_t n_positions) {
  return static_cast<size_t>(KvLayout::blocks_for(n_positions));
}

}  // namespace

// ---- What a block looks like

KvLayout::KvLayout(int64_t n_layers, int64_t n_heads, int64_t head_dim, CacheType type)
    : type_(type),
      n_layers_(n_layers),
      n_heads_(n_heads),
      head_dim_(head_dim),
      v_stride_(round_up(head_dim, 16)) {
  const int64_t size = type == CacheType::kF16 ? 2 : 1;
  v_offset_ = kBlockPositions * head_dim_ * size;
  k_scale_offset_ = v_offset_ + kBlockPositions * v_stride_ * size;
  const int64_t factors = type == CacheType::kF16 ? 0 : 2 * kBlockPositions;
  head_bytes_ = k_scale_offset_ + factors * static_cast<int64_t>(sizeof(float));
}

int64_t KvLayout::blocks_for(int64_t n_ctx) {
  return (n_ctx + kBlockPositions - 1) / kBlockPositions;
}

void KvLayout::fill(AttentionTile& tile, int64_t layer, int64_t head) const {
  const int64_t at = offset(layer, head);
  tile.k_offset = at;
  tile.v_offset = at + v_offset_;
  tile.is_q8 = type_ == CacheType::kQ8;
  tile.k_scale_offset = at + k_scale_offset_;
  tile.v_scale_offset = tile.k_scale_offset + kBlockPositions * static_cast<int64_t>(sizeof(float));
  tile.head_dim = static_cast<int>(head_dim_);
  tile.v_stride = static_cast<int>(v_stride_);
}

void KvLayout::store(uint8_t* block, int64_t layer, int64_t head, int64_t slot, const float* k,
                     const float* v) const {
  uint8_t* at = block + offset(layer, head);
  const int64_t key_at = slot / kGroup * kGroup * head_dim_ + slot % kGroup;
  if (type_ == CacheType::kQ8) {
    int8_t* keys = reinterpret_cast<int8_t*>(at);
    int8_t* values = reinterpret_cast<int8_t*>(at + v_offset_);
    float* factors = reinterpret_cast<float*>(at + k_scale_offset_);
    factors[slot] = quantize_vector(k, head_dim_, keys + key_at, kGroup);
    factors[kBlockPositions + slot] = quantize_vector(v, head_dim_, values + slot * v_stride_, 1);
    return;
  }
  uint16_t* keys = reinterpret_cast<uint16_t*>(at);
  uint16_t* values = reinterpret_cast<uint16_t*>(at + v_offset_);
  for (int64_t d = 0; d < head_dim_; ++d) keys[key_at + d * kGroup] = f32_to_f16(k[d]);
  for (int64_t d = 0; d < head_dim_; ++d) values[slot * v_stride_ + d] = f32_to_f16(v[d]);
}

// ---- The pool

bool KvOrder::operator()(const KvBlock* a, const KvBlock* b) const {
  return is_before(key_of(*a), key_of(*b));
}
bool KvOrder::operator()(const KvBlock* a, const KvKey& b) const {
  return is_before(key_of(*a), b);
}
bool KvOrder::operator()(const KvKey& a, const KvBlock* b) const {
  return is_before(a, key_of(*b));
}

KvPool::KvPool(const KvLayout& layout, int64_t cache_bytes)
    : layout_(layout), cache_bytes_(cache_bytes) {}

KvPool::Usage KvPool::usage() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return {static_cast<int64_t>(blocks_.size()) - n_cached_, n_cached_, layout_.block_bytes()};
}

uint8_t* KvPool::take_memory() {
  if (warm_.empty() && cold_.empty()) {
    const int64_t size = layout_.block_bytes();
    const int64_t n = HugeArray::available() ? std::max<int64_t>(1, kSlabBytes / size) : 1;
    slabs_.emplace_back(static_cast<size_t>(n * size));
    for (int64_t i = n - 1; i >= 0; --i) cold_.push_back(slabs_.back().data() + i * size);
  }
  std::vector<uint8_t*>& from = warm_.empty() ? cold_ : warm_;
  uint8_t* memory = from.back();
  from.pop_back();
  return memory;
}

KvBlock* KvPool::allocate() {
  auto block = std::make_unique<KvBlock>();
  try {
    block->data = take_memory();
  } catch (const std::bad_alloc&) {
    if (n_cached_ == 0) throw;
    evict(0);
    block->data = take_memory();
  }
  block->n_tables = 1;
  KvBlock* out = block.get();
  blocks_.emplace(out, std::move(block));
  return out;
}

void KvPool::hold(KvBlock* block) {
  if (block->n_tables++ > 0) return;
  --n_cached_;
  leaves_.erase({block->last_used, block});
}

void KvPool::release(KvBlock* block) {
  if (--block->n_tables > 0) return;
  if (!block->parent) return discard(block);
  block->last_used = ++clock_;
  ++n_cached_;
  if (block->children.empty()) leaves_.emplace(block->last_used, block);
}

void KvPool::discard(KvBlock* block) {
  const int64_t n_kept = n_cached_ + static_cast<int64_t>(warm_.size()) + 1;
  if (n_kept * layout_.block_bytes() <= cache_bytes_) {
    warm_.push_back(block->data);
  } else {
    HugeArray::discard(block->data, static_cast<size_t>(layout_.block_bytes()));
    cold_.push_back(block->data);
  }
  blocks_.erase(block);
}

void KvPool::publish(std::span<const int32_t> ids) {
  std::lock_guard<std::mutex> lock(mutex_);
  public_ids_.assign(ids.begin(), ids.end());
}

// How many positions of a sequence that begins with `ids` lie in whole blocks that everybody may
// find.
int64_t KvPool::count_public(std::span<const int32_t> ids) const {
  const int64_t n = static_cast<int64_t>(std::min(ids.size(), public_ids_.size()));
  const int64_t common = common_prefix(ids.data(), public_ids_.data(), n);
  return common - common % kBlockPositions;
}

KvBlock* KvPool::find_root(const KvTable& table, bool is_public) const {
  const auto found = roots_.find(root_key(table.realm_, is_public, table.salt_));
  return found == roots_.end() ? nullptr : const_cast<KvBlock*>(&found->second);
}

// Puts a full block into the index, or finds the one that is there already: both hold the same
// bits, as those of a position depend on nothing but the realm and the tokens up to it.
KvBlock* KvPool::insert(KvBlock* block, const KvTable& table, KvBlock* parent, const int32_t* ids,
                        bool is_public) {
  const std::string& salt = table.salt_;
  if (!parent) {
    parent = &roots_[root_key(table.realm_, is_public, salt)];
    parent->realm = table.realm_;
    parent->is_public = is_public;
    parent->salt = is_public ? std::string() : salt;
  }
  if (KvBlock* known = find_child(*parent, salt, ids)) return known;
  block->parent = parent;
  block->salt = is_public ? std::string() : salt;
  block->is_public = is_public;
  std::copy_n(ids, kBlockPositions, block->ids);
  parent->children.insert(block);
  return block;
}

// A block that a table holds has only parents that this table holds too. So the blocks that no
// table holds end in leaves that can go.
void KvPool::evict(int64_t most_bytes) {
  while (n_cached_ * layout_.block_bytes() > most_bytes) forget(leaves_.begin()->second);
}

void KvPool::forget(KvBlock* leaf) {
  KvBlock* parent = leaf->parent;
  leaves_.erase({leaf->last_used, leaf});
  parent->children.erase(leaf);
  --n_cached_;
  discard(leaf);
  if (!parent->children.empty()) return;
  if (!parent->data)
    roots_.erase(root_key(parent->realm, parent->is_public, parent->salt));
  else if (parent->n_tables == 0)
    leaves_.emplace(parent->last_used, parent);
}

int64_t KvPool::count_claimed(std::span<const KvClaim> claims) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++n_counts_;
  int64_t n = 0;
  const auto count = [&](std::span<KvBlock* const> blocks) {
    for (KvBlock* block : blocks) n += std::exchange(block->counted, n_counts_) != n_counts_;
    return static_cast<int64_t>(blocks.size());
  };
  for (const KvClaim& claim : claims) {
    const std::span<KvBlock* const> held(claim.table->blocks_);
    int64_t n_known = 0;
    if (claim.ids.empty()) {
      n_known = count(held);
    } else {
      const auto known = claim.table->find(claim.ids, claim.most, claim.own_only);
      n_known = count(held.first(known.n_kept)) + count(known.found);
    }
    n += std::max<int64_t>(0, claim.n_blocks - n_known);
  }
  return n;
}

// ---- A sequence's table

KvTable::KvTable(std::shared_ptr<KvPool> pool, bool share, std::string salt, uint64_t realm)
    : pool_(std::move(pool)), share_(share), salt_(std::move(salt)), realm_(realm) {}

KvTable::~KvTable() {
  std::lock_guard<std::mutex> lock(pool_->mutex_);
  drop_blocks(0);
}

void KvTable::drop_blocks(size_t n_kept) {
  while (blocks_.size() > n_kept) {
    pool_->release(blocks_.back());
    blocks_.pop_back();
  }
  data_.resize(blocks_.size());
  pool_->evict(pool_->cache_bytes_);
}

void KvTable::push(KvBlock* block) {
  blocks_.push_back(block);
  data_.push_back(block->data);
}

// The first n positions. A last block that others may take, or have taken, is copied: it would be
// written next.
void KvTable::keep(int64_t n) {
  const size_t n_blocks = blocks_for(n);
  if (n % kBlockPositions != 0 && blocks_[n_blocks - 1]->parent) {
    KvBlock* copy = pool_->allocate();
    std::memcpy(copy->data, blocks_[n_blocks - 1]->data,
                static_cast<size_t>(layout().block_bytes()));
    drop_blocks(n_blocks - 1);
    push(copy);
  } else {
    drop_blocks(n_blocks);
  }
  tokens_.resize(static_cast<size_t>(n));
  if (n == 0) is_foreign_ = false;
}

void KvTable::take(KvTable& other) {
  std::lock_guard<std::mutex> lock(pool_->mutex_);
  drop_blocks(0);
  tokens_ = std::move(other.tokens_);
  blocks_ = std::exchange(other.blocks_, {});
  data_ = std::exchange(other.data_, {});
  other.tokens_.clear();
  is_foreign_ = !tokens_.empty();
}

// From the last own block that stays, down the index as far as whole blocks agree, then into one.
KvTable::Known KvTable::find(std::span<const int32_t> ids, int64_t most, bool own_only) const {
  const int64_t own = common_prefix(tokens_.data(), ids.data(), std::min(size(), most));
  const size_t n_kept = static_cast<size_t>(own / kBlockPositions);
  Known out{own, n_kept, {}, nullptr, own};
  if (!share_ || own_only || (is_foreign_ && own > 0)) return out;
  const KvBlock* last =
      n_kept > 0 ? blocks_[n_kept - 1] : pool_->find_root(*this, pool_->count_public(ids) > 0);
  int64_t at = own - own % kBlockPositions;
  for (; last && at + kBlockPositions <= most; at += kBlockPositions) {
    KvBlock* next = find_child(*last, salt_, &ids[static_cast<size_t>(at)]);
    if (!next) break;
    out.found.push_back(next);
    last = next;
  }
  std::pair<KvBlock*, int64_t> part{nullptr, 0};
  if (last && at < most)
    part = nearest_child(*last, salt_, &ids[static_cast<size_t>(at)],
                         std::min(most - at, kBlockPositions));
  if (at + part.second <= own) {
    out.found.clear();
    return out;
  }
  out.part = part.first;
  out.n = at + part.second;
  return out;
}

int64_t KvTable::adopt(std::span<const int32_t> ids, int64_t most, bool own_only) {
  std::lock_guard<std::mutex> lock(pool_->mutex_);
  const Known known = find(ids, most, own_only);
  if (known.n_own == 0) is_foreign_ = false;  // nothing of it stays
  if (known.n > known.n_own) {
    for (KvBlock* block : known.found) pool_->hold(block);
    if (known.part) pool_->hold(known.part);
    drop_blocks(known.n_kept);
    for (KvBlock* block : known.found) push(block);
    if (known.part) push(known.part);
    tokens_.assign(ids.begin(), ids.begin() + known.n);
  }
  keep(known.n);  // copies the block of which only a part is wanted
  return size();
}

void KvTable::truncate(int64_t n) {
  std::lock_guard<std::mutex> lock(pool_->mutex_);
  if (n <= size()) keep(n);  // also drops what was reserved beyond
}

void KvTable::reserve(int64_t n) {
  std::lock_guard<std::mutex> lock(pool_->mutex_);
  while (blocks_.size() < blocks_for(n)) push(pool_->allocate());
}

void KvTable::append(std::span<const int32_t> ids) {
  const size_t first = tokens_.size() / kBlockPositions;  // the first that may become full
  tokens_.insert(tokens_.end(), ids.begin(), ids.end());
  if (!share_ || is_foreign_) return;
  std::lock_guard<std::mutex> lock(pool_->mutex_);
  const auto n_public = static_cast<size_t>(pool_->count_public(tokens_) / kBlockPositions);
  for (size_t i = first; i < tokens_.size() / kBlockPositions; ++i) {
    KvBlock* known = pool_->insert(blocks_[i], *this, i > 0 ? blocks_[i - 1] : nullptr,
                                   &tokens_[i * kBlockPositions], i < n_public);
    if (known == blocks_[i]) continue;
    pool_->hold(known);
    pool_->release(blocks_[i]);
    blocks_[i] = known;
    data_[i] = known->data;
  }
}

}  // namespace bitnet
