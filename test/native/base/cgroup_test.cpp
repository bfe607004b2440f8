// The quota of the process's group and its parents, from trees as /proc and /sys show them.
#include "base/cgroup.h"

#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "check.h"

using bitnet::cgroup_cpus;

namespace {

// A root folder with files in it.
struct Tree {
  const std::filesystem::path root = std::filesystem::temp_directory_path() /
                                     ("bitnet-cgroup-" + std::to_string(std::random_device{}()));
  ~Tree() { std::filesystem::remove_all(root); }
  Tree& file(const std::string& path, const std::string& text) {
    const std::filesystem::path full = root / path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
    return *this;
  }
  int cpus() const { return cgroup_cpus(root.string()); }
};

const char* const kV2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
const char* const kV1 =
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";

}  // namespace

TEST("the smallest quota of the own group and its parents counts, rounded up") {
  Tree tree;
  tree.file("proc/self/mountinfo", kV2).file("proc/self/cgroup", "0::/system.slice/a.service\n");
  CHECK_EQ(tree.cpus(), 0);
  tree.file("sys/fs/cgroup/system.slice/a.service/cpu.max", "max 100000\n");
  CHECK_EQ(tree.cpus(), 0);
  tree.file("sys/fs/cgroup/system.slice/cpu.max", "350000 100000\n");
  CHECK_EQ(tree.cpus(), 4);
  tree.file("sys/fs/cgroup/system.slice/a.service/cpu.max", "120000 100000\n");
  CHECK_EQ(tree.cpus(), 2);
  tree.file("sys/fs/cgroup/cpu.max", "1000 100000\n");
  CHECK_EQ(tree.cpus(), 1);
  tree.file("sys/fs/cgroup/system.slice/b.service/cpu.max", "100 100000\n");  // somebody else's
  CHECK_EQ(tree.cpus(), 1);
}

TEST("the groups of version 1 are those of the CPU controller") {
  Tree tree;
  tree.file("proc/self/mountinfo", kV1);
  tree.file("proc/self/cgroup", "3:cpuset:/x\n2:cpu,cpuacct:/docker/a b\n1:name=systemd:/\n0::/\n");
  const std::string cpu = "sys/fs/cgroup/cpu,cpuacct/docker/a b/";
  tree.file(cpu + "cpu.cfs_quota_us", "-1\n").file(cpu + "cpu.cfs_period_us", "100000\n");
  tree.file("sys/fs/cgroup/cpuset/x/cpu.cfs_quota_us", "100000\n");
  tree.file("sys/fs/cgroup/cpuset/x/cpu.cfs_period_us", "100000\n");
  CHECK_EQ(tree.cpus(), 0);
  tree.file(cpu + "cpu.cfs_quota_us", "250000\n");
  CHECK_EQ(tree.cpus(), 3);
}

TEST("a mount shows a part of the tree, at any place") {
  Tree tree;
  tree.file("proc/self/mountinfo",
            "30 23 0:26 /docker/abc /mnt/c\\040group rw - cgroup2 cgroup2 rw\n");
  tree.file("mnt/c group/cpu.max", "200000 100000\n");
  tree.file("mnt/c group/inner/cpu.max", "100000 100000\n");
  tree.file("proc/self/cgroup", "0::/docker/abc/inner\n");
  CHECK_EQ(tree.cpus(), 1);
  tree.file("proc/self/cgroup", "0::/docker/abc\n");
  CHECK_EQ(tree.cpus(), 2);
  for (const char* path : {"/docker/abcd", "/", "/../../x", "", "x"}) {  // not what is mounted
    tree.file("proc/self/cgroup", std::string("0::") + path + "\n");
    CHECK_EQ(tree.cpus(), 2);
  }
}

TEST("in a namespace of its own the group is the root") {
  Tree tree;
  tree.file("proc/self/mountinfo", kV2).file("proc/self/cgroup", "0::/\n");
  tree.file("sys/fs/cgroup/cpu.max", "150000 100000\n");
  CHECK_EQ(tree.cpus(), 2);
}

TEST("files that are not there or say nothing set no limit") {
  Tree tree;
  CHECK_EQ(tree.cpus(), 0);
  tree.file("proc/self/mountinfo", "nonsense\n - \n1 2 3 - cgroup2\n")
      .file("proc/self/cgroup", ":\n::\n0::/a\n");
  CHECK_EQ(tree.cpus(), 0);
  tree.file("proc/self/mountinfo", kV2);
  for (const char* text : {"", "x", "100000", "100000 0", "-5 100000", "nan nan", "0 100000"}) {
    tree.file("sys/fs/cgroup/cpu.max", text);
    CHECK_EQ(tree.cpus(), 0);
  }
  tree.file("sys/fs/cgroup/cpu.max", "1e300 1");
  CHECK(tree.cpus() > 1000);
}
