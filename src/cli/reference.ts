// The program as data, for everything that tells of it outside of it: completion of shells, the manual page, the docs.

import type { Argument, Command, Option } from "commander";
import type { ProgramCommand } from "./command.js";
import { optionsOf } from "./option-rows.js";
import { commandsBelow, variablesOf } from "./settings.js";

/** What a value is, as far as a shell can propose some. */
export type ValueKind = "none" | "text" | "file" | "folder" | "model" | "installed" | "choice";

export interface OptionReference {
  /** Every spelling, the long one last. */
  spellings: string[];
  /** "<n>", "[type]" or "". */
  value: string;
  kind: ValueKind;
  choices: string[];
  /** One line, with the default. */
  help: string;
  group: string;
  /** The variable that sets it for every command; "" if there is none. */
  variable: string;
}

export interface CommandReference {
  /** "bench kernels". */
  name: string;
  aliases: string[];
  description: string;
  usage: string;
  /** What stands without a dash. */
  operands: { name: string; help: string; kind: ValueKind; choices: string[] }[];
  options: OptionReference[];
  /** Names of commands after this one. */
  subcommands: string[];
}

/** Every command, with the options that help shows. */
export function describeProgram(program: ProgramCommand): CommandReference[] {
  return commandsBelow(program).map(describeCommand);
}

function describeCommand(command: ProgramCommand): CommandReference {
  const help = command.createHelp();
  return {
    name: command.path.replace(/^\S+ /, ""),
    aliases: command.aliases(),
    description: command.description(),
    usage: `${command.path} ${command.usage()}`,
    operands: command.registeredArguments.map((argument: Argument) => ({
      name: argument.required ? `<${argument.name()}>` : `[${argument.name()}]`,
      help: argument.description,
      kind: kindOf(argument.name(), argument.argChoices ?? []),
      choices: argument.argChoices ?? [],
    })),
    options: help
      .visibleOptions(command)
      .map((option) => describeOption(command, option, help.optionDescription(option))),
    subcommands: command.commands.map((child: Command) => child.name()),
  };
}

function describeOption(command: ProgramCommand, option: Option, help: string): OptionReference {
  const entry = optionsOf(command).find((known) => known.option === option || known.negation === option);
  const isNegation = entry !== undefined && entry.negation === option;
  const aliases = (isNegation ? entry.row.negatedAliases : entry?.row.aliases) ?? [];
  const [value = ""] = /[<[].*$/.exec(option.flags) ?? [];
  const choices = option.argChoices ?? [];
  const [variable = ""] = entry === undefined || isNegation ? [] : variablesOf(command, entry).slice(-1);
  return {
    spellings: [option.short, ...aliases, option.long].filter((spelling) => spelling !== undefined),
    value,
    kind: value === "" ? "none" : kindOf(value.replace(/[<>[\]]/g, ""), choices),
    choices,
    help,
    group: entry?.group ?? "General",
    variable,
  };
}

function kindOf(placeholder: string, choices: readonly string[]): ValueKind {
  if (choices.length > 0) {
    return "choice";
  }
  const kinds: Record<string, ValueKind> = {
    file: "file",
    dir: "folder",
    folder: "folder",
    model: "model",
    source: "model",
    models: "installed",
  };
  return Object.hasOwn(kinds, placeholder) ? (kinds[placeholder] ?? "text") : "text";
}
