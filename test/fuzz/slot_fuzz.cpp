// Saved sessions from anywhere: every file either is refused or is a sequence of tokens of the
// model that goes to a file and comes back as it was. The first byte of the input chooses the cache
// and what of the header is put right, so that the checks behind the first ones are reached.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "run/slot_file.h"

using bitnet::CacheType;
using bitnet::KvLayout;
using bitnet::KvPool;
using bitnet::KvTable;
using bitnet::SlotIdentity;
using bitnet::SlotReader;

namespace {

constexpr int64_t kContext = 192, kVocab = 300;
const SlotIdentity kIdentity{0x0123456789abcdef, "scalar"};

// Where things are in a file (slot_file.h).
constexpr size_t kModelAt = 16, kBlockBytesAt = 56, kTokensAt = 64, kChecksumAt = 72, kIdsAt = 80;

void require(bool condition) {
  if (!condition) std::abort();
}

// A file in memory with a name of its own.
class MemoryFile {
 public:
  MemoryFile() : fd_(memfd_create("slot", 0)), name_("/proc/self/fd/" + std::to_string(fd_)) {
    require(fd_ >= 0);
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const std::string& name() const { return name_; }
  void write(const std::vector<uint8_t>& bytes) {
    require(ftruncate(fd_, 0) == 0);
    require(pwrite(fd_, bytes.data(), bytes.size(), 0) == std::ssize(bytes));
  }
  std::vector<uint8_t> read() const {
    std::vector<uint8_t> bytes(static_cast<size_t>(lseek(fd_, 0, SEEK_END)));
    require(pread(fd_, bytes.data(), bytes.size(), 0) == std::ssize(bytes));
    return bytes;
  }

 private:
  int fd_;
  std::string name_;
};

template <class T>
void put(std::vector<uint8_t>& file, size_t at, T value) {
  std::memcpy(&file[at], &value, sizeof value);
}

void put_identity(std::vector<uint8_t>& file, CacheType type) {
  std::memcpy(file.data(), "BITNETKV", 8);
  put(file, 8, uint32_t{1});
  put(file, 12, static_cast<uint32_t>(type));
  put(file, kModelAt, kIdentity.model);
  std::fill_n(&file[kModelAt + 8], 32, uint8_t{0});
  std::memcpy(&file[kModelAt + 8], kIdentity.kernels.data(), kIdentity.kernels.size());
}

// Tokens of the model, as many as the file says, and the length that they take.
void put_sizes(std::vector<uint8_t>& file, const KvLayout& layout) {
  const auto n_tokens = static_cast<size_t>(file[kTokensAt] % (kContext + 1));
  const size_t data_at = (kIdsAt + n_tokens * 4 + 63) / 64 * 64;
  put(file, kBlockBytesAt, static_cast<uint64_t>(layout.block_bytes()));
  put(file, kTokensAt, static_cast<uint64_t>(n_tokens));
  file.resize(data_at + static_cast<size_t>(layout.context_bytes(static_cast<int64_t>(n_tokens))));
  for (size_t i = 0; i < n_tokens; ++i) {
    uint32_t id;
    std::memcpy(&id, &file[kIdsAt + i * 4], 4);
    put(file, kIdsAt + i * 4, id % kVocab);
  }
}

// Of a file whose sizes are right.
void put_checksum(std::vector<uint8_t>& file, const KvLayout& layout) {
  put(file, kChecksumAt, uint64_t{0});
  const size_t ids_end = kIdsAt + size_t{file[kTokensAt]} * 4;
  const auto block_bytes = static_cast<size_t>(layout.block_bytes());
  bitnet::Hash64 hash;
  hash.add({file.data(), kIdsAt});
  hash.add({&file[kIdsAt], ids_end - kIdsAt});
  for (size_t at = (ids_end + 63) / 64 * 64; at < file.size(); at += block_bytes)
    hash.add({&file[at], block_bytes});
  put(file, kChecksumAt, hash.value());
}

// The file, put right up to a point: 0 nothing, 1 what it is a file of, 2 its sizes, 3 its
// checksum.
std::vector<uint8_t> made_right(std::vector<uint8_t> file, const KvLayout& layout, int up_to) {
  if (up_to == 0) return file;
  file.resize(std::max(file.size(), kIdsAt));
  put_identity(file, layout.type());
  if (up_to > 1) put_sizes(file, layout);
  if (up_to > 2) put_checksum(file, layout);
  return file;
}

std::vector<int32_t> restore(const std::string& path, KvTable& table) {
  SlotReader reader(path, kIdentity, table.layout(), kContext, kVocab);
  reader.read_into(table);
  require(reader.n_tokens() == table.size() && table.size() <= kContext);
  return table.tokens();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const KvLayout layout(1, 1, 8, data[0] % 2 == 0 ? CacheType::kF16 : CacheType::kQ8);
  const int up_to = data[0] / 2 % 4;
  static MemoryFile file, again;
  file.write(made_right({data + 1, data + size}, layout, up_to));
  const auto pool = std::make_shared<KvPool>(layout, 0);
  KvTable table(pool, false), twin(pool, false);
  try {
    const std::vector<int32_t> ids = restore(file.name(), table);
    for (const int32_t id : ids) require(id >= 0 && id < kVocab);
    const int64_t n_bytes = bitnet::write_slot(file.name(), kIdentity, table);
    require(restore(file.name(), twin) == ids);
    require(bitnet::write_slot(again.name(), kIdentity, twin) == n_bytes);
    require(file.read() == again.read());
  } catch (const bitnet::Error& error) {
    require(up_to < 3);
    require(error.code == bitnet::ErrorCode::kBadFile || error.code == bitnet::ErrorCode::kUsage);
    require(table.size() == 0);
  }
  return 0;
}
