// The rows of one step: tokens of one or many sequences, evaluated together. No result depends on
// what else is in the batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/adapter.h"
#include "run/kv_pool.h"

namespace bitnet {

// Rows evaluated at once; bounds the scratch memory.
constexpr int64_t kBatchTokens = 256;

struct Batch {
  // Consecutive tokens of one sequence, whose table has room for them.
  struct Part {
    KvTable* table;
    int64_t first_row, n;
    int64_t position;            // of the first row
    const AdapterSet* adapters;  // of the sequence; null: none
  };

  std::vector<int32_t> tokens;     // [n]
  std::vector<int64_t> positions;  // [n]
  std::vector<size_t> part_of;     // [n], index in parts
  std::vector<Part> parts;         // in the order of their rows
  std::vector<int64_t> wanted;     // rows whose last hidden state is wanted, ascending

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }

  // The tokens that follow what the table holds.
  void add(KvTable& table, std::span<const int32_t> ids, const AdapterSet* adapters = nullptr) {
    const int64_t n = static_cast<int64_t>(ids.size());
    parts.push_back({&table, size(), n, table.size(), adapters});
    part_of.resize(part_of.size() + ids.size(), parts.size() - 1);
    for (int64_t i = 0; i < n; ++i) positions.push_back(table.size() + i);
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  }
};

}  // namespace bitnet
