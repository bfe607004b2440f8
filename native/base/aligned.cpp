#include "base/aligned.h"

#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace bitnet {

namespace {

// The whole pages in a range of bytes.
struct Pages {
  Pages(unsigned char* from, size_t size, uintptr_t page) {
    const uintptr_t first = (reinterpret_cast<uintptr_t>(from) + page - 1) / page * page;
    const uintptr_t last = (reinterpret_cast<uintptr_t>(from) + size) / page * page;
    begin = reinterpret_cast<void*>(first);
    n_bytes = first < last ? last - first : 0;
  }
  void* begin;
  size_t n_bytes;
};

}  // namespace

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
  const Pages pages(begin, n_bytes, 4096);
  if (pages.n_bytes > 0) madvise(pages.begin, pages.n_bytes, MADV_DONTNEED);
}

bool HugeArray::available() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string line;
  return std::getline(file, line) && line.find("[never]") == std::string::npos;
}

#elif defined(_WIN32)

// Large pages need a right that users do not have. These are ordinary ones, made at the first
// touch.
HugeArray::HugeArray(size_t n_bytes) : size_(n_bytes) {
  if (n_bytes == 0) return;
  data_ = static_cast<unsigned char*>(
      VirtualAlloc(nullptr, n_bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
  if (data_ == nullptr) throw std::bad_alloc();
}

HugeArray::~HugeArray() {
  if (data_) VirtualFree(data_, 0, MEM_RELEASE);
}

void HugeArray::discard(unsigned char* begin, size_t n_bytes) {
  const Pages pages(begin, n_bytes, 4096);
  if (pages.n_bytes == 0) return;
  VirtualAlloc(pages.begin, pages.n_bytes, MEM_RESET, PAGE_READWRITE);
  VirtualUnlock(pages.begin,
                pages.n_bytes);  // out of the working set; it "fails", see file_map.cpp
}

bool HugeArray::available() { return false; }

#else

HugeArray::HugeArray(size_t n_bytes) : size_(n_bytes) {
  if (n_bytes == 0) return;
  void* p = mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<unsigned char*>(p);
}

HugeArray::~HugeArray() {
  if (data_) munmap(data_, size_);
}

void HugeArray::discard(unsigned char* begin, size_t n_bytes) {
  const Pages pages(begin, n_bytes, static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  if (pages.n_bytes > 0) madvise(pages.begin, pages.n_bytes, MADV_FREE);
}

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
