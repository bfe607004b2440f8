// How options are written down as data: a row is one option, its key is the name of its value in the library's options,
// and a group of rows is one part of them. A command says which groups it has, and gets one object per group back.

import { type Command, Option } from "commander";

export interface OptionRow {
  /** As commander writes it: "-t, --threads <n>", "--json", "--quant-embd [type]", "--no-warmup". */
  readonly flags: string;
  /** Without it the option is not in the help. */
  readonly help?: string;
  /** Default: the text as it is. `earlier`: the value so far of an option that may be repeated, or its default. */
  readonly parse?: (text: string, earlier?: never) => unknown;
  readonly choices?: readonly string[];
  /** The default. Where there is none, what leaving the option out means is in `help`. */
  readonly standard?: unknown;
  /** How help shows it, where it is not the text of the value. */
  readonly standardHelp?: string;
  /** Help of the "--no-" form, which makes the value false. */
  readonly negated?: string;
  /** Other spellings: "--temperature", "-temp". Those of one dash stand in the help. */
  readonly aliases?: readonly string[];
  /** Two arguments may be its value, "PATH SCALE": they are joined with this between them. */
  readonly pair?: string;
  /** Other spellings of the "--no-" form: "-no-cnv". */
  readonly negatedAliases?: readonly string[];
  /** false: no environment variable sets it, or another part of the program reads that. */
  readonly variable?: false;
  /** Accepted so that other programs' command lines work. Why it has no effect here; "": what it asks for is done anyway. */
  readonly ignored?: string;
  /** The value of an ignored option that asks for what is done anyway. */
  readonly harmless?: string | boolean;
}

export type OptionRows = Readonly<Record<string, OptionRow>>;

export interface OptionGroup<R extends OptionRows = OptionRows> {
  /** Over its options in the help. */
  readonly title: string;
  readonly rows: R;
}

export type OptionGroups = Readonly<Record<string, OptionGroup>>;

/** The value of a row that is given. */
type GivenValue<R extends OptionRow> = R extends { parse: (...args: never[]) => infer T }
  ? T
  : R extends { choices: readonly (infer T)[] }
    ? T
    : R extends { flags: `${string}<${string}` | `${string}[${string}` }
      ? string
      : boolean;

type RowValue<R extends OptionRow> =
  | GivenValue<R>
  | (R extends { negated: string } ? false : never)
  | (R extends { flags: `${string}[${string}` } ? true : never);

type HasValue = { standard: unknown } | { flags: `--no-${string}` };

export type RowValues<R extends OptionRows> = {
  [K in keyof R as R[K] extends HasValue ? K : never]: RowValue<R[K]>;
} & {
  [K in keyof R as R[K] extends HasValue ? never : K]?: RowValue<R[K]>;
};

export type GroupValues<G extends OptionGroups> = { [K in keyof G]: RowValues<G[K]["rows"]> };

/** Rows of literal types, from which the types of their values follow. */
export function groupOf<const R extends OptionRows>(title: string, rows: R): OptionGroup<R> {
  return { title, rows };
}

/** An option of a command, and the row that it was made of. */
export interface CommandOption {
  readonly row: OptionRow;
  /** The title of its group. */
  readonly group: string;
  readonly option: Option;
  /** The "--no-" form, where it is an option of its own. */
  readonly negation?: Option;
}

const optionsByCommand = new WeakMap<Command, CommandOption[]>();
const refusalsByCommand = new WeakMap<Command, Refusals>();

/** The options that rows have added to a command, in their order. */
export function optionsOf(command: Command): readonly CommandOption[] {
  return optionsByCommand.get(command) ?? [];
}

/** Options of other programs that are not there: spellings separated by spaces, and what to do instead. */
export type Refusals = Readonly<Record<string, string>>;

/** Makes a command tell what to do instead of an option that it does not have. */
export function refuseOptions(command: Command, refusals: Refusals): void {
  refusalsByCommand.set(command, { ...refusalsByCommand.get(command), ...refusals });
}

export function refusalsOf(command: Command): Refusals {
  return refusalsByCommand.get(command) ?? {};
}

/** Adds the options to a command. What it returns reads their values, once the command line is parsed. */
export function addOptions<G extends OptionGroups>(command: Command, groups: G): () => GroupValues<G> {
  const names = new Map<OptionRow, string>();
  const added = [...optionsOf(command)];
  for (const { title, rows } of Object.values(groups)) {
    command.optionsGroup(`${title}:`);
    for (const row of Object.values(rows)) {
      const entry = { row, group: title, ...addOption(command, row) };
      added.push(entry);
      names.set(row, entry.option.attributeName());
    }
  }
  optionsByCommand.set(command, added);
  return () => {
    const given = command.opts();
    const read = ({ rows }: OptionGroup) =>
      Object.fromEntries(Object.entries(rows).map(([key, row]) => [key, given[names.get(row) ?? ""]]));
    return Object.fromEntries(Object.entries(groups).map(([key, group]) => [key, read(group)])) as GroupValues<G>;
  };
}

function addOption(command: Command, row: OptionRow): { option: Option; negation?: Option } {
  const option = createOption(row);
  command.addOption(option);
  if (row.negated === undefined) {
    return { option };
  }
  const negation = new Option(`--no-${option.name()}`, row.negated).hideHelp(row.help === undefined);
  command.addOption(negation);
  return { option, negation };
}

function createOption(row: OptionRow): Option {
  const option = new Option(row.flags, row.help);
  if (row.choices !== undefined) {
    option.choices(row.choices);
  }
  if (row.parse !== undefined) {
    const parse: (text: string, earlier: never) => unknown = row.parse;
    option.argParser((text, earlier) => parse(text, earlier as never));
  }
  if (row.standard !== undefined) {
    option.default(row.standard, row.standardHelp);
  }
  return option.hideHelp(row.help === undefined);
}

/** Tells which of the given options have no effect, and why. */
export function noteIgnored<R extends OptionRows>(
  { rows }: OptionGroup<R>,
  values: RowValues<R>,
  say: (text: string) => void,
): void {
  for (const [key, { flags, ignored, harmless }] of Object.entries(rows)) {
    const value: unknown = values[key as keyof RowValues<R>];
    if (ignored && value !== undefined && value !== harmless) {
      const long = new Option(flags).long ?? flags;
      const isNegated = value === false && !long.startsWith("--no-");
      say(`${isNegated ? long.replace("--", "--no-") : long} has no effect: ${ignored}`);
    }
  }
}
