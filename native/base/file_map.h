// A read-only mapping of a whole file. Pages are loaded by the OS on first touch and shared between
// processes. A file that is cut while it is mapped ends the process, see file_guard.h.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/file_guard.h"

namespace bitnet {

class FileMap {
 public:
  // Throws kNotFound (no such file, not readable, a directory) or kBadFile (empty, unmappable).
  explicit FileMap(const std::string& path);
  ~FileMap();
  FileMap(FileMap&& other) noexcept;
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;

  std::span<const uint8_t> bytes() const { return {data_, size_}; }

  // Tells the OS that these bytes will be read soon / are not needed again (their pages may be
  // dropped; the content stays readable). Only hints: never fail.
  void will_need(const uint8_t* begin, uint64_t n_bytes) const;
  void dont_need(const uint8_t* begin, uint64_t n_bytes) const;

  // Bytes of the file that lie in memory, in whole pages, whoever has read them; nullopt if the OS
  // does not tell. Linux tells it of files that this user owns or may write to; all other files it
  // calls wholly there.
  std::optional<uint64_t> resident_bytes() const;

  // Some bytes of the mapping read into `buffer` [n_bytes], so that no page of it becomes part of
  // the process: touching one maps its neighbours too, 64 KiB at a time, and scattered rows soon
  // the whole file. Returns where the bytes are: `begin` itself if they are elsewhere or cannot be
  // read.
  const uint8_t* read(const uint8_t* begin, uint64_t n_bytes, uint8_t* buffer) const;

 private:
  const uint8_t* data_ = nullptr;  // starts on a page; null after a move
  uint64_t size_ = 0;              // bytes, of the file when it was opened
#ifdef _WIN32
  void* mapping_ = nullptr;
#else
  int fd_ = -1;  // stays open for read()
#endif
  FileGuard guard_;
};

}  // namespace bitnet
