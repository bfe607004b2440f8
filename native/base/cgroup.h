// What the cgroups of Linux allow this process: its own group and every group above it count,
// version 1 or 2, wherever they are mounted.
#pragma once

#include <string>

namespace bitnet {

// Whole CPUs of the smallest quota, rounded up; 0 if there is none. root: stands before every path,
// for tests.
int cgroup_cpus(const std::string& root = "");

}  // namespace bitnet
