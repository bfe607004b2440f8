// Options that are not typed: environment variables and files of options. The command line wins over variables, they
// over files, and files over defaults.

import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Command, Option } from "commander";
import { closest } from "../system/closest.js";
import { reasonOf } from "../system/errors.js";
import { configFolder, type Variables } from "../system/folders.js";
import { asOneSentence, type ProgramCommand, UsageError } from "./command.js";
import { llamaVariablesOf, refusedVariables } from "./llama-variables.js";
import { type CommandOption, optionsOf } from "./option-rows.js";

const largestFile = 2 ** 20; // bytes; a list of options has a few hundred

type Scalar = string | number | boolean;
type Json = Scalar | null | readonly Json[] | { readonly [key: string]: Json };
type Section = ReadonlyMap<string, Json>;

/** A value and where it stands, for messages. */
interface Setting {
  value: Json;
  place: string;
  source: "env" | "config";
}

interface SettingsFile {
  path: string;
  /** For every command that has them. */
  shared: Section;
  /** For one command: "run", "bench kernels". */
  own: Section;
}

/** Gives the options of a command that were not typed the values of variables and of the file of options. */
export async function applySettings(
  command: ProgramCommand,
  loadProgram: () => Promise<ProgramCommand>,
  env: Variables = process.env,
): Promise<void> {
  checkRefused(command, env);
  const path = findFile(command, env);
  const file = path === undefined ? undefined : await readSettings(path, command, loadProgram);
  for (const entry of optionsOf(command)) {
    const name = entry.option.attributeName();
    const isTyped = command.getOptionValueSource(name) === "cli";
    const setting = isTyped || !isSettable(entry) ? undefined : findSetting(command, entry, file, env);
    if (setting !== undefined) {
      command.setOptionValueWithSource(name, readValue(entry, setting), setting.source);
    }
  }
}

/** What a variable asks for that cannot be had is not passed over. */
function checkRefused(command: Command, env: Variables): void {
  for (const [name, instead] of refusedVariables(command)) {
    const value = env[name];
    if (value && readTruth(value) !== false) {
      throw new UsageError(`${name}: there is no such option here`, instead);
    }
  }
}

function isSettable({ row, option }: CommandOption): boolean {
  return row.ignored === undefined && option.long !== "--config";
}

/** The name of an option in files: its long name without dashes, which says what true means. */
export function settingName(option: Option): string {
  return (option.long ?? "").replace(/^--(no-)?/, "");
}

/** The variables that set an option, the one that wins first: BITNET_RUN_THREADS, BITNET_THREADS. */
export function variablesOf(command: ProgramCommand, { row, option }: CommandOption): string[] {
  if (row.variable === false || row.ignored !== undefined) {
    return [];
  }
  const toName = (text: string) => text.toUpperCase().replace(/[^A-Z0-9]+/g, "_");
  const name = toName(settingName(option));
  return [`BITNET_${toName(sectionName(command))}_${name}`, `BITNET_${name}`];
}

/** "run", "bench kernels". */
function sectionName(command: ProgramCommand): string {
  return command.path.replace(/^\S+ /, "");
}

function findSetting(
  command: ProgramCommand,
  entry: CommandOption,
  file: SettingsFile | undefined,
  env: Variables,
): Setting | undefined {
  for (const variable of variablesOf(command, entry)) {
    const value = env[variable];
    if (value) {
      return { value, place: variable, source: "env" };
    }
  }
  for (const { name, negates } of llamaVariablesOf(command, entry)) {
    const value = env[name];
    if (value) {
      const truth = negates ? readTruth(value) : undefined;
      return { value: truth === undefined ? value : !truth, place: name, source: "env" };
    }
  }
  const key = settingName(entry.option);
  const value = file?.own.get(key) ?? file?.shared.get(key);
  return value === undefined ? undefined : { value, place: `${file?.path}: "${key}"`, source: "config" };
}

/** The value as the option's own parser makes it. */
function readValue({ row, option }: CommandOption, { value, place }: Setting): unknown {
  const fail = (expected: string) => {
    throw new UsageError(
      asOneSentence(`${place}: ${JSON.stringify(value)} is invalid for '${option.flags}'. ${expected}`),
      "mend it there",
    );
  };
  const takesValue = option.required || option.optional;
  const truth = typeof value === "boolean" ? value : readTruth(value);
  if (!takesValue) {
    return truth ?? fail("Expected true or false.");
  }
  if ((truth === false && row.negated !== undefined) || (truth === true && option.optional)) {
    return truth;
  }
  const texts = Array.isArray(value) ? (value as readonly Json[]) : [value];
  if (texts.length === 0) {
    return fail("Expected a value.");
  }
  let result: unknown;
  for (const text of texts) {
    if (typeof text !== "string" && typeof text !== "number") {
      return fail("Expected a text or a number, or a list of them.");
    }
    try {
      result = option.parseArg === undefined ? String(text) : parseWith(option, String(text), result);
    } catch (error) {
      fail((error as Error).message);
    }
  }
  return result;
}

function parseWith(option: Option, text: string, earlier: unknown): unknown {
  const parse = option.parseArg as ((text: string, earlier: unknown) => unknown) | undefined;
  return parse?.(text, earlier);
}

function readTruth(value: Json): boolean | undefined {
  const word = String(value).toLowerCase();
  if (["true", "yes", "on", "1"].includes(word)) {
    return true;
  }
  return ["false", "no", "off", "0"].includes(word) ? false : undefined;
}

/** The file of --config or BITNET_CONFIG, which must be there, or the user's own, which may. */
function findFile(command: Command, env: Variables): string | undefined {
  const typed: unknown = command.getOptionValue("config");
  const named = typeof typed === "string" ? typed : env.BITNET_CONFIG;
  if (named) {
    return named;
  }
  const folder = configFolder(env);
  const own = folder === undefined ? undefined : join(folder, "config.json");
  return own !== undefined && existsSync(own) ? own : undefined;
}

async function readSettings(
  path: string,
  command: ProgramCommand,
  loadProgram: () => Promise<ProgramCommand>,
): Promise<SettingsFile> {
  const all = toSection(parseFile(path));
  const shared = new Map<string, Json>();
  let own: Section = new Map();
  const known = new Set(
    optionsOf(command)
      .filter(isSettable)
      .map(({ option }) => settingName(option)),
  );
  const unsure: [string, Json][] = [];
  for (const [key, value] of all) {
    if (key === sectionName(command) && isObject(value)) {
      own = toSection(value);
      checkKeys(path, `"${key}" has`, own.keys(), known);
    } else if (known.has(key) && !isObject(value)) {
      shared.set(key, value);
    } else {
      unsure.push([key, value]);
    }
  }
  if (unsure.length > 0) {
    checkOthers(path, unsure, await loadProgram()); // takes a while: only where this command does not know a key
  }
  return { path, shared, own };
}

function parseFile(path: string): { readonly [key: string]: Json } {
  const hint = "docs/command-line.md shows what stands in such a file";
  const text = readText(path).replace(/^\ufeff/, "");
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw new UsageError(`${path}: no valid JSON: ${(error as Error).message}`, hint);
  }
  if (!isObject(value)) {
    throw new UsageError(`${path}: expected a JSON object`, hint);
  }
  return value;
}

function readText(path: string): string {
  try {
    const { size } = statSync(path);
    if (size <= largestFile) {
      return readFileSync(path, "utf8");
    }
  } catch (error) {
    throw new UsageError(`${path}: ${reasonOf(error)}`, "name a JSON file with options");
  }
  throw new UsageError(`${path}: larger than ${largestFile} bytes`, "name a JSON file with options");
}

function isObject(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function toSection(object: { readonly [key: string]: Json }): Section {
  return new Map(Object.entries(object));
}

function checkKeys(path: string, subject: string, keys: Iterable<string>, known: ReadonlySet<string>): void {
  for (const key of keys) {
    if (!known.has(key)) {
      const nearest = closest(key, [...known]);
      const hint = nearest === undefined ? "keys are the long names of options" : `did you mean "${nearest}"?`;
      throw new UsageError(`${path}: ${subject} no option "${key}"`, hint);
    }
  }
}

/** Keys that may be options or sections of other commands. */
function checkOthers(path: string, entries: readonly [string, Json][], program: ProgramCommand): void {
  const options = new Map<string, Set<string>>();
  for (const command of commandsBelow(program)) {
    const names = optionsOf(command)
      .filter(isSettable)
      .map(({ option }) => settingName(option));
    options.set(sectionName(command), new Set(names));
  }
  const all = new Set([...options.values()].flatMap((names) => [...names]));
  for (const [key, value] of entries) {
    const section = options.get(key);
    if (isObject(value) && section !== undefined) {
      checkKeys(path, `"${key}" has`, Object.keys(value), section);
    } else {
      checkKeys(path, "there is", [key], isObject(value) ? new Set(options.keys()) : all);
    }
  }
}

/** Every command of the program but itself. */
export function commandsBelow(program: Command): ProgramCommand[] {
  return (program.commands as ProgramCommand[]).flatMap((command) => [command, ...commandsBelow(command)]);
}
