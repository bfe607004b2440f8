// Sets of options of bitnet serve by name. What is typed, or set by a variable or a file, wins over them.

import { availableParallelism } from "node:os";
import type { Command } from "commander";
import type { OptionRows } from "./option-rows.js";

/** Options by their long names; true for switches. */
type PresetValues = Readonly<Record<string, string | true>>;

interface Preset {
  help: string;
  values: PresetValues;
}

// What a device of so many threads and MB can do: 400 MB are the model's, and 50 MB each a request's that runs.
const modelMb = 400;
const requestMb = 50;

function device(threads: number, memoryMb: number, more: PresetValues = {}): PresetValues {
  const rest = memoryMb - modelMb;
  return {
    threads: String(Math.min(threads, availableParallelism())),
    parallel: String(Math.max(1, Math.floor(rest / requestMb))),
    "kv-memory": String(Math.floor(rest * 0.75)),
    "cache-ram": String(Math.floor(rest * 0.25)),
    alert: `memory=${memoryMb}`,
    ...more,
  };
}

export const presets = {
  production: {
    help: "10 at once, 30 s, cache, log file",
    values: {
      ...{ parallel: "10", timeout: "30", "response-cache": "64", "truncate-input": true, "ctx-size": "2048" },
      ...{ "n-predict": "256", temp: "0.7", "top-p": "0.9", "log-file": "bitnet-serve.log" },
    },
  },
  mobile: {
    help: "2 threads, 512 MB, short answers",
    values: device(2, 512, { "cache-type": "q8", "n-predict": "100", temp: "0.7" }),
  },
  edge: { help: "4 threads, 1024 MB", values: device(4, 1024) },
  server: { help: "8 threads, 2048 MB", values: device(8, 2048) },
  cloud: { help: "16 threads, 4096 MB", values: device(16, 4096) },
} as const satisfies Record<string, Preset>;

export const securityLevels = {
  strict: {
    help: "60 a minute, bounds, filter, audit",
    values: {
      ...{ "max-input-chars": "4096", "n-predict": "1024", "requests-per-minute": "60", "repeat-penalty": "1.05" },
      ...{ "content-filter": "strict", "audit-log": "bitnet-audit.jsonl" },
    },
  },
} as const satisfies Record<string, Preset>;

type Name<T> = Extract<keyof T, string>;

/** For below the options. */
export function describePresets(): string {
  const line =
    (option: string) =>
    ([name, { help }]: [string, Preset]) =>
      `  ${`${option} ${name}`.padEnd(20)}  ${help}`;
  const lines = [
    ...Object.entries(presets).map(line("--preset")),
    ...Object.entries(securityLevels).map(line("--security")),
  ];
  return `What is not given has other values with:\n${lines.join("\n")}`;
}

export const presetRows = {
  preset: {
    flags: "--preset <name>",
    help: "values for what is not given, below",
    choices: Object.keys(presets) as Name<typeof presets>[],
  },
  security: {
    flags: "--security <level>",
    help: "the same for limits, filter and audit log",
    choices: Object.keys(securityLevels) as Name<typeof securityLevels>[],
  },
} as const satisfies OptionRows;

/** Gives options that nobody has set the values of a preset. */
export function applyPresets(
  command: Command,
  { preset, security }: { preset?: keyof typeof presets; security?: keyof typeof securityLevels },
): void {
  const chosen: PresetValues[] = [];
  if (preset !== undefined) {
    chosen.push(presets[preset].values);
  }
  if (security !== undefined) {
    chosen.push(securityLevels[security].values);
  }
  for (const [name, text] of chosen.flatMap((values) => Object.entries(values))) {
    const option = command.options.find(({ long }) => long === `--${name}`);
    if (option === undefined) {
      throw new Error(`a preset has --${name}, which is no option`);
    }
    const source = command.getOptionValueSource(option.attributeName());
    if (source === undefined || source === "default" || source === "preset") {
      const value = text === true || option.parseArg === undefined ? text : option.parseArg(text, undefined as never);
      command.setOptionValueWithSource(option.attributeName(), value, "preset");
    }
  }
}
