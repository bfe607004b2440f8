// How help looks: spellings in the left column, descriptions beside them as far as the terminal goes.

import { type Argument, type Command, Help, type Option } from "commander";
import { optionsOf } from "./option-rows.js";
import { wrapWords } from "./terminal/format.js";

const widest = 100; // lines that are longer are hard to read
const narrowest = 40;
const indent = "  ";
const noShort = "    "; // as wide as "-t, "

export class ProgramHelp extends Help {
  readonly #command: Command;

  constructor(command: Command) {
    super();
    this.#command = command;
  }

  override prepareContext(context: { error?: boolean; helpWidth?: number; outputHasColors?: boolean }): void {
    super.prepareContext({ ...context, helpWidth: helpWidth(context.helpWidth) }); // of a terminal
  }

  override styleTitle(text: string): string {
    return `\u001b[1m${text}\u001b[22m`; // taken away where there are no colours
  }

  override optionTerm(option: Option): string {
    const entry = optionsOf(this.#command).find((known) => known.option === option || known.negation === option);
    const aliases = (entry?.negation === option ? entry.row.negatedAliases : entry?.row.aliases) ?? [];
    const dashed = aliases.filter((alias) => !alias.startsWith("--"));
    const spellings = [...dashed, option.flags].join(", ");
    return spellings.startsWith("--") ? noShort + spellings : spellings;
  }

  /** The default as people write it, unless the text tells it itself. */
  override optionDescription(option: Option): string {
    const { description, defaultValue, defaultValueDescription, argChoices } = option;
    const choices = argChoices === undefined ? "" : `: ${argChoices.join(", ")}`;
    const standard = defaultValueDescription ?? describeDefault(defaultValue);
    const isTold = standard === undefined || description.includes("(default");
    return `${description}${choices}${isTold ? "" : ` (default: ${standard})`}`;
  }

  /** As a sentence over the command's own help. */
  override commandDescription(command: Command): string {
    const text = command.description();
    return text === "" || text.endsWith(".") ? text : `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
  }

  override argumentDescription({ description, argChoices }: Argument): string {
    return argChoices === undefined ? description : `${description}: ${argChoices.join(", ")}`;
  }

  override subcommandTerm(command: Command): string {
    return [command.name(), ...command.aliases()].join(", ");
  }

  /** A term that leaves no room beside it has its description below it. */
  override padWidth(command: Command, helper: Help): number {
    return Math.min(super.padWidth(command, helper), Math.floor((this.helpWidth ?? widest) * 0.4));
  }

  override formatItem(term: string, termWidth: number, description: string): string {
    const width = (this.helpWidth ?? widest) - termWidth - 2 * indent.length;
    const lines = wrapText(description, width).split("\n");
    const column = " ".repeat(termWidth + 2 * indent.length);
    const isBeside = this.displayWidth(term) <= termWidth;
    const first = isBeside ? `${indent}${term.padEnd(termWidth)}${indent}${lines.shift() ?? ""}` : `${indent}${term}`;
    return [first.trimEnd(), ...lines.filter((line) => line !== "").map((line) => column + line)].join("\n");
  }
}

function describeDefault(value: unknown): string | undefined {
  if (value === undefined || typeof value === "boolean") {
    return undefined; // a switch is off, or its "--no-" form tells
  }
  return Array.isArray(value) ? value.join(",") : String(value);
}

/** Columns of help on a terminal of so many; without one COLUMNS tells. */
export function helpWidth(columns: number | undefined): number {
  return Math.min(Math.max((columns ?? Number(process.env.COLUMNS)) || 80, narrowest), widest);
}

/** The words of one paragraph in lines of at most `width` columns, but for longer words. */
export function wrapText(text: string, width: number): string {
  return wrapWords(keepTogether(text), width).join("\n").replaceAll(noBreak, " ");
}

const noBreak = "\u00a0";

function keepTogether(text: string): string {
  return text.replace(/\(default: \S{1,16}\)/g, (part) => part.replace(" ", noBreak));
}

/** Words of a command; an option and its value, and what follows a pipe, are one. Quotes stay as they are. */
const commandWords = /(?:-{1,2}[a-z][\w-]*|[|<>]) (?:"[^"]*"|'[^']*'|[^\s"'|<>\\-]\S*)|(?:"[^"]*"|'[^']*'|[^\s"'])+/g;

/** A command in lines of at most `width` columns, which a shell reads as one. A "#" and what follows go to a line above. */
export function wrapCommand(text: string, width: number, before: string): string {
  const [, command = "", , comment] = /^(.*?)( +(#.*))?$/.exec(text) ?? [];
  if (before.length + text.length <= width) {
    return before + text;
  }
  const further = `${before}    `;
  const lines: string[] = [];
  for (const word of command.match(commandWords) ?? []) {
    const line = lines.at(-1);
    if (line === undefined) {
      lines.push(before + word);
    } else if (`${line} ${word} \\`.length <= width || line === further.trimEnd()) {
      lines[lines.length - 1] = `${line} ${word}`;
    } else {
      lines.push(further + word);
    }
  }
  const above = comment === undefined ? [] : wrapText(comment, width - before.length).split("\n");
  return [...above.map((line) => before + line), lines.join(" \\\n")].join("\n");
}

/** Text below the options: paragraphs and examples are wrapped, other lines that are indented stay as they are. */
export function wrapParagraphs(text: string, width: number): string {
  const blocks: string[] = [];
  let previous = "";
  for (const line of text.split("\n")) {
    const continues = isProse(previous) && !previous.endsWith(":") && isProse(line) && !line.endsWith(":");
    if (continues) {
      blocks.push(`${blocks.pop()} ${line}`);
    } else {
      blocks.push(line);
    }
    previous = line;
  }
  return blocks.map((block) => wrapBlock(block, width)).join("\n");
}

function wrapBlock(block: string, width: number): string {
  const example = /^ {2}(\$ .*)$/.exec(block)?.[1];
  if (example !== undefined) {
    return wrapCommand(example, width, indent);
  }
  return isProse(block) ? wrapText(block, width) : block;
}

function isProse(line: string): boolean {
  return /^\S/.test(line);
}
