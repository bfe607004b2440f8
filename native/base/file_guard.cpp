#include "base/file_guard.h"

#include <utility>

#ifndef _WIN32
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <string_view>
#endif

namespace bitnet {

#ifdef _WIN32

FileGuard::FileGuard(const uint8_t*, uint64_t, const std::string&) {}
FileGuard::FileGuard(const std::string&) {}
FileGuard::~FileGuard() = default;
void set_bus_error_hook(void (*)()) {}

#else

namespace {

struct Guarded {
  uintptr_t begin, end;  // of a mapping; both 0: a file that is being written
  std::string text;      // the message, or the path
};

// More files than a process has open, usually; further ones are not guarded.
constexpr int kMostFiles = 4096;
std::atomic<const Guarded*> g_guarded[kMostFiles];
std::atomic<void (*)()> g_hook{nullptr};
struct sigaction g_before;  // what handled SIGBUS before

void remove_unfinished() {
  for (const auto& slot : g_guarded) {
    const Guarded* file = slot.load();
    if (file && file->end == 0) ::unlink(file->text.c_str());
  }
}

[[noreturn]] void end_process(const Guarded& file) {
  if (void (*hook)() = g_hook.load()) hook();
  remove_unfinished();
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, file.text.data(), file.text.size());
  ::_exit(1);
}

// Async-signal-safe: reads the table, calls write, unlink and _exit.
void on_bus_error(int number, siginfo_t* info, void* context) {
  const auto at = reinterpret_cast<uintptr_t>(info->si_addr);
  const bool is_fault = info->si_code > 0;  // else another process sent it
  for (const auto& slot : g_guarded) {
    const Guarded* file = slot.load();
    if (is_fault && file && at >= file->begin && at < file->end) end_process(*file);
  }
  if (g_before.sa_flags & SA_SIGINFO) return g_before.sa_sigaction(number, info, context);
  if (g_before.sa_handler != SIG_DFL && g_before.sa_handler != SIG_IGN)
    return g_before.sa_handler(number);
  ::sigaction(number, &g_before, nullptr);  // the fault comes again, and is handled as before
  if (!is_fault) ::raise(number);
}

int enter(Guarded file) {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &g_before);
  });
  const auto* entry = new Guarded(std::move(file));
  for (int i = 0; i < kMostFiles; ++i) {
    const Guarded* expected = nullptr;
    if (g_guarded[i].compare_exchange_strong(expected, entry)) return i;
  }
  delete entry;
  return -1;
}

std::string printable_path(std::string_view path) {
  std::string out;
  for (const char c : path) out += static_cast<uint8_t>(c) >= 0x20 && c != 0x7f ? c : '?';
  return out;
}

}  // namespace

FileGuard::FileGuard(const uint8_t* begin, uint64_t n_bytes, const std::string& path) {
  const auto first = reinterpret_cast<uintptr_t>(begin);
  slot_ = enter({first, first + n_bytes,
                 "\nerror: " + printable_path(path) +
                     ": the file was cut or overwritten while it was in use\n"});
}

FileGuard::FileGuard(const std::string& unfinished) : slot_(enter({0, 0, unfinished})) {}

FileGuard::~FileGuard() {
  if (slot_ >= 0) delete g_guarded[slot_].exchange(nullptr);
}

void set_bus_error_hook(void (*hook)()) { g_hook = hook; }

#endif

}  // namespace bitnet
