// The manual page and the tables of docs/command-line.md, made of the tables of commands and options.

import type { CommandReference, OptionReference } from "./reference.js";
import { variables } from "./variables.js";

/** bitnet(1), for man. */
export function manualPage(version: string, commands: readonly CommandReference[]): string {
  return `${[
    `.TH BITNET 1 "" "bitnet ${version}" "User Commands"`,
    ".SH NAME",
    "bitnet \\- run 1.58\\-bit (ternary) language models on the CPU",
    ".SH SYNOPSIS",
    ".B bitnet",
    "[command] [options]",
    ".SH COMMANDS",
    ...commands.flatMap(manualCommand),
    ".SH ENVIRONMENT",
    "Every option but those of other programs is also read from a variable: BITNET_ and its long name, as in",
    "BITNET_THREADS, or with the name of the command before it, as in BITNET_RUN_THREADS.",
    ...variables.flatMap(({ names, help }) => [".TP", `.B ${roff(names.join(", "))}`, roff(help)]),
    ".SH FILES",
    ".TP",
    roff("~/.config/bitnet/config.json"),
    "Options as a JSON object of their long names; those under the name of a command are for it alone.",
    ".SH EXIT STATUS",
    "0: done; 1: it could not be done; 2: the command line cannot be read; 130: stopped by Ctrl\\-C.",
  ].join("\n")}\n`;
}

function manualCommand({ name, aliases, usage, description, operands, options }: CommandReference): string[] {
  return [
    `.SS ${roff([name, ...aliases].join(", "))}`,
    roff(`${description}.`),
    ".PP",
    `.B ${roff(usage)}`,
    ...operands.flatMap(({ name: operand, help }) => [".TP", `.I ${roff(operand)}`, roff(help)]),
    ...options.flatMap((option) => [".TP", `.B ${roff(flagsOf(option))}`, roff(option.help)]),
  ];
}

function flagsOf({ spellings, value }: OptionReference): string {
  return `${spellings.join(", ")} ${value}`.trim();
}

/** Text of a line as roff takes it. */
function roff(text: string): string {
  return (
    text
      .replaceAll("\\", "\\e")
      .replaceAll("-", "\\-")
      .replace(/^([.'])/, "\\&$1") || "\\&"
  );
}

/** The table of variables, as Markdown. */
export function variableTable(): string {
  const rows = [
    { names: ["BITNET_<OPTION>", "BITNET_<COMMAND>_<OPTION>"], help: "give an option, see the tables of commands" },
    ...variables,
  ];
  const lines = rows.map(({ names, help }) => `| ${names.map(code).join(", ")} | ${help} |`);
  return `| variable | what it does |\n|---|---|\n${lines.join("\n")}\n`;
}

/** One table per command, as Markdown. */
export function referenceTables(commands: readonly CommandReference[]): string {
  return commands.map(referenceTable).join("\n");
}

function referenceTable({ name, aliases, description, usage, operands, options }: CommandReference): string {
  const also = aliases.length === 0 ? "" : ` Also: ${aliases.join(", ")}.`;
  const rows = [
    ...operands.map(({ name: operand, help }) => [code(operand), help, ""]),
    ...options.map((option) => [
      code(flagsOf(option)),
      option.help,
      option.variable === "" ? "" : code(option.variable),
    ]),
  ];
  const lines = rows.map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`);
  return `### bitnet ${name}\n\n${description}.${also}\n\n    ${usage}\n\n| | | variable |\n|---|---|---|\n${lines.join("\n")}\n`;
}

function code(text: string): string {
  return `\`${text}\``;
}
