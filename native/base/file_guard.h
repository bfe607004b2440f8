// What happens when somebody cuts a mapped file while it is in use: reading a page that is gone
// raises SIGBUS. One line then says which file it was, files that are half-written are removed,
// and the process ends with status 1. A SIGBUS of anything else goes to whoever handled it before.
// On Windows, where a mapped file cannot be cut, all of this does nothing.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace bitnet {

class FileGuard {
 public:
  FileGuard() = default;
  // Of a mapping: its bytes and the path for the message.
  FileGuard(const uint8_t* begin, uint64_t n_bytes, const std::string& path);
  // Of a file that is being written: it is removed.
  explicit FileGuard(const std::string& unfinished);
  ~FileGuard();
  FileGuard(FileGuard&& other) noexcept : slot_(other.slot_) { other.slot_ = -1; }
  FileGuard& operator=(FileGuard&& other) noexcept {
    std::swap(slot_, other.slot_);
    return *this;
  }
  FileGuard(const FileGuard&) = delete;

 private:
  int slot_ = -1;  // of the table that the handler reads; -1: none
};

// Called before the process ends that way; must be safe in a signal handler.
void set_bus_error_hook(void (*hook)());

}  // namespace bitnet
