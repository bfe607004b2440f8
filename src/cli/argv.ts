// Every spelling of an option as its long name: commander knows neither `-cnv` nor second long names. What spellings
// there are is told by the rows of the command that runs.

import type { Command, Option } from "commander";
import { closest } from "../system/closest.js";
import { optionsOf, refusalsOf } from "./option-rows.js";

/** An option that the command does not have, and what the user perhaps meant or should do. */
export interface UnknownOption {
  message: string;
  hint?: string;
}

export interface Rewritten {
  args: string[];
  /** The first argument that cannot be read; nothing after it was looked at. */
  unknown?: UnknownOption;
}

/** The arguments of a command with every option by its long name. What follows the name of a subcommand is its own. */
export function rewriteArguments(command: Command, args: readonly string[]): Rewritten {
  const spellings = spellingsOf(command);
  const result: string[] = [];
  let isOperandSeen = false;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    const isFirstOperand = !isOperandSeen && !arg.startsWith("-");
    if (arg === "--" || (isFirstOperand && command.commands.some((known) => known.name() === arg))) {
      return { args: [...result, ...args.slice(i)] };
    }
    if (!isOption(arg)) {
      isOperandSeen = true;
      result.push(arg);
      continue;
    }
    const { name, value } = splitOption(arg);
    const option = spellings.get(name);
    if (option === undefined) {
      if (isShortWithValue(arg, spellings)) {
        result.push(arg);
        continue;
      }
      return { args: result, unknown: describeUnknown(command, name, spellings) };
    }
    const next = value === undefined ? args[i + 1] : undefined;
    const pair = joinPair(command, option, next, args[i + 2]);
    if (pair !== undefined) {
      result.push(option.long ?? "", pair);
      i += 2;
      continue;
    }
    const written = writeOption(option, value, next);
    result.push(...written.args);
    i += written.usesNext ? 1 : 0;
  }
  return { args: result };
}

/** The value that two arguments are together, of an option that takes such: a text and a number. */
function joinPair(command: Command, option: Option, first?: string, second?: string): string | undefined {
  const separator = optionsOf(command).find((entry) => entry.option === option)?.row.pair;
  const isNumber = second !== undefined && /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(second);
  return separator !== undefined && first !== undefined && isNumber ? `${first}${separator}${second}` : undefined;
}

/** "-" is stdin, and a number below zero is no option. */
function isOption(arg: string): boolean {
  return /^-./.test(arg) && !/^-\.?\d/.test(arg);
}

function splitOption(arg: string): { name: string; value?: string } {
  const equals = arg.indexOf("=");
  return equals < 0 ? { name: arg } : { name: arg.slice(0, equals), value: arg.slice(equals + 1) };
}

/** `-t4`: a letter and a number. With more letters it would be anybody's guess what was meant. */
function isShortWithValue(arg: string, spellings: ReadonlyMap<string, Option>): boolean {
  return /^-[A-Za-z][-+.]?\d/.test(arg) && spellings.get(arg.slice(0, 2))?.required === true;
}

function writeOption(
  option: Option,
  value: string | undefined,
  next: string | undefined,
): { args: string[]; usesNext: boolean } {
  const name = option.long ?? option.short ?? "";
  if (value !== undefined) {
    return { args: [`${name}=${value}`], usesNext: false };
  }
  if (option.required && next !== undefined) {
    return { args: [name, next], usesNext: true }; // whatever it looks like
  }
  const [bare] = option.argChoices ?? [];
  if (option.optional && bare !== undefined) {
    // The next argument is the value only if it can be one: `-fa on`, but `-fa PROMPT`.
    const isValue = next !== undefined && option.argChoices?.includes(next) === true;
    return { args: [`${name}=${isValue ? next : bare}`], usesNext: isValue };
  }
  return { args: [name], usesNext: false };
}

/** Every spelling that the command knows, with the option that it means. */
export function spellingsOf(command: Command): ReadonlyMap<string, Option> {
  const spellings = new Map<string, Option>();
  const help = command.createOption("-h, --help");
  for (const option of [help, ...command.options]) {
    for (const name of [option.short, option.long]) {
      if (name !== undefined) {
        spellings.set(name, option);
      }
    }
  }
  for (const { row, option, negation } of optionsOf(command)) {
    for (const alias of row.aliases ?? []) {
      spellings.set(alias, option);
    }
    for (const alias of row.negatedAliases ?? []) {
      spellings.set(alias, negation ?? option);
    }
  }
  return spellings;
}

function describeUnknown(command: Command, name: string, spellings: ReadonlyMap<string, Option>): UnknownOption {
  for (const [names, instead] of Object.entries(refusalsOf(command))) {
    if (names.split(" ").includes(name)) {
      return { message: `there is no ${name} here`, hint: instead };
    }
  }
  const meant = closestSpelling(name, spellings);
  return {
    message: `unknown option '${name}'`,
    hint: meant === undefined ? undefined : `did you mean ${meant}?`,
  };
}

/** The spelling of one of the command's own options that is nearest to `name`, where one is near. */
function closestSpelling(name: string, spellings: ReadonlyMap<string, Option>): string | undefined {
  const words = [...spellings].filter(([word, { hidden }]) => word.length > 2 && !hidden).map(([word]) => word);
  const dashes = dashesOf(name);
  const inOtherDashes = words.find((word) => word.replace(/^-+/, dashes) === name);
  const alike = words.filter((word) => dashesOf(word) === dashes);
  return inOtherDashes ?? closestBare(name, alike) ?? closestBare(name, words);
}

function closestBare(name: string, words: readonly string[]): string | undefined {
  const bare = (word: string) => word.replace(/^-+/, "");
  const nearest = closest(bare(name), words.map(bare));
  return words.find((word) => bare(word) === nearest);
}

function dashesOf(word: string): string {
  return word.startsWith("--") ? "--" : "-";
}
