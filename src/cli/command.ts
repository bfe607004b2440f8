// A command of this program: commander's, with the spellings of rows, errors that name the command, and its own help.

import {
  type AddHelpTextContext,
  type AddHelpTextPosition,
  Command,
  type ErrorOptions,
  type Help,
  type ParseOptionsResult,
} from "commander";
import { BitnetError } from "../system/errors.js";
import { rewriteArguments } from "./argv.js";
import { helpWidth, ProgramHelp, wrapParagraphs } from "./help.js";

/** A command line that cannot be parsed. */
export class UsageError extends BitnetError {
  constructor(message: string, hint: string) {
    super("USAGE", message, { hint });
    this.name = "UsageError";
  }
}

/** "... is invalid. Expected 1 or 2." of commander and of parsers as all other errors are written. */
export function asOneSentence(message: string): string {
  return message
    .replace(". Allowed choices are ", ". Expected one of ")
    .replace(
      /( is invalid| for '[^']*'|^\/set \S+)[.:] ([A-Z])/,
      (_, before, first) => `${before}: ${first.toLowerCase()}`,
    )
    .replace(/\.$/, "");
}

export class ProgramCommand extends Command {
  override createCommand(name?: string): ProgramCommand {
    return new ProgramCommand(name);
  }

  override createHelp(): Help {
    return Object.assign(new ProgramHelp(this), this.configureHelp());
  }

  override addHelpText(position: AddHelpTextPosition, text: string | ((context: AddHelpTextContext) => string)): this {
    return super.addHelpText(position, (context) => {
      const { columns } = context.error ? process.stderr : process.stdout;
      return wrapParagraphs(typeof text === "string" ? text : text(context), helpWidth(columns));
    });
  }

  override parseOptions(args: string[]): ParseOptionsResult {
    const { args: rewritten, unknown } = rewriteArguments(this, args);
    const parsed = super.parseOptions(rewritten); // --no-color before the unknown one is heard
    if (unknown !== undefined) {
      throw new UsageError(unknown.message, unknown.hint ?? this.#seeHelp());
    }
    return parsed;
  }

  override error(message: string, _options?: ErrorOptions): never {
    throw new UsageError(asOneSentence(message.replace(/^error: /, "")), this.#seeHelp());
  }

  /** "bitnet bench kernels". */
  get path(): string {
    const names: string[] = [];
    for (let command: Command | null = this; command !== null; command = command.parent) {
      names.unshift(command.name());
    }
    return names.join(" ");
  }

  #seeHelp(): string {
    return `see ${this.path} --help`;
  }
}
