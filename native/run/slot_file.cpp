#include "run/slot_file.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <span>
#include <string_view>
#include <system_error>

#include "base/error.h"
#include "base/file_writer.h"
#include "base/hash.h"
#include "base/numbers.h"

namespace bitnet {

// As it stands in the file.
struct SlotHeader {
  char magic[8];
  uint32_t version;
  uint32_t cache_type;
  uint64_t model;
  char kernels[24];  // filled up with zeros
  uint64_t adapters;
  uint64_t block_bytes;
  uint64_t n_tokens;
  uint64_t checksum;
};
static_assert(sizeof(SlotHeader) == 80);

namespace {

constexpr char kMagic[8] = {'B', 'I', 'T', 'N', 'E', 'T', 'K', 'V'};
constexpr uint32_t kVersion = 1, kVersionWithAdapters = 2;
constexpr int64_t kAlignment = 64;

const char* name_of(CacheType type) { return type == CacheType::kF16 ? "f16" : "q8"; }

int64_t n_blocks_of(int64_t n_tokens) { return (n_tokens + kBlockPositions - 1) / kBlockPositions; }

int64_t data_offset(int64_t n_tokens) {
  const int64_t end = static_cast<int64_t>(sizeof(SlotHeader)) + n_tokens * 4;
  return round_up(end, kAlignment);
}

// A block without what former owners of its memory have left behind its last token.
std::vector<uint8_t> copy_block(const KvTable& table, int64_t i) {
  const KvLayout& layout = table.layout();
  const uint8_t* data = table.blocks()[i];
  std::vector<uint8_t> copy(data, data + layout.block_bytes());
  const std::vector<float> zeros(static_cast<size_t>(layout.head_dim()));
  for (int64_t slot = table.size() - i * kBlockPositions; slot < kBlockPositions; ++slot) {
    for (int64_t layer = 0; layer < layout.n_layers(); ++layer) {
      for (int64_t head = 0; head < layout.n_heads(); ++head)
        layout.store(copy.data(), layer, head, slot, zeros.data(), zeros.data());
    }
  }
  return copy;
}

// With everything but the checksum, to which more is added.
Hash64 hash_of(SlotHeader header) {
  header.checksum = 0;
  Hash64 hash;
  hash.add({reinterpret_cast<const uint8_t*>(&header), sizeof header});
  return hash;
}

std::span<const uint8_t> bytes_of(const std::vector<int32_t>& ids) {
  return {reinterpret_cast<const uint8_t*>(ids.data()), ids.size() * sizeof(int32_t)};
}

}  // namespace

int64_t write_slot(const std::string& path, const SlotIdentity& identity, const KvTable& table) {
  const int64_t block_bytes = table.layout().block_bytes();
  SlotHeader header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = identity.adapters == 0 ? kVersion : kVersionWithAdapters;
  header.cache_type = static_cast<uint32_t>(table.layout().type());
  header.model = identity.model;
  std::memcpy(header.kernels, identity.kernels.data(),
              std::min(identity.kernels.size(), sizeof header.kernels));
  header.adapters = identity.adapters;
  header.block_bytes = static_cast<uint64_t>(block_bytes);
  header.n_tokens = static_cast<uint64_t>(table.size());
  FileWriter file(path);
  Hash64 hash = hash_of(header);
  const auto ids = bytes_of(table.tokens());
  hash.add(ids);
  file.write(sizeof header, ids.data(), ids.size());
  int64_t at = data_offset(table.size());
  file.resize(static_cast<uint64_t>(at));
  for (int64_t i = 0; i < n_blocks_of(table.size()); ++i, at += block_bytes) {
    const std::vector<uint8_t> block = copy_block(table, i);
    hash.add(block);
    file.write(static_cast<uint64_t>(at), block.data(), block.size());
  }
  header.checksum = hash.value();
  file.write(0, reinterpret_cast<const uint8_t*>(&header), sizeof header);
  file.flush();
  return at;
}

void SlotReader::fail(const std::string& what) const {
  throw Error(ErrorCode::kBadFile, path_ + ": " + what);
}

void SlotReader::refuse(const std::string& what) const {
  throw Error(ErrorCode::kUsage, path_ + ": " + what);
}

void SlotReader::read(void* to, int64_t n) {
  if (!file_.read(static_cast<char*>(to), n)) fail("the file is cut or cannot be read");
}

SlotReader::SlotReader(const std::string& path, const SlotIdentity& identity,
                       const KvLayout& layout, int64_t n_ctx, int64_t n_vocab)
    : path_(path), block_bytes_(layout.block_bytes()) {
  open();
  SlotHeader header{};
  if (n_bytes_ < static_cast<int64_t>(sizeof header)) fail("is not a saved session: too short");
  read(&header, sizeof header);
  check_kind(header);
  check_origin(header, identity, layout);
  check_size(header, n_ctx);
  checksum_ = header.checksum;
  hash_ = hash_of(header);
  ids_.resize(static_cast<size_t>(header.n_tokens));
  read(ids_.data(), n_tokens() * 4);
  for (const int32_t id : ids_) {
    if (id < 0 || id >= n_vocab) fail("token id " + std::to_string(id) + " is not in the model");
  }
}

void SlotReader::open() {
  std::error_code error;
  // Opening anything else might wait for ever.
  if (!std::filesystem::is_regular_file(path_, error))
    throw Error(ErrorCode::kNotFound, path_ + ": there is no such file");
  n_bytes_ = static_cast<int64_t>(std::filesystem::file_size(path_, error));
  file_.open(path_, std::ios::binary);
  if (error || !file_) throw Error(ErrorCode::kNotFound, path_ + ": cannot be opened");
}

void SlotReader::check_kind(const SlotHeader& header) const {
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) fail("is not a saved session");
  if (header.version != kVersion && header.version != kVersionWithAdapters) {
    refuse("version " + std::to_string(header.version) + " of saved sessions, expected " +
           std::to_string(kVersion) + " or " + std::to_string(kVersionWithAdapters));
  }
  if ((header.adapters != 0) != (header.version == kVersionWithAdapters))
    fail("the file is damaged");
  if (header.cache_type > static_cast<uint32_t>(CacheType::kQ8)) fail("unknown type of cache");
}

void SlotReader::check_origin(const SlotHeader& header, const SlotIdentity& identity,
                              const KvLayout& layout) const {
  if (header.model != identity.model) refuse("the session is one of another model");
  if (header.adapters != identity.adapters) {
    refuse(header.adapters == 0     ? "the session was computed without adapters"
           : identity.adapters == 0 ? "the session was computed with an adapter, and none is in use"
                                    : "the session was computed with other adapters or scales");
  }
  const std::string_view field(header.kernels, sizeof header.kernels);
  const std::string kernels(field.substr(0, field.find('\0')));
  const auto is_name = [](unsigned char c) { return std::isalnum(c) || c == '_'; };
  if (!std::all_of(kernels.begin(), kernels.end(), is_name)) fail("the file is damaged");
  if (kernels != identity.kernels) {
    refuse("the session was computed with the kernels \"" + kernels + "\", this model uses \"" +
           identity.kernels + "\", which round otherwise");
  }
  if (static_cast<CacheType>(header.cache_type) != layout.type()) {
    refuse(std::string("the session has a cache of type ") +
           name_of(static_cast<CacheType>(header.cache_type)) + ", this one of type " +
           name_of(layout.type()));
  }
}

void SlotReader::check_size(const SlotHeader& header, int64_t n_ctx) const {
  if (header.block_bytes != static_cast<uint64_t>(block_bytes_)) fail("blocks of another size");
  if (header.n_tokens > static_cast<uint64_t>(n_ctx)) {
    refuse("the session has " + std::to_string(header.n_tokens) +
           " tokens, more than the context of " + std::to_string(n_ctx));
  }
  const int64_t n = static_cast<int64_t>(header.n_tokens);
  const int64_t expected = data_offset(n) + n_blocks_of(n) * block_bytes_;
  if (n_bytes_ == expected) return;
  fail("the file has " + std::to_string(n_bytes_) + " bytes, expected " + std::to_string(expected));
}

void SlotReader::read_into(KvTable& table) {
  table.reserve(n_tokens());
  file_.seekg(data_offset(n_tokens()));
  Hash64 hash = hash_;
  hash.add(bytes_of(ids_));
  for (int64_t i = 0; i < n_blocks_of(n_tokens()); ++i) {
    uint8_t* block = table.block_of(i * kBlockPositions);
    read(block, block_bytes_);
    hash.add({block, static_cast<size_t>(block_bytes_)});
  }
  if (hash.value() != checksum_) fail("the file is damaged: its checksum is another one");
  table.append(ids_);
}

}  // namespace bitnet
