#include "base/memory.h"

#include <limits>

#if defined(__linux__)
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>
#endif

namespace bitnet {

int64_t physical_memory() {
#if defined(__linux__)
  const int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
  if (pages > 0 && page > 0) return pages * page;
#elif defined(__APPLE__)
  int64_t n_bytes = 0;
  size_t size = sizeof n_bytes;
  if (sysctlbyname("hw.memsize", &n_bytes, &size, nullptr, 0) == 0 && n_bytes > 0) return n_bytes;
#elif defined(_WIN32)
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  if (GlobalMemoryStatusEx(&status)) return static_cast<int64_t>(status.ullTotalPhys);
#endif
  return std::numeric_limits<int64_t>::max();
}

}  // namespace bitnet
