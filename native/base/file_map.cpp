// The two implementations of FileMap: POSIX mmap and Windows file mappings.
#include "base/file_map.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/windows_text.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#undef _WIN32_WINNT
#define _WIN32_WINNT 0x0602  // PrefetchVirtualMemory
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#endif

namespace bitnet {
namespace {

[[noreturn]] void fail(ErrorCode code, const std::string& path, const std::string& what) {
  throw Error(code, path + ": " + what);
}

}  // namespace

#ifdef _WIN32

namespace {

struct Handle {
  HANDLE value;
  ~Handle() {
    if (value != nullptr && value != INVALID_HANDLE_VALUE) CloseHandle(value);
  }
};

}  // namespace

FileMap::FileMap(const std::string& path) {
  const std::wstring name = wide_path(path);
  const DWORD attributes = GetFileAttributesW(name.c_str());
  if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0)
    fail(ErrorCode::kNotFound, path, "expected a file but it is a directory");
  // Others may go on with it as far as Windows lets them: it keeps a mapped file from being cut or
  // deleted, but not from being renamed.
  constexpr DWORD kShareAll = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  const Handle file{CreateFileW(name.c_str(), GENERIC_READ, kShareAll, nullptr, OPEN_EXISTING,
                                FILE_ATTRIBUTE_NORMAL, nullptr)};
  if (file.value == INVALID_HANDLE_VALUE)
    fail(ErrorCode::kNotFound, path, windows_error(GetLastError()));
  if (GetFileType(file.value) != FILE_TYPE_DISK)
    fail(ErrorCode::kNotFound, path, "it is not a regular file");
  LARGE_INTEGER size;
  if (!GetFileSizeEx(file.value, &size))
    fail(ErrorCode::kNotFound, path, windows_error(GetLastError()));
  if (size.QuadPart == 0) fail(ErrorCode::kBadFile, path, "the file is empty");
  Handle mapping{CreateFileMappingW(file.value, nullptr, PAGE_READONLY, 0, 0, nullptr)};
  void* view =
      mapping.value == nullptr ? nullptr : MapViewOfFile(mapping.value, FILE_MAP_READ, 0, 0, 0);
  if (view == nullptr)
    fail(ErrorCode::kBadFile, path, "cannot map the file: " + windows_error(GetLastError()));
  data_ = static_cast<const uint8_t*>(view);
  size_ = static_cast<uint64_t>(size.QuadPart);
  mapping_ = std::exchange(mapping.value, nullptr);
}

FileMap::~FileMap() {
  if (data_ != nullptr) UnmapViewOfFile(data_);
  if (mapping_ != nullptr) CloseHandle(mapping_);
}

FileMap::FileMap(FileMap&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapping_(std::exchange(other.mapping_, nullptr)) {}

void FileMap::will_need(const uint8_t* begin, uint64_t n_bytes) const {
  if (begin < data_ || begin >= data_ + size_ || n_bytes == 0) return;
  WIN32_MEMORY_RANGE_ENTRY range;
  range.VirtualAddress = const_cast<uint8_t*>(begin);
  range.NumberOfBytes = std::min<uint64_t>(n_bytes, data_ + size_ - begin);
  PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0);
}

void FileMap::dont_need(const uint8_t* begin, uint64_t n_bytes) const {
  if (begin < data_ || begin >= data_ + size_ || n_bytes == 0) return;
  // Unlocking pages that are not locked takes them out of the working set; the call then "fails".
  VirtualUnlock(const_cast<uint8_t*>(begin), std::min<uint64_t>(n_bytes, data_ + size_ - begin));
}

const uint8_t* FileMap::read(const uint8_t* begin, uint64_t, uint8_t*) const { return begin; }

std::optional<uint64_t> FileMap::resident_bytes() const { return std::nullopt; }

#else

FileMap::FileMap(const std::string& path) {
  // O_NONBLOCK: a named pipe must fail below, not wait for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(ErrorCode::kNotFound, path, std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() {
      if (fd >= 0) ::close(fd);
    }
  } closer{fd};

  struct stat status;
  if (::fstat(fd, &status) != 0) fail(ErrorCode::kNotFound, path, std::strerror(errno));
  if (S_ISDIR(status.st_mode)) {
    fail(ErrorCode::kNotFound, path, "expected a file but it is a directory");
  }
  if (!S_ISREG(status.st_mode)) fail(ErrorCode::kNotFound, path, "it is not a regular file");
  if (status.st_size == 0) fail(ErrorCode::kBadFile, path, "the file is empty");
  const uint64_t size = static_cast<uint64_t>(status.st_size);
  if (size > SIZE_MAX) fail(ErrorCode::kBadFile, path, "too large for the address space");

  void* view = ::mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_SHARED, fd, 0);
  if (view == MAP_FAILED) {
    fail(ErrorCode::kBadFile, path, std::string("cannot map the file: ") + std::strerror(errno));
  }
  data_ = static_cast<const uint8_t*>(view);
  size_ = size;
  fd_ = std::exchange(closer.fd, -1);
  guard_ = FileGuard(data_, size_, path);
}

FileMap::~FileMap() {
  if (fd_ >= 0) ::close(fd_);
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), static_cast<size_t>(size_));
}

FileMap::FileMap(FileMap&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      fd_(std::exchange(other.fd_, -1)),
      guard_(std::move(other.guard_)) {}

const uint8_t* FileMap::read(const uint8_t* begin, uint64_t n_bytes, uint8_t* buffer) const {
  if (begin < data_ || begin >= data_ + size_) return begin;
  const auto offset = static_cast<off_t>(begin - data_);
  const ssize_t n = ::pread(fd_, buffer, static_cast<size_t>(n_bytes), offset);
  return n == static_cast<ssize_t>(n_bytes) ? buffer : begin;
}

std::optional<uint64_t> FileMap::resident_bytes() const {
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
#if defined(__APPLE__)
  std::vector<char> pages((size_ + page - 1) / page);
#else
  std::vector<unsigned char> pages((size_ + page - 1) / page);
#endif
  if (::mincore(const_cast<uint8_t*>(data_), static_cast<size_t>(size_), pages.data()) != 0)
    return std::nullopt;
  const auto n = std::count_if(pages.begin(), pages.end(), [](auto bits) { return bits & 1; });
  return std::min(size_, static_cast<uint64_t>(n) * page);
}

void FileMap::will_need(const uint8_t* begin, uint64_t n_bytes) const {
  if (begin < data_ || begin >= data_ + size_ || n_bytes == 0) return;
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t first = static_cast<uint64_t>(begin - data_);
  const uint64_t last = first + std::min(n_bytes, size_ - first);
  const uint64_t aligned = first / page * page;  // the mapping itself starts on a page
  ::madvise(const_cast<uint8_t*>(data_) + aligned, static_cast<size_t>(last - aligned),
            MADV_WILLNEED);
}

void FileMap::dont_need(const uint8_t* begin, uint64_t n_bytes) const {
  if (begin < data_ || begin >= data_ + size_ || n_bytes == 0) return;
  // Whole pages only: the edges may hold the neighbours' bytes. madvise and not posix_madvise,
  // whose DONTNEED glibc ignores.
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t first = static_cast<uint64_t>(begin - data_);
  const uint64_t last = (first + std::min(n_bytes, size_ - first)) / page * page;
  const uint64_t aligned = (first + page - 1) / page * page;
  if (aligned < last) {
    ::madvise(const_cast<uint8_t*>(data_) + aligned, static_cast<size_t>(last - aligned),
              MADV_DONTNEED);
  }
}

#endif

}  // namespace bitnet
