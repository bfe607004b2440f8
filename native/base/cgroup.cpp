#include "base/cgroup.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace bitnet {

namespace {

// A tree of groups, as /proc/self/mountinfo has it.
struct Mount {
  std::string root;   // the group that is seen at `point`
  std::string point;  // a folder
  bool is_v2;
  std::string controllers;  // v1: "rw,cpu,cpuacct"
};

bool has_item(std::string_view list, std::string_view item) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    if (list.substr(0, end) == item) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

// Spaces and the like stand as \040 in mountinfo.
std::string unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string digits = text.substr(i, 4);
    if (digits.size() == 4 && digits[0] == '\\' &&
        digits.find_first_not_of("01234567", 1) == std::string::npos) {
      out += static_cast<char>(std::strtol(digits.c_str() + 1, nullptr, 8));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// "31 23 0:28 ROOT POINT OPTIONS [FIELDS] - TYPE SOURCE SUPER_OPTIONS"
std::vector<Mount> list_mounts(const std::string& root) {
  std::vector<Mount> mounts;
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream left(line.substr(0, dash)), right(line.substr(dash + 3));
    std::string skipped, group, point, type, source, options;
    left >> skipped >> skipped >> skipped >> group >> point;
    right >> type >> source >> options;
    if (type != "cgroup" && type != "cgroup2") continue;
    mounts.push_back({unescaped(group), unescaped(point), type == "cgroup2", options});
  }
  return mounts;
}

// CPUs of time per second that a group's own files allow; 0: no limit.
double quota_of(const std::string& folder, bool is_v2) {
  double quota = 0, period = 0;
  if (is_v2) {
    std::ifstream(folder + "/cpu.max") >> quota >> period;  // "max 100000" gives no number
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;  // -1: none
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

// The smallest quota from the group `path` up to the one that is mounted.
double smallest_quota(const Mount& mount, const std::string& path, const std::string& root) {
  const std::string top = mount.root == "/" ? "" : mount.root;
  const bool is_inside = path.starts_with(top + "/") && path.find("/../") == std::string::npos;
  // A path that the mount does not show: from within a container, say. What it shows still counts.
  std::string rest = is_inside ? path.substr(top.size()) : "";
  double smallest = 0;
  for (;;) {
    while (rest.ends_with('/')) rest.pop_back();
    const double quota = quota_of(root + mount.point + rest, mount.is_v2);
    if (quota > 0 && (smallest == 0 || quota < smallest)) smallest = quota;
    if (rest.empty()) return smallest;
    rest.erase(rest.rfind('/'));
  }
}

}  // namespace

int cgroup_cpus(const std::string& root) {
  const std::vector<Mount> mounts = list_mounts(root);
  double smallest = 0;
  std::ifstream file(root + "/proc/self/cgroup");  // "NUMBER:CONTROLLERS:PATH"
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    const bool is_v2 = controllers.empty();
    if (!is_v2 && !has_item(controllers, "cpu")) continue;
    for (const Mount& mount : mounts) {
      if (mount.is_v2 != is_v2 || (!is_v2 && !has_item(mount.controllers, "cpu"))) continue;
      const double quota = smallest_quota(mount, path, root);
      if (quota > 0 && (smallest == 0 || quota < smallest)) smallest = quota;
    }
  }
  constexpr double kMost = 1 << 20;  // more CPUs than any machine has
  return static_cast<int>(std::ceil(std::min(smallest, kMost)));
}

}  // namespace bitnet
