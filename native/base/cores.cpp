// Cores as Linux, macOS and Windows tell of them.
#include "base/cores.h"

#include <thread>

#if defined(__linux__)
#include <sched.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/cgroup.h"
#elif defined(__APPLE__)
#include <pthread.h>
#include <sys/sysctl.h>
#elif defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#undef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00  // efficiency classes, IsWow64Process2
#include <windows.h>

#include <algorithm>
#include <bit>
#include <vector>
#endif

namespace bitnet {

#if defined(__linux__)

namespace {

// The CPUs of each core that this process may use: hyper-threads of one core together.
const std::vector<cpu_set_t>& list_cores() {
  // Never destroyed: threads may use it while the process exits.
  static const auto& cores = *new std::vector<cpu_set_t>([] {
    std::map<std::string, cpu_set_t> by_siblings;
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return std::vector<cpu_set_t>{};
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                         "/topology/thread_siblings_list");
      std::string siblings;
      if (!std::getline(file, siblings) || siblings.empty()) siblings = "cpu" + std::to_string(cpu);
      CPU_SET(cpu, &by_siblings.try_emplace(siblings, cpu_set_t{}).first->second);
    }
    std::vector<cpu_set_t> list;
    for (const auto& [siblings, cpus] : by_siblings) list.push_back(cpus);
    return list;
  }());
  return cores;
}

int count_cores() {
  const int n = static_cast<int>(list_cores().size()), quota = cgroup_cpus();
  if (n == 0) return static_cast<int>(std::thread::hardware_concurrency());
  return quota > 0 && quota < n ? quota : n;
}

}  // namespace

// Only a pool that takes every core is bound: another one could be on cores that others use, while
// some are free.
void bind_to_core(int thread, int n_threads) {
  const std::vector<cpu_set_t>& cores = list_cores();
  if (n_threads != static_cast<int>(cores.size()) || n_threads != physical_cores()) return;
  sched_setaffinity(0, sizeof(cpu_set_t), &cores[static_cast<size_t>(thread)]);
}

void prefer_fast_cores() {}  // the scheduler looks at the load

bool is_translated() { return false; }  // qemu is like the CPU that it plays

#elif defined(__APPLE__)

namespace {

int read_number(const char* name) {
  int n = 0;
  size_t size = sizeof n;
  return sysctlbyname(name, &n, &size, nullptr, 0) == 0 ? n : 0;
}

int count_cores() {
  // Performance cores only: a slow core would hold up every step.
  for (const char* name : {"hw.perflevel0.physicalcpu", "hw.physicalcpu"})
    if (const int n = read_number(name); n > 0) return n;
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

void bind_to_core(int, int) {}  // busy threads stay where they are

void prefer_fast_cores() { pthread_set_qos_class_self_np(QOS_CLASS_USER_INITIATED, 0); }

bool is_translated() { return read_number("sysctl.proc_translated") == 1; }

#elif defined(_WIN32)

namespace {

// The processors of its group that this process may use. A process in several groups may use all
// of them.
struct Allowed {
  Allowed() {
    DWORD_PTR system = 0;
    USHORT n_groups = 1;
    has_mask = GetProcessAffinityMask(GetCurrentProcess(), &mask, &system) && mask != 0 &&
               GetProcessGroupAffinity(GetCurrentProcess(), &n_groups, &group);
  }
  bool holds(const GROUP_AFFINITY& core) const {
    return !has_mask || (core.Group == group && (core.Mask & mask) != 0);
  }
  DWORD_PTR mask = 0;
  USHORT group = 0;
  bool has_mask;
};

// Cores of the highest efficiency class, which are the fastest. 0 if Windows does not tell.
int count_fast_cores() {
  DWORD n_bytes = 0;
  GetLogicalProcessorInformationEx(RelationProcessorCore, nullptr, &n_bytes);
  std::vector<char> buffer(n_bytes);
  const auto entry = [&](size_t at) {
    return reinterpret_cast<SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(buffer.data() + at);
  };
  if (n_bytes == 0 || !GetLogicalProcessorInformationEx(RelationProcessorCore, entry(0), &n_bytes))
    return 0;
  const Allowed allowed;
  int n = 0, fastest = 0;
  for (size_t at = 0; at < n_bytes; at += entry(at)->Size) {
    const PROCESSOR_RELATIONSHIP& core = entry(at)->Processor;
    if (!allowed.holds(core.GroupMask[0]) || core.EfficiencyClass < fastest) continue;
    n = core.EfficiencyClass > fastest ? 1 : n + 1;
    fastest = core.EfficiencyClass;
  }
  return n;
}

// CPUs of time per second that the job of a container allows; 0: no limit.
int job_cpus() {
  JOBOBJECT_CPU_RATE_CONTROL_INFORMATION rate{};
  if (!QueryInformationJobObject(nullptr, JobObjectCpuRateControlInformation, &rate, sizeof rate,
                                 nullptr) ||
      !(rate.ControlFlags & JOB_OBJECT_CPU_RATE_CONTROL_ENABLE) ||
      !(rate.ControlFlags & JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP))
    return 0;
  constexpr uint64_t kAll = 10000;  // of the time of all processors
  const uint64_t processors = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
  return static_cast<int>((rate.CpuRate * processors + kAll - 1) / kAll);
}

int count_cores() {
  int n = count_fast_cores();
  if (n == 0) n = static_cast<int>(std::thread::hardware_concurrency());
  const int quota = job_cpus();
  return quota > 0 ? std::min(n, quota) : n;
}

}  // namespace

void bind_to_core(int, int) {}  // busy threads stay where they are

void prefer_fast_cores() {
  THREAD_POWER_THROTTLING_STATE state{};
  state.Version = THREAD_POWER_THROTTLING_CURRENT_VERSION;
  state.ControlMask = THREAD_POWER_THROTTLING_EXECUTION_SPEED;
  SetThreadInformation(GetCurrentThread(), ThreadPowerThrottling, &state, sizeof state);
}

bool is_translated() {
  USHORT process = 0, machine = 0;
#if defined(__x86_64__)
  constexpr USHORT kBuiltFor = IMAGE_FILE_MACHINE_AMD64;
#else
  constexpr USHORT kBuiltFor = IMAGE_FILE_MACHINE_ARM64;
#endif
  return IsWow64Process2(GetCurrentProcess(), &process, &machine) && machine != kBuiltFor;
}

#else

namespace {

int count_cores() { return static_cast<int>(std::thread::hardware_concurrency()); }

}  // namespace

void bind_to_core(int, int) {}

void prefer_fast_cores() {}

bool is_translated() { return false; }

#endif

int physical_cores() {
  static const int cores = count_cores();
  return cores < 1 ? 1 : cores;
}

}  // namespace bitnet
