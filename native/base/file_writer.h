// A new file, written at given offsets from any thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/file_guard.h"

namespace bitnet {

class FileWriter {
 public:
  // Creates the file, or empties the one that is there. Throws kNotFound.
  explicit FileWriter(const std::string& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  // Thread-safe. Throws kNoSpace if the disk is full, else kBadFile, with the system's reason.
  // Bytes that nothing writes are zeros.
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
  FileGuard guard_;  // removes what is written if a file that it comes from is cut
};

}  // namespace bitnet
