// What the processor says of itself. Empty where it says nothing: on ARM.
#pragma once

#include <string>

namespace bitnet {

struct CpuId {
  std::string vendor;      // "GenuineIntel"
  std::string brand;       // as people know it
  std::string hypervisor;  // "KVMKVMKVM", "TCGTCGTCGTCG" of QEMU without KVM; empty without one
};
CpuId cpu_id();

}  // namespace bitnet
