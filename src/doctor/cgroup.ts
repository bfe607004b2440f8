// What the cgroups of Linux allow this process, version 1 or 2, its own group and every group above it. The core counts
// its threads by the same files (native/base/cgroup.cpp); here they are read once more, because a report is wanted most
// where the core does not load.

import { listMounts, type Mount } from "./mounts.js";
import type { SystemFiles } from "./system-files.js";

export interface Cgroup {
  /** CPUs of time per second, the smallest quota; null: none. */
  cpus: number | null;
  memoryLimit: number | null; // bytes, the smallest one
  memoryUsed: number | null; // by the group with that limit, without what the cache of files could give back
  /** Of the quota, since the group began. */
  periods: number;
  throttled: number;
  throttledSeconds: number;
}

const unlimited = 2 ** 62; // version 1 says "no limit" as a number of about 2^63

/** undefined where there are no cgroups that can be read. */
export function readCgroup(files: SystemFiles): Cgroup | undefined {
  const mounts = listMounts(files).filter(({ type }) => type === "cgroup" || type === "cgroup2");
  const groups = files.read("/proc/self/cgroup");
  if (groups === undefined || mounts.length === 0) {
    return undefined;
  }
  const cpu = foldersOf(mounts, groups, "cpu");
  const memory = foldersOf(mounts, groups, "memory");
  const quotas = cpu.flatMap((folder) => quotaOf(files, folder) ?? []);
  const limits = memory.flatMap((folder) => limitOf(files, folder) ?? []);
  const least = limits.reduce<(typeof limits)[number] | undefined>(
    (best, one) => (best === undefined || one.limit < best.limit ? one : best),
    undefined,
  );
  return {
    cpus: quotas.length === 0 ? null : Math.min(...quotas),
    memoryLimit: least?.limit ?? null,
    memoryUsed: least?.used ?? null,
    ...readThrottling(files, cpu),
  };
}

interface GroupFolder {
  path: string;
  isV2: boolean;
}

/** The folders of the process's group and of all groups above it that are seen here, the process's own first. */
function foldersOf(mounts: readonly Mount[], groups: string, controller: string): GroupFolder[] {
  return groups.split("\n").flatMap((line) => {
    const [, controllers, ...rest] = line.split(":"); // "NUMBER:CONTROLLERS:PATH"
    const path = rest.join(":");
    const isV2 = controllers === "";
    if (controllers === undefined || !(isV2 || controllers.split(",").includes(controller))) {
      return [];
    }
    const fitting = mounts.filter((mount) =>
      isV2 ? mount.type === "cgroup2" : mount.type === "cgroup" && mount.options.includes(controller),
    );
    return fitting.flatMap((mount) => pathsUpwards(mount, path).map((folder) => ({ path: folder, isV2 })));
  });
}

function pathsUpwards(mount: Mount, group: string): string[] {
  const top = mount.root === "/" ? "" : mount.root;
  // A path that the mount does not show: from within a container, say. What it shows still counts.
  const isInside = group.startsWith(`${top}/`) && !group.includes("/../");
  const parts = isInside ? group.slice(top.length).split("/").filter(Boolean) : [];
  const base = mount.point === "/" ? "" : mount.point;
  return Array.from({ length: parts.length + 1 }, (_, up) => [base, ...parts.slice(0, parts.length - up)].join("/"));
}

function quotaOf(files: SystemFiles, { path, isV2 }: GroupFolder): number | undefined {
  const [quota, period] = isV2
    ? (files.line(`${path}/cpu.max`)?.split(/\s+/).map(Number) ?? [])
    : [files.number(`${path}/cpu.cfs_quota_us`), files.number(`${path}/cpu.cfs_period_us`)];
  return quota !== undefined && period !== undefined && quota > 0 && period > 0 ? quota / period : undefined;
}

function limitOf(files: SystemFiles, { path, isV2 }: GroupFolder): { limit: number; used: number | null } | undefined {
  const limit = files.number(`${path}/${isV2 ? "memory.max" : "memory.limit_in_bytes"}`);
  if (limit === undefined || limit < 0 || limit >= unlimited) {
    return undefined;
  }
  const used = files.number(`${path}/${isV2 ? "memory.current" : "memory.usage_in_bytes"}`);
  const inactive = /^(?:total_)?inactive_file (\d+)$/m.exec(files.read(`${path}/memory.stat`) ?? "")?.[1];
  return { limit, used: used === undefined ? null : Math.max(0, used - Number(inactive ?? 0)) };
}

function readThrottling(
  files: SystemFiles,
  folders: readonly GroupFolder[],
): Pick<Cgroup, "periods" | "throttled" | "throttledSeconds"> {
  const texts = folders.map(({ path, isV2 }) => ({ text: files.read(`${path}/cpu.stat`) ?? "", isV2 }));
  const sum = (name: string) =>
    texts.reduce((total, { text }) => total + Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0), 0);
  return {
    periods: sum("nr_periods"),
    throttled: sum("nr_throttled"),
    throttledSeconds: sum("throttled_usec") / 1e6 + sum("throttled_time") / 1e9,
  };
}
