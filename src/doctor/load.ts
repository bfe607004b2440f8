// What keeps the processor from this process while something is measured: other programs, the host of a virtual machine,
// a quota, heat.

import { loadavg } from "node:os";
import { readCgroup } from "./cgroup.js";
import type { SystemFiles } from "./system-files.js";

export interface LoadFacts {
  /** Of the last minute, before the measurement; null where the system has none. */
  loadAverage: number | null;
  /** Of the time of all processors that the host took; null: not told. */
  stealShare: number | null;
  /** Of the periods of the cgroup's quota, how many it cut short. */
  throttledShare: number | null;
  /** What the threads got of the processors that they wanted. */
  processorShare: number;
  /** Times that the processor slowed down because of heat; null: not told. */
  heatEvents: number | null;
}

/** Begins to watch; the function that it returns ends that. */
export function watchLoad(files: SystemFiles): (threads: number) => LoadFacts {
  const average = process.platform === "win32" ? null : (loadavg()[0] ?? null);
  const before = readCounters(files);
  const begun = performance.now();
  const usage = process.cpuUsage();
  return (threads) => {
    const seconds = (performance.now() - begun) / 1000;
    const { user, system } = process.cpuUsage(usage);
    const after = readCounters(files);
    const ratio = (part: number | null, whole: number | null) =>
      part === null || whole === null || whole <= 0 ? null : part / whole;
    const since = (key: keyof Counters) =>
      after[key] === null || before[key] === null ? null : after[key] - before[key];
    return {
      loadAverage: average,
      stealShare: ratio(since("steal"), since("ticks")),
      throttledShare: ratio(since("throttled"), since("periods")),
      processorShare: (user + system) / 1e6 / (seconds * threads),
      heatEvents: since("heat"),
    };
  };
}

interface Counters {
  steal: number | null;
  ticks: number | null;
  periods: number | null;
  throttled: number | null;
  heat: number | null;
}

function readCounters(files: SystemFiles): Counters {
  const first = files.read("/proc/stat")?.split("\n")[0] ?? "";
  const ticks = /^cpu /.test(first) ? first.trim().split(/\s+/).slice(1, 9).map(Number) : undefined;
  const group = readCgroup(files);
  const heat = files.number("/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count");
  return {
    steal: ticks?.[7] ?? null,
    ticks: ticks?.reduce((sum, one) => sum + one, 0) ?? null,
    periods: group === undefined || group.cpus === null ? null : group.periods,
    throttled: group === undefined || group.cpus === null ? null : group.throttled,
    heat: heat ?? null,
  };
}
