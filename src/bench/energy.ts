// Energy of the processor, from its own counters: RAPL on Linux, powermetrics on macOS. Where neither can be read this
// says why; nothing is ever estimated.

import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { at } from "../system/at.js";

/** Joules between start() and stop(), or null. */
export type EnergyReading = number | null;

export interface EnergyMeter {
  status: { source: string } | { unavailable: string };
  start(): Promise<void>;
  stop(): Promise<EnergyReading>;
  close(): void;
}

export async function openEnergyMeter(
  platform: NodeJS.Platform = process.platform,
  powercap = "/sys/class/powercap",
): Promise<EnergyMeter> {
  if (platform === "linux") {
    return openRapl(powercap);
  }
  if (platform === "darwin") {
    return process.getuid?.() === 0 ? openPowermetrics() : noMeter("powermetrics needs root");
  }
  return noMeter(`there is no counter that can be read on ${platform}`);
}

function noMeter(reason: string): EnergyMeter {
  return {
    status: { unavailable: reason },
    start: async () => {},
    stop: async () => null,
    close: () => {},
  };
}

interface RaplDomain {
  name: string;
  path: string;
  range: number; // microjoules at which the counter wraps
}

function openRapl(powercap: string): EnergyMeter {
  let domains: RaplDomain[];
  try {
    domains = listPackages(powercap);
    if (domains.length === 0) {
      return noMeter(`${powercap} has no RAPL package (virtual machines seldom do)`);
    }
    readCounters(domains);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return noMeter(
      code === "EACCES" || code === "EPERM"
        ? `${powercap}/intel-rapl:*/energy_uj can be read by root only`
        : `${powercap} cannot be read (virtual machines seldom have it)`,
    );
  }
  let before: number[] | undefined;
  return {
    status: { source: `RAPL, ${domains.map(({ name }) => name).join(", ")}` },
    start: async () => {
      before = readCounters(domains);
    },
    stop: async () => {
      const after = readCounters(domains);
      const first = before;
      before = undefined;
      return first === undefined ? null : sumJoules(domains, first, after);
    },
    close: () => {},
  };
}

/** Whole packages only: their parts (core, dram) would be counted twice. */
function listPackages(powercap: string): RaplDomain[] {
  return readdirSync(powercap)
    .filter((entry) => /^intel-rapl:\d+$/.test(entry))
    .map((entry) => {
      const path = join(powercap, entry);
      const read = (file: string) => readFileSync(join(path, file), "utf8").trim();
      return { name: read("name"), path, range: Number(read("max_energy_range_uj")) };
    })
    .filter(({ name }) => name.startsWith("package"));
}

function readCounters(domains: readonly RaplDomain[]): number[] {
  return domains.map(({ path }) => Number(readFileSync(join(path, "energy_uj"), "utf8")));
}

/** A counter that is lower than before has wrapped once: at 100 W that takes minutes. */
export function sumJoules(
  domains: readonly { range: number }[],
  before: readonly number[],
  after: readonly number[],
): number {
  let microjoules = 0;
  for (const [i, { range }] of domains.entries()) {
    const used = at(after, i) - at(before, i);
    microjoules += used < 0 ? used + range : used;
  }
  return microjoules / 1e6;
}

function openPowermetrics(): EnergyMeter {
  let child: ReturnType<typeof spawn> | undefined;
  let text = "";
  let started = 0;
  const close = () => {
    child?.kill("SIGINT");
    child = undefined;
  };
  return {
    status: { source: "powermetrics, CPU power" },
    start: async () => {
      close();
      text = "";
      started = performance.now();
      child = spawn("powermetrics", ["--samplers", "cpu_power", "-i", "100"], { stdio: ["ignore", "pipe", "ignore"] });
      child.on("error", () => {}); // no samples, no reading
      child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
    },
    stop: async () => {
      const seconds = (performance.now() - started) / 1000;
      close();
      const watts = averageWatts(text);
      return watts === null ? null : watts * seconds;
    },
    close,
  };
}

/** The mean of the CPU powers that powermetrics has printed; null if there is none yet. */
export function averageWatts(text: string): number | null {
  const powers = [...text.matchAll(/^CPU Power: (\d+) mW$/gm)].map((match) => Number(match[1]));
  return powers.length === 0 ? null : powers.reduce((sum, power) => sum + power, 0) / powers.length / 1000;
}
