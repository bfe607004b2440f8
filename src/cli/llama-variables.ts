// Variables by the names that llama.cpp's server has for its options, LLAMA_ARG_CTX_SIZE, and the same as BITNET_ARG_.

import type { Command } from "commander";
import { type CommandOption, optionsOf, refusalsOf } from "./option-rows.js";

/** By the long names of options, where a variable has not the name of any spelling of it. */
const otherNames: Readonly<Record<string, string>> = {
  "--batch-size": "BATCH",
  "--parallel": "N_PARALLEL",
  "--path": "STATIC_PATH",
  "--reasoning-format": "THINK",
  "--slots": "ENDPOINT_SLOTS",
};

/** Variables of llama.cpp's server that have no such prefix. */
const wholeNames: Readonly<Record<string, string>> = {
  "--api-key": "LLAMA_API_KEY",
  "--log-file": "LLAMA_LOG_FILE",
};

const prefixes = ["BITNET_ARG_", "LLAMA_ARG_"];

export interface ArgVariable {
  name: string;
  /** LLAMA_ARG_NO_CONTEXT_SHIFT: true means that the option is false. */
  negates: boolean;
}

const commandsWithVariables = new WeakSet<Command>();

/** Makes a command read these variables, too. */
export function useLlamaVariables(command: Command): void {
  commandsWithVariables.add(command);
}

/** "CTX_SIZE". */
function toName(spelling: string): string {
  return spelling
    .replace(/^--(no-)?/, "")
    .toUpperCase()
    .replace(/[^A-Z0-9]+/g, "_");
}

/** The variables of an option, the one that wins first. */
export function llamaVariablesOf(command: Command, { row, option }: CommandOption): ArgVariable[] {
  if (!commandsWithVariables.has(command) || row.variable === false || row.ignored !== undefined) {
    return [];
  }
  const { long = "" } = option;
  const spellings = [long, ...(row.aliases ?? [])].filter((spelling) => spelling.startsWith("--"));
  const other = otherNames[long];
  const names = [...new Set([...spellings.map(toName), ...(other === undefined ? [] : [other])])];
  const isSwitch = !option.required || row.negated !== undefined;
  const whole = wholeNames[long];
  return [
    ...prefixes.flatMap((prefix) => names.map((name) => ({ name: prefix + name, negates: false }))),
    ...(whole === undefined ? [] : [{ name: whole, negates: false }]),
    ...(isSwitch
      ? prefixes.flatMap((prefix) => names.map((name) => ({ name: `${prefix}NO_${name}`, negates: true })))
      : []),
  ];
}

/** Variables of options that the command does not have, and what to do instead. */
export function refusedVariables(command: Command): [name: string, instead: string][] {
  if (!commandsWithVariables.has(command)) {
    return [];
  }
  const known = new Set(optionsOf(command).map(({ option }) => option.long));
  return Object.entries(refusalsOf(command)).flatMap(([spellings, instead]) =>
    spellings
      .split(" ")
      .filter((spelling) => /^--(?!no-)/.test(spelling) && !known.has(spelling))
      .flatMap((spelling) => prefixes.map((prefix): [string, string] => [prefix + toName(spelling), instead])),
  );
}
