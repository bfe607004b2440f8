#include "base/cpu_id.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#endif

namespace bitnet {

#if defined(__x86_64__) || defined(_M_X64)

namespace {

// Registers as the text that they hold, up to a zero.
template <size_t kCount>
std::string text_of(const uint32_t (&registers)[kCount]) {
  char text[sizeof registers + 1] = {};
  std::memcpy(text, registers, sizeof registers);
  std::string out = text;
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out.substr(out.find_first_not_of(' ') == std::string::npos ? out.size()
                                                                    : out.find_first_not_of(' '));
}

}  // namespace

// Intel SDM, volume 2, CPUID; the leaf of hypervisors is theirs by agreement, not Intel's.
CpuId cpu_id() {
  CpuId out;
  uint32_t a, b, c, d;
  if (!__get_cpuid(0, &a, &b, &c, &d)) return out;
  out.vendor = text_of<3>({b, d, c});
  uint32_t brand[12] = {};
  if (__get_cpuid_max(0x80000000, nullptr) >= 0x80000004) {
    for (uint32_t i = 0; i < 3; ++i) {
      uint32_t* part = brand + 4 * i;
      __cpuid(0x80000002 + i, part[0], part[1], part[2], part[3]);
    }
  }
  out.brand = text_of(brand);
  const bool is_guest = __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 31));
  if (is_guest) {
    __cpuid(0x40000000, a, b, c, d);
    out.hypervisor = text_of<3>({b, c, d});
  }
  return out;
}

#else

CpuId cpu_id() { return {}; }

#endif

}  // namespace bitnet
