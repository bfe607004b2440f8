// Options that are not typed: environment variables and files of options. The command line wins over variables, they
// over files, and files over defaults.

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command, Option } from "commander";
import { closest } from "../system/closest.js";
import { configFolder, type Variables } from "../system/folders.js";
import { asOneSentence, type ProgramCommand, UsageError } from "./command.js";
import { llamaVariablesOf, refusedVariables } from "./llama-variables.js";
import { type CommandOption, optionsOf } from "./option-rows.js";
import { generalGroup } from "./options.js";
import { isObject, type Json, readSettingsFile, type SettingsText } from "./settings-file.js";

type Section = ReadonlyMap<string, Json>;

/** A value and where it stands, for messages: the name of a variable, or what leads to it in the file. */
type Setting = { value: Json } & ({ source: "env"; variable: string } | { source: "config"; keys: readonly string[] });

interface SettingsFile {
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
  const path = findSettingsFile(command, env);
  const text = path === undefined ? undefined : await readSettingsFile(path);
  try {
    const file = text === undefined ? undefined : await readSettings(text, command, loadProgram);
    for (const entry of optionsOf(command)) {
      const name = entry.option.attributeName();
      const isTyped = command.getOptionValueSource(name) === "cli";
      const setting = isTyped || !isSettable(entry) ? undefined : findSetting(command, entry, file, env);
      if (setting !== undefined) {
        command.setOptionValueWithSource(name, readValue(entry, setting), setting.source);
      }
    }
  } catch (error) {
    if (error instanceof FileFault && text !== undefined) {
      throw new UsageError(`${await text.placeOf(error.keys)}: ${error.message}`, error.hint);
    }
    throw error;
  }
}

/** What is wrong in a file, before it is known in which line. */
class FileFault extends Error {
  readonly keys: readonly string[];
  readonly hint: string;

  constructor(keys: readonly string[], message: string, hint: string) {
    super(message);
    this.keys = keys;
    this.hint = hint;
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

function isSettable({ row }: CommandOption): boolean {
  return row.ignored === undefined && row !== generalGroup.rows.config;
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
      return { value, variable, source: "env" };
    }
  }
  for (const { name, negates } of llamaVariablesOf(command, entry)) {
    const value = env[name];
    if (value) {
      const truth = negates ? readTruth(value) : undefined;
      return { value: truth === undefined ? value : !truth, variable: name, source: "env" };
    }
  }
  const key = settingName(entry.option);
  const own = file?.own.get(key);
  const value = own ?? file?.shared.get(key);
  const keys = own === undefined ? [key] : [sectionName(command), key];
  return value === undefined ? undefined : { value, keys, source: "config" };
}

/** The value as the option's own parser makes it. */
function readValue({ row, option }: CommandOption, { value, ...setting }: Setting): unknown {
  const fail = (expected: string): never => {
    const name = setting.source === "env" ? setting.variable : `"${setting.keys.at(-1)}"`;
    const message = asOneSentence(`${name}: ${JSON.stringify(value)} is invalid for '${option.flags}'. ${expected}`);
    throw setting.source === "env"
      ? new UsageError(message, "mend it there")
      : new FileFault(setting.keys, message, "mend it there");
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
/** The file of options that is read: --config, BITNET_CONFIG, or the user's own. */
export function findSettingsFile(command: Command, env: Variables = process.env): string | undefined {
  const isOurs = optionsOf(command).some(({ row }) => row === generalGroup.rows.config);
  const typed: unknown = isOurs ? command.getOptionValue("config") : undefined;
  const named = typeof typed === "string" ? typed : env.BITNET_CONFIG;
  if (named) {
    return named;
  }
  const folder = configFolder(env);
  const own = folder === undefined ? [] : ownFiles.map((name) => join(folder, name)).filter((path) => existsSync(path));
  if (own.length > 1) {
    throw new UsageError(`${own.join(" and ")}: expected one file of options`, "remove one, or name one with --config");
  }
  return own[0];
}

const ownFiles = ["config.json", "config.yaml", "config.yml"];

async function readSettings(
  { values }: SettingsText,
  command: ProgramCommand,
  loadProgram: () => Promise<ProgramCommand>,
): Promise<SettingsFile> {
  const all = toSection(values);
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
      checkKeys([key], `"${key}" has`, own.keys(), known);
    } else if (known.has(key) && !isObject(value)) {
      shared.set(key, value);
    } else {
      unsure.push([key, value]);
    }
  }
  if (unsure.length > 0) {
    checkOthers(unsure, await loadProgram()); // takes a while: only where this command does not know a key
  }
  return { shared, own };
}

function toSection(object: { readonly [key: string]: Json }): Section {
  return new Map(Object.entries(object));
}

function checkKeys(
  outer: readonly string[],
  subject: string,
  keys: Iterable<string>,
  known: ReadonlySet<string>,
): void {
  for (const key of keys) {
    if (!known.has(key)) {
      const nearest = closest(key, [...known]);
      const hint = nearest === undefined ? "keys are the long names of options" : `did you mean "${nearest}"?`;
      throw new FileFault([...outer, key], `${subject} no option "${key}"`, hint);
    }
  }
}

/** Keys that may be options or sections of other commands. */
function checkOthers(entries: readonly [string, Json][], program: ProgramCommand): void {
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
      checkKeys([key], `"${key}" has`, Object.keys(value), section);
    } else {
      checkKeys([], "there is", [key], isObject(value) ? new Set(options.keys()) : all);
    }
  }
}

/** Every command of the program but itself. */
export function commandsBelow(program: Command): ProgramCommand[] {
  return (program.commands as ProgramCommand[]).flatMap((command) => [command, ...commandsBelow(command)]);
}
