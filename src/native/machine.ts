// What a measurement was made on: named in every output, as figures mean nothing without it.

import { readFileSync } from "node:fs";
import { availableParallelism, cpus, freemem, release, totalmem, type } from "node:os";
import { packageVersion } from "../system/package.js";
import { loadAddon } from "./addon.js";

export interface Machine {
  /** Of this program. */
  version: string;
  cpu: string;
  /** Physical cores that this process may use. */
  cores: number;
  /** Logical processors. */
  processors: number;
  memoryBytes: number;
  os: string;
  arch: string;
  node: string;
  /** Node and the addon are for another CPU than this one and are translated, at a fraction of the speed. */
  isTranslated: boolean;
}

export function describeMachine(): Machine {
  return {
    version: packageVersion(),
    cpu: cpuName(),
    cores: loadAddon().physicalCores(),
    processors: availableParallelism(),
    memoryBytes: totalmem(),
    os: `${type()} ${release()}`,
    arch: process.arch,
    node: process.version,
    isTranslated: loadAddon().isTranslated(),
  };
}

const tuningVersion = 1; // of what the tuning parameters mean

/** Machines with the same key share a tuning. */
export function machineKey(): string {
  return `v${tuningVersion}, ${cpuName()}, ${loadAddon().physicalCores()} cores`;
}

/** One line. */
export function formatMachine(machine: Machine): string {
  const { version, cpu, cores, processors, memoryBytes, os, isTranslated } = machine;
  const arch = isTranslated ? `${machine.arch}, translated` : machine.arch;
  const threads = processors === cores ? "" : `, ${processors} threads`;
  return `bitnet ${version}, ${cpu} (${cores} cores${threads}, ${arch}), ${Math.round(memoryBytes / 2 ** 30)} GiB, ${os}`;
}

/** Bytes that can be allocated without swapping, as far as the OS tells. */
export function availableMemory(): number {
  const { availableMemory: available } = process as { availableMemory?: () => number }; // Node 20.13
  return available?.() ?? freemem();
}

/** As the operating system calls it. */
export function cpuName(): string {
  const name = cpus()[0]?.model.trim() || "unknown";
  if (name !== "unknown" || process.platform !== "linux") {
    return name;
  }
  try {
    // Arm kernels name no model; the implementer and part number tell which core it is.
    const info = readFileSync("/proc/cpuinfo", "utf8");
    const field = (key: string) => new RegExp(`^${key}\\s*:\\s*(.*)$`, "m").exec(info)?.[1];
    return `${process.arch} (implementer ${field("CPU implementer")}, part ${field("CPU part")})`;
  } catch {
    return name;
  }
}
