// Writes at given offsets of an existing file, from any thread.
#pragma once

#include <cstdint>
#include <string>

namespace bitnet {

class FileWriter {
 public:
  // Opens a file that exists. Throws kNotFound.
  explicit FileWriter(const std::string& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  // Thread-safe. Throws kBadFile with the system's reason (a full disk). Bytes that nothing writes
  // are zeros.
  void write(uint64_t offset, const uint8_t* data, uint64_t n_bytes);
  void resize(uint64_t n_bytes);
  // Waits until everything is on the disk.
  void flush();

 private:
  [[noreturn]] void fail(const char* what) const;

  std::string path_;
#ifdef _WIN32
  void* file_;
#else
  int file_;
#endif
};

}  // namespace bitnet
