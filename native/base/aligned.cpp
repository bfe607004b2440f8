#include "base/aligned.h"

#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace bitnet {

#if defined(__linux__)

constexpr size_t kHugePage = size_t{2} << 20;

HugeArray::HugeArray(size_t n_bytes) {
  // Only a mapping that starts on a 2 MiB boundary is made of huge pages from its beginning on; the
  // surplus of the reservation is never touched.
  size_ = (n_bytes + kHugePage - 1) / kHugePage * kHugePage + kHugePage;
  void* p = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  const size_t lead = (kHugePage - reinterpret_cast<uintptr_t>(p) % kHugePage) % kHugePage;
  if (lead > 0) munmap(p, lead);
  data_ = static_cast<unsigned char*>(p) + lead;
  size_ -= lead;
  madvise(data_, size_, MADV_HUGEPAGE);
}

HugeArray::~HugeArray() {
  if (data_) munmap(data_, size_);
}

void HugeArray::discard(unsigned char* begin, size_t n_bytes) {
  constexpr uintptr_t kPage = 4096;
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + kPage - 1) / kPage * kPage;
  const uintptr_t last = (reinterpret_cast<uintptr_t>(begin) + n_bytes) / kPage * kPage;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

bool HugeArray::available() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string line;
  return std::getline(file, line) && line.find("[never]") == std::string::npos;
}

#else

HugeArray::HugeArray(size_t n_bytes)
    : data_(static_cast<unsigned char*>(::operator new (n_bytes, std::align_val_t{4096}))),
      size_(n_bytes) {
  std::memset(data_, 0, n_bytes);
}

HugeArray::~HugeArray() {
  if (data_) ::operator delete (data_, std::align_val_t{4096});
}

void HugeArray::discard(unsigned char*, size_t) {}

bool HugeArray::available() { return false; }

#endif

HugeArray::HugeArray(HugeArray&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

HugeArray& HugeArray::operator=(HugeArray&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace bitnet
