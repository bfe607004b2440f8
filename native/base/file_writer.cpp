// The two implementations of FileWriter: POSIX and Windows.
#include "base/file_writer.h"

#include <algorithm>

#include "base/error.h"
#include "base/windows_text.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#else
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#endif

namespace bitnet {

// Some systems refuse more than 2 GiB in one call.
constexpr uint64_t kMaxWrite = uint64_t{1} << 28;

#ifdef _WIN32

void FileWriter::fail(const char* what) const {
  const DWORD error = GetLastError();
  const bool full = error == ERROR_DISK_FULL || error == ERROR_HANDLE_DISK_FULL ||
                    error == ERROR_DISK_QUOTA_EXCEEDED || error == ERROR_FILE_TOO_LARGE;
  throw Error(full ? ErrorCode::kNoSpace : ErrorCode::kBadFile,
              path_ + ": cannot " + what + ": " + windows_error(error));
}

FileWriter::FileWriter(const std::string& path)
    : path_(path),
      file_(CreateFileW(wide_path(path).c_str(), GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE,
                        nullptr, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, nullptr)),
      guard_(path) {
  if (file_ != INVALID_HANDLE_VALUE) return;
  const DWORD error = GetLastError();
  throw Error(ErrorCode::kNotFound, path + ": cannot open for writing: " + windows_error(error));
}

FileWriter::~FileWriter() { CloseHandle(file_); }

void FileWriter::write(uint64_t offset, const uint8_t* data, uint64_t n_bytes) {
  while (n_bytes > 0) {
    OVERLAPPED at{};
    at.Offset = static_cast<DWORD>(offset);
    at.OffsetHigh = static_cast<DWORD>(offset >> 32);
    DWORD written = 0;
    if (!WriteFile(file_, data, static_cast<DWORD>(std::min(n_bytes, kMaxWrite)), &written, &at))
      fail("write");
    offset += written;
    data += written;
    n_bytes -= written;
  }
}

void FileWriter::resize(uint64_t n_bytes) {
  FILE_END_OF_FILE_INFO end;
  end.EndOfFile.QuadPart = static_cast<LONGLONG>(n_bytes);
  if (!SetFileInformationByHandle(file_, FileEndOfFileInfo, &end, sizeof(end)))
    fail("set the size");
}

void FileWriter::flush() {
  if (!FlushFileBuffers(file_)) fail("write");
}

#else

void FileWriter::fail(const char* what) const {
  const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
  throw Error(full ? ErrorCode::kNoSpace : ErrorCode::kBadFile,
              path_ + ": cannot " + what + ": " + std::strerror(errno));
}

FileWriter::FileWriter(const std::string& path)
    : path_(path),
      file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)),
      guard_(path) {
  if (file_ < 0)
    throw Error(ErrorCode::kNotFound, path + ": cannot open for writing: " + std::strerror(errno));
}

FileWriter::~FileWriter() { ::close(file_); }

void FileWriter::write(uint64_t offset, const uint8_t* data, uint64_t n_bytes) {
  while (n_bytes > 0) {
    const ssize_t written =
        ::pwrite(file_, data, std::min(n_bytes, kMaxWrite), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write");
#ifdef __linux__
    // Lets the disk begin, so that the flush at the end has little left to wait for.
    ::sync_file_range(file_, static_cast<off_t>(offset), written, SYNC_FILE_RANGE_WRITE);
#endif
    offset += static_cast<uint64_t>(written);
    data += written;
    n_bytes -= static_cast<uint64_t>(written);
  }
}

void FileWriter::resize(uint64_t n_bytes) {
  if (::ftruncate(file_, static_cast<off_t>(n_bytes)) != 0) fail("set the size");
}

void FileWriter::flush() {
  if (::fsync(file_) != 0) fail("write");
}

#endif

}  // namespace bitnet
