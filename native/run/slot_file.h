// A sequence as a file: its tokens, their keys and values. Little-endian:
//
//   magic "BITNETKV", u32 version, u32 cache type, u64 fingerprint of the model, 24 bytes name of
//   the kernel set, u64 key of the adapters, u64 bytes of a block, u64 tokens, u64 checksum of all
//   else;
//   i32 ids [tokens], zeros up to a multiple of 64; blocks as KvLayout has them, of the last one
//   only what the tokens fill, the rest zero.
//
// Version 1 is a sequence without adapters (key 0), version 2 one with adapters. The name of the
// kernel set is there because others round otherwise: a text must not depend on where its prompt
// was evaluated.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "base/hash.h"
#include "run/kv_pool.h"

namespace bitnet {

// What a file must agree with to be restored.
struct SlotIdentity {
  uint64_t model;
  std::string kernels;
  uint64_t adapters = 0;  // AdapterSet::key()
};

// Returns the size of the file. Throws kNotFound, kNoSpace, kBadFile.
int64_t write_slot(const std::string& path, const SlotIdentity& identity, const KvTable& table);

struct SlotHeader;

class SlotReader {
 public:
  // Checks everything but the contents. Throws kNotFound, kBadFile for what is no such file, kUsage
  // for one of another model, kernel set or cache type, or for a sequence longer than n_ctx.
  SlotReader(const std::string& path, const SlotIdentity& identity, const KvLayout& layout,
             int64_t n_ctx, int64_t n_vocab);
  int64_t n_tokens() const { return static_cast<int64_t>(ids_.size()); }
  int64_t n_bytes() const { return n_bytes_; }
  // Into an empty table. Throws kBadFile if the contents are not those that were written,
  // std::bad_alloc.
  void read_into(KvTable& table);

 private:
  [[noreturn]] void fail(const std::string& what) const;
  [[noreturn]] void refuse(const std::string& what) const;
  void read(void* to, int64_t n);
  void open();
  void check_kind(const SlotHeader& header) const;
  void check_origin(const SlotHeader& header, const SlotIdentity& identity,
                    const KvLayout& layout) const;
  void check_size(const SlotHeader& header, int64_t n_ctx) const;

  const std::string path_;
  std::ifstream file_;
  int64_t n_bytes_ = 0, block_bytes_ = 0;
  uint64_t checksum_ = 0;
  Hash64 hash_;  // of the header
  std::vector<int32_t> ids_;
};

}  // namespace bitnet
