// A read-only mapping of a whole file. Pages are loaded by the OS on first touch and shared between
// processes.
#pragma once

#include <cstdint>
#include <span>
#include <string>

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

 private:
  const uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
#ifdef _WIN32
  void* mapping_ = nullptr;
#endif
};

}  // namespace bitnet
