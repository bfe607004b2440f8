// The processor: what it is, what of it this process may use, which kernel computes here, and why.

import { availableParallelism, cpus } from "node:os";
import { applyTuning } from "../engine/tuning.js";
import type { NativeAddon } from "../native/addon.js";
import { cpuName } from "../native/machine.js";
import { readCgroup } from "./cgroup.js";
import { type Advice, type Context, type Finding, findingOf } from "./check.js";
import { describeSurroundings, type ProgramFacts } from "./program.js";
import { fieldOf, type SystemFiles } from "./system-files.js";

export interface KernelFacts {
  name: string;
  supported: boolean;
  /** Features that the processor or the operating system does not have. */
  lacks: string[];
}

export interface ProcessorFacts {
  model: string;
  /** As the processor calls itself, where the system tells another name. */
  brand: string | null;
  /** Cores and processors (hyper-threads) of the machine; null: not known. */
  cores: number | null;
  processors: number;
  /** Of which this process may use so many; a quota counts. */
  usableCores: number | null;
  usableProcessors: number;
  /** "0-3,8", where not all may be used. */
  affinity: string | null;
  /** CPUs of time per second that the cgroup allows. */
  quota: number | null;
  features: { name: string; present: boolean }[];
  kernels: KernelFacts[];
  /** The one that models get. */
  kernel: string | null;
  /** Who chose it. */
  chosenBy: "processor" | "BITNET_KERNEL" | "tuning";
  /** Of BITNET_LAYOUT. */
  layout: string | null;
  /** Threads of a model that is loaded without a number. */
  threads: number | null;
  tuningFile: string | null;
  governor: string | null;
  megahertz: number | null;
  mostMegahertz: number | null;
}

export async function checkProcessor(context: Context): Promise<Finding<ProcessorFacts>> {
  const { native, files, env } = context;
  const addon = native instanceof Error ? undefined : native;
  const cpu = addon?.describeCpu();
  const model = cpuName();
  const choice = await chooseKernel(addon, env);
  const facts: ProcessorFacts = {
    model,
    brand: cpu !== undefined && cpu.brand !== "" && !isSameName(cpu.brand, model) ? cpu.brand : null,
    ...countProcessors(files, addon),
    quota: readCgroup(files)?.cpus ?? null,
    features: cpu?.features ?? [],
    kernels: addon?.kernels() ?? [],
    ...choice,
    layout: env.BITNET_LAYOUT || null,
    ...readFrequency(files),
  };
  const flags = files.read("/proc/cpuinfo") ?? "";
  return findingOf(facts, [
    ...adviseKernel(facts, describeSurroundings(context)),
    ...adviseAmx({ ...facts, flags }),
    ...adviseCores(facts),
  ]);
}

function isSameName(a: string, b: string): boolean {
  const bare = (text: string) => text.replace(/\s+/g, "").toLowerCase();
  return bare(a) === bare(b);
}

type Counts = Pick<ProcessorFacts, "cores" | "processors" | "usableCores" | "usableProcessors" | "affinity">;

function countProcessors(files: SystemFiles, addon: NativeAddon | undefined): Counts {
  const processors = cpus().length || availableParallelism(); // cpus() is empty where /proc is not there
  const allowed = fieldOf(files.read("/proc/self/status"), "Cpus_allowed_list") ?? null;
  const usable = allowed === null ? availableParallelism() : countList(allowed);
  return {
    cores: countCores(files),
    processors: Math.max(processors, availableParallelism()),
    usableCores: addon?.physicalCores() ?? null,
    usableProcessors: Math.min(usable, processors),
    affinity: allowed !== null && usable < processors ? allowed : null,
  };
}

/** "0-3,8": 5 */
export function countList(list: string): number {
  return list.split(",").reduce((sum, range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return sum + last - first + 1;
  }, 0);
}

/** Hyper-threads of one core are siblings. */
function countCores(files: SystemFiles): number | null {
  const folders = files.list("/sys/devices/system/cpu").filter((name) => /^cpu\d+$/.test(name));
  const siblings = folders.flatMap(
    (name) => files.line(`/sys/devices/system/cpu/${name}/topology/thread_siblings_list`) ?? [],
  );
  return siblings.length === 0 ? null : new Set(siblings).size;
}

type Choice = Pick<ProcessorFacts, "kernel" | "chosenBy" | "threads" | "tuningFile">;

async function chooseKernel(addon: NativeAddon | undefined, env: Context["env"]): Promise<Choice> {
  if (addon === undefined) {
    return { kernel: null, chosenBy: "processor", threads: null, tuningFile: null };
  }
  const { options, applied } = await applyTuning({}, env);
  const best = addon.kernels().find(({ supported }) => supported)?.name ?? null;
  const threads = options.threads ?? addon.physicalCores();
  const shared = { threads, tuningFile: applied?.file ?? null };
  if (env.BITNET_KERNEL) {
    return { kernel: env.BITNET_KERNEL, chosenBy: "BITNET_KERNEL", ...shared };
  }
  return options.kernel === undefined
    ? { kernel: best, chosenBy: "processor", ...shared }
    : { kernel: options.kernel, chosenBy: "tuning", ...shared };
}

function readFrequency(files: SystemFiles): Pick<ProcessorFacts, "governor" | "megahertz" | "mostMegahertz"> {
  const folder = "/sys/devices/system/cpu/cpu0/cpufreq";
  const kilohertz = (name: string) => files.number(`${folder}/${name}`);
  const [now, most] = [kilohertz("scaling_cur_freq"), kilohertz("cpuinfo_max_freq")];
  const speed = cpus()[0]?.speed;
  return {
    governor: files.line(`${folder}/scaling_governor`) ?? null,
    megahertz: now === undefined ? speed || null : Math.round(now / 1000),
    mostMegahertz: most === undefined ? null : Math.round(most / 1000),
  };
}

type Surroundings = Pick<ProgramFacts, "hypervisor" | "translator">;

function adviseKernel(facts: ProcessorFacts, { hypervisor, translator }: Surroundings): Advice[] {
  const { kernels, kernel, chosenBy } = facts;
  if (kernels.length === 0) {
    return [];
  }
  const forced = kernels.find(({ name }) => name === kernel);
  if (chosenBy === "BITNET_KERNEL" && forced?.supported !== true) {
    const known = kernels.filter(({ supported }) => supported).map(({ name }) => name);
    const why = forced === undefined ? "no kernel has that name" : `this processor lacks ${forced.lacks.join(", ")}`;
    const next = `set it to one of ${known.join(", ")}, or unset it`;
    return [{ status: "problem", what: `BITNET_KERNEL is ${kernel}: ${why}`, next }];
  }
  return [...adviseForced(facts), ...adviseVectors(facts, { hypervisor, translator })];
}

function adviseForced({ kernels, kernel, chosenBy }: ProcessorFacts): Advice[] {
  const best = kernels.find(({ supported }) => supported)?.name;
  return chosenBy === "BITNET_KERNEL" && kernel !== best
    ? [
        {
          status: "warning",
          what: `BITNET_KERNEL takes ${kernel} in the place of ${best}, the best of this processor`,
          next: "unset BITNET_KERNEL",
        },
      ]
    : [];
}

/** What it costs was measured: a product of 2560 x 2560 on a Zen 5 took 15.2 ms by scalar and 0.40 ms by avx2. */
function adviseVectors({ kernels }: ProcessorFacts, { hypervisor, translator }: Surroundings): Advice[] {
  const usable = kernels.filter(({ supported }) => supported);
  const simplest = kernels.find(({ name }) => name === "avx2");
  if (usable.length > 1 || simplest === undefined) {
    return [];
  }
  const next =
    translator !== null
      ? "run it on the processor itself"
      : hypervisor === null
        ? "another machine: Intel since 2013 and AMD since 2015 have it"
        : "let the virtual machine see the whole processor: -cpu host of QEMU, CPU type host of Proxmox";
  const what = `there is no ${simplest.lacks.join(", ")}: only the scalar kernel runs, tens of times slower`;
  return [{ status: "warning", what, next }];
}

/** Linux names the tiles among the flags; whether it hands them out is another question. */
function adviseAmx({ kernels, flags }: Pick<ProcessorFacts, "kernels"> & { flags: string }): Advice[] {
  const amx = kernels.find(({ name }) => name === "amx");
  return amx?.supported === false && / amx_int8( |$)/m.test(flags)
    ? [{ status: "note", what: "the processor has AMX, but the system does not hand its tiles out (Linux 5.16 does)" }]
    : [];
}

function adviseCores({ quota, usableCores, cores, affinity, governor, threads }: ProcessorFacts): Advice[] {
  const advice: Advice[] = [];
  if (quota !== null && quota < 1) {
    advice.push({
      status: "warning",
      what: `the cgroup allows ${quota} of a CPU: work is stopped and goes on many times a second`,
      next: "give the container at least one CPU (docker --cpus, resources.limits.cpu)",
    });
  } else if (quota !== null && cores !== null && quota < cores) {
    advice.push({ status: "note", what: `the cgroup allows ${quota} of ${cores} cores` });
  }
  if (affinity !== null && quota === null) {
    advice.push({ status: "note", what: `the process may run on processors ${affinity} alone` });
  }
  if (usableCores !== null && threads !== null && threads > usableCores) {
    advice.push({ status: "warning", what: `${threads} threads share ${usableCores} cores`, next: "bitnet tune" });
  }
  if (governor === "powersave" || governor === "conservative") {
    advice.push({
      status: "note",
      what: `the frequency governor is ${governor}`,
      next: "cpupower frequency-set -g performance, if it is not intel_pstate's own",
    });
  }
  return advice;
}
