// What `bitnet doctor` tells of each check: lines of a label and a text, for the page and for the report.

import { isWrong } from "../doctor/correctness.js";
import type { CheckId, Diagnosis } from "../doctor/diagnose.js";
import type { Place } from "../doctor/disk.js";
import type { KernelFacts, ProcessorFacts } from "../doctor/processor.js";
import type { PassFacts } from "../doctor/speed.js";
import { countOf } from "../system/counts.js";
import { shortenHome } from "../system/folders.js";
import { formatBytes } from "./terminal/format.js";

/** A label, which may be empty, and what is told. */
export type Row = [label: string, text: string];

type Facts<Id extends CheckId> = NonNullable<Diagnosis["checks"][Id]["facts"]>;
type Describe = { [Id in CheckId]: (facts: Facts<Id>, diagnosis: Diagnosis) => Row[] };

/** Rows of a check; none where it found out nothing. */
export function rowsOf(id: CheckId, diagnosis: Diagnosis): Row[] {
  const { facts } = diagnosis.checks[id];
  const rows = describe[id] as (facts: unknown, diagnosis: Diagnosis) => Row[];
  return facts === null ? [] : rows(facts, diagnosis);
}

const describe: Describe = {
  program: describeProgram,
  processor: describeProcessor,
  memory: describeMemory,
  disk: describeDisk,
  settings: describeSettings,
  network: describeNetwork,
  correctness: describeCorrectness,
  model: describeModel,
  speed: describeSpeed,
};

const origins = {
  clone: "built in this clone",
  package: "of the package for this platform",
  local: "built on this machine",
} as const;

function describeProgram(facts: Facts<"program">): Row[] {
  const { bitnet, node, platform, libc, addon, system, kernel, container, hypervisor, wsl, translator } = facts;
  const built = addon === null ? "it does not load" : `${origins[addon.kind]} (${addon.compiler}, ${addon.build})`;
  const around = [
    container === null ? "" : `in a container (${container})`,
    hypervisor === null ? "" : `in a virtual machine (${hypervisor})`,
    wsl === null ? "" : `in WSL ${wsl}`,
    translator === null ? "" : `translated by ${translator}`,
  ].filter((text) => text !== "");
  return [
    ["bitnet", bitnet],
    ["native part", built],
    ...(addon !== null ? [["", shortenHome(addon.path)] as Row] : []),
    ["Node", `${node}, ${platform}${libc === null ? "" : `, ${libc}`}`],
    ["system", `${system}, kernel ${kernel}`],
    ...(around.length === 0 ? [] : [["runs", around.join(", ")] as Row]),
  ];
}

function describeProcessor(facts: Facts<"processor">): Row[] {
  const { model, brand, features, governor, megahertz, mostMegahertz, threads, tuningFile, layout } = facts;
  const clock = [
    megahertz === null ? "" : `${megahertz} MHz`,
    mostMegahertz === null ? "" : `at most ${mostMegahertz} MHz`,
    governor === null ? "" : `governor ${governor}`,
  ].filter((text) => text !== "");
  const present = features.filter((feature) => feature.present).map(({ name }) => name);
  return [
    ["model", brand === null ? model : `${brand} (the system says ${model})`],
    ["cores", describeCores(facts)],
    ...(clock.length === 0 ? [] : [["clock", clock.join(", ")] as Row]),
    ...(features.length === 0
      ? []
      : [["has", present.join(", ") || "none of the instruction sets that kernels use"] as Row]),
    ...describeKernels(facts),
    ...(layout === null ? [] : [["layout", `${layout}, of BITNET_LAYOUT`] as Row]),
    ...(threads === null
      ? []
      : [
          [
            "threads",
            `${threads}${tuningFile === null ? "" : `, with what bitnet tune found (${shortenHome(tuningFile)})`}`,
          ] as Row,
        ]),
  ];
}

function describeCores({ cores, processors, usableCores, usableProcessors, affinity, quota }: ProcessorFacts): string {
  const all = cores === null ? `${processors} processors` : `${cores} cores, ${processors} processors`;
  const usable = [
    usableCores === null ? "" : countOf(usableCores, "core"),
    usableProcessors < processors ? `${usableProcessors} of the processors` : "",
    affinity === null ? "" : `(${affinity})`,
    quota === null ? "" : `by a quota of ${Number(quota.toFixed(2))}`,
  ].filter((text) => text !== "");
  return usable.length === 0 ? all : `${all}; usable: ${usable.join(" ")}`;
}

function describeKernels({ kernels, kernel, chosenBy }: ProcessorFacts): Row[] {
  if (kernel === null) {
    return [];
  }
  const by = {
    processor: "the best that runs here",
    BITNET_KERNEL: "of BITNET_KERNEL",
    tuning: "of bitnet tune",
  } as const;
  const others = kernels.filter(({ name, supported }) => supported && name !== kernel).map(({ name }) => name);
  const missing = kernels.filter(({ supported }) => !supported);
  return [
    ["kernel", `${kernel}: ${by[chosenBy]}`],
    ...(others.length === 0 ? [] : [["", `also: ${others.join(", ")}`] as Row]),
    ...(missing.length === 0 ? [] : [["", `not: ${groupMissing(missing)}`] as Row]),
  ];
}

/** "avx2 (no AVX2 with FMA and F16C)", by the first feature that is missing; the others are in the data. */
function groupMissing(missing: readonly KernelFacts[]): string {
  const groups = new Map<string, string[]>();
  for (const { name, lacks } of missing) {
    const why = lacks[0] ?? "";
    groups.set(why, [...(groups.get(why) ?? []), name]);
  }
  return [...groups].map(([why, names]) => `${names.join(", ")} (no ${why})`).join("; ");
}

function describeMemory(facts: Facts<"memory">): Row[] {
  const { totalBytes, availableBytes, cgroupLimitBytes, swapBytes, swapUsedBytes, pageBytes, hugePages, model } = facts;
  const limit = cgroupLimitBytes === null ? "" : `, ${formatBytes(cgroupLimitBytes)} for this cgroup`;
  const pages = [
    pageBytes === null ? "" : `${pageBytes / 1024} KiB`,
    hugePages === null ? "" : `huge pages: ${hugePages}, ${usesHugePages(hugePages)}`,
  ].filter((text) => text !== "");
  return [
    [
      "memory",
      `${formatBytes(totalBytes)}${limit}${availableBytes === null ? "" : `; ${formatBytes(availableBytes)} are free`}`,
    ],
    ...(swapBytes === null
      ? []
      : [
          [
            "swap",
            swapBytes === 0 ? "none" : `${formatBytes(swapBytes)}, ${formatBytes(swapUsedBytes ?? 0)} in use`,
          ] as Row,
        ]),
    ...(pages.length === 0 ? [] : [["pages", pages.join("; ")] as Row]),
    ...(model === null
      ? []
      : [
          [
            "model takes",
            `${formatBytes(model.totalBytes)}: ${formatBytes(model.weightBytes)} weights, ` +
              `${formatBytes(model.cacheBytes)} for ${model.contextSize} tokens of context, ${formatBytes(model.fixedBytes)} the program` +
              `; it ${model.fits ? "fits" : "DOES NOT FIT"}`,
          ] as Row,
        ]),
  ];
}

function usesHugePages(setting: string): string {
  return setting === "never" ? "so weights are read where the file is mapped" : "which large weights are copied to";
}

const placeNames: Record<Place["what"], string> = {
  model: "the model",
  models: "models",
  downloads: "downloads",
  cache: "cache",
  state: "state",
  config: "options",
  temporary: "temporary",
};

function describeDisk({ places, cachedShare }: Facts<"disk">): Row[] {
  const rows = places.flatMap((place): Row[] =>
    place.what === "model" && place.path === null ? [] : [[placeNames[place.what], describePlace(place)]],
  );
  return cachedShare === null
    ? rows
    : [
        ...rows,
        ["in memory", `${Math.round(100 * cachedShare)} % of the model's file, which then loads without the disk`],
      ];
}

function describePlace({ path, exists, writable, problem, freeBytes, fileSystem, kind }: Place): string {
  if (path === null) {
    return "none: this user has no home folder";
  }
  const about = [
    exists ? "" : "not there yet",
    freeBytes === null ? "" : `${formatBytes(freeBytes)} free`,
    fileSystem === null ? "" : kind === "network" ? `${fileSystem}, over the network` : fileSystem,
    writable ? "" : `not writable: ${problem}`,
  ].filter((text) => text !== "");
  return `${shortenHome(path)} (${about.join(", ")})`;
}

function describeSettings({ variables, files }: Facts<"settings">): Row[] {
  const set = variables.map(
    ({ name, value }): Row => ["", value === null ? `${name} is set` : `${name}=${shortenHome(value)}`],
  );
  const first = set[0];
  return [
    ...(first === undefined
      ? [["variables", "none of those that are read"] as Row]
      : [["variables", first[1]] as Row, ...set.slice(1)]),
    ["options", files.length === 0 ? "no file" : files.map(({ path }) => shortenHome(path)).join(", ")],
  ];
}

function describeNetwork(facts: Facts<"network">): Row[] {
  const { endpoint, tokenSource, offline, proxy, proxyVariables, online } = facts;
  const asked =
    online === null
      ? "not asked; --online does"
      : online.reached
        ? `it answers, in ${online.milliseconds} ms`
        : `NOT REACHED: ${online.reason}`;
  return [
    ["hub", `${endpoint ?? "no address"}${offline ? ", not used: HF_HUB_OFFLINE" : ""}; ${asked}`],
    ["token", tokenSource === null ? "none" : `from ${shortenHome(tokenSource)}`],
    [
      "proxy",
      proxy === null
        ? proxyVariables.length === 0
          ? "none"
          : `none for the hub (${proxyVariables.join(", ")})`
        : proxy,
    ],
  ];
}

function describeCorrectness({ modelIntact, proofs, tokenizer }: Facts<"correctness">): Row[] {
  const wrong = proofs.filter(isWrong);
  const reasons = [...new Set(proofs.flatMap(({ problem }) => problem ?? []))];
  const kernels = [...new Set(proofs.map(({ kernel }) => kernel))];
  const worst = Math.max(...proofs.map(({ difference }) => difference ?? 0));
  if (!modelIntact) {
    return [["tested", "nothing: the bundled model is damaged"]];
  }
  const sum =
    wrong.length > 0
      ? `WRONG: ${wrong.map(({ kernel, layout }) => `${kernel} with ${layout}`).join(", ")}`
      : reasons.length > 0
        ? `NOT ALL TESTED: ${reasons.join(", ")}`
        : `right: logits within ${worst.toPrecision(1)} of an independent reference, the same text`;
  return [
    ["tested", `${kernels.join(", ")}, each with ${proofs.length / Math.max(1, kernels.length)} layouts of weights`],
    ["result", sum],
    ["tokenizer", tokenizer ? "gives back every text" : "WRONG"],
  ];
}

function describeModel(facts: Facts<"model">, { quick }: Diagnosis): Row[] {
  const {
    path,
    bytes,
    name,
    architecture,
    weightType,
    parameters,
    layers,
    contextLength,
    source,
    hash,
    weights,
    english,
  } = facts;
  const size = parameters >= 1e9 ? `${(parameters / 1e9).toFixed(2)} B` : `${(parameters / 1e6).toFixed(1)} M`;
  const shape = [
    `${size} parameters`,
    layers === null ? "" : `${layers} layers`,
    contextLength === null ? "" : `context ${contextLength}`,
  ].filter((text) => text !== "");
  const hashes = {
    same: `the one that ${hash.from} has`,
    other: "NOT the one that was published",
    unknown: "nobody has written down which one it should be",
    unread: "known, not compared (--quick)",
  } as const;
  return [
    ["file", `${shortenHome(path)}, ${formatBytes(bytes)}`],
    ["is", `${name ?? "without a name"}: ${architecture}, ${weightType}, ${shape.join(", ")}`],
    ...(source === null ? [] : [["from", source] as Row]),
    ["header", "every key, tensor and the vocabulary are as a model needs them"],
    ["SHA-256", hashes[hash.result]],
    ["weights", weights === null ? (quick ? "not read (--quick)" : "not read") : describeWeights(weights)],
    ...(english === null
      ? []
      : [
          [
            "English",
            `${english.nats.toFixed(2)} nats a token in a plain sentence; chance is ${english.chanceNats.toFixed(2)}`,
          ] as Row,
        ]),
  ];
}

function describeWeights({
  tensors,
  minus,
  zero,
  plus,
  badRows,
  unlikely,
  unread,
}: NonNullable<Facts<"model">["weights"]>) {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const what =
    badRows > 0
      ? `${badRows} ${badRows === 1 ? "row holds" : "rows hold"} what no weight is`
      : unlikely.length > 0
        ? "unlike those of a model"
        : "all of them possible";
  const rest = unread === 0 ? "" : `; ${unread} could not be read`;
  return `${tensors} tensors, ${what}: ${percent(minus)} -1, ${percent(zero)} 0, ${percent(plus)} +1${rest}`;
}

function describeSpeed(facts: Facts<"speed">): Row[] {
  const { kernel, threads, readBandwidth, int8Peak, bytesPerToken, isSmall, decode, prefill } = facts;
  const peak = int8Peak < 1e12 ? `${Math.round(int8Peak / 1e9)} G` : `${(int8Peak / 1e12).toPrecision(3)} T`;
  const machine = `${(readBandwidth / 1e9).toPrecision(3)} GB/s from memory, ${peak} int8 operations/s`;
  return [
    ["machine", `${machine} with ${countOf(threads, "thread")} of ${kernel}`],
    [
      "a token",
      `reads ${formatBytes(bytesPerToken)} of weights${isSmall ? ": they lie in the caches, faster than memory" : ""}`,
    ],
    ["writes", describePass(decode, isSmall)],
    ["reads", describePass(prefill, isSmall)],
  ];
}

function describePass({ tokensPerSecond, ceiling, share, bound, tokens }: PassFacts, isSmall: boolean): string {
  const speed = (value: number) => (value >= 99.5 ? String(Math.round(value)) : value.toPrecision(3));
  const reached = `${speed(tokensPerSecond)} tokens/s over ${tokens} tokens`;
  return ceiling === null || share === null || isSmall
    ? reached
    : `${reached}, ${Math.round(100 * share)} % of the ${speed(ceiling)} that ${bound === "memory" ? "memory allows" : "the processor allows"}`;
}
