// What the commands that measure share: their options, and where their results go.

import type { ChalkInstance } from "chalk";
import { InvalidArgumentError } from "commander";
import { type Format, formats } from "../bench/report.js";
import { writeOutput } from "../system/files.js";
import type { OptionRows, RowValues } from "./option-rows.js";
import { modelRows } from "./options.js";
import { integerFrom, listFrom } from "./parsers.js";
import { colorsOf, columnsOf, note, write, writeText } from "./terminal/output.js";

/** What is measured, where it is a list of which every combination is. */
export const measureRows = {
  threads: { ...modelRows.threads, parse: listFrom(1, 1024) },
  repetitions: {
    flags: "-r, --repetitions <n>",
    help: "times that each test is repeated",
    parse: integerFrom(1, 10_000),
    standard: 5,
  },
} as const satisfies OptionRows;

const formatNames = formats.join(", ");

export const resultRows = {
  output: {
    flags: "-o, --output <format>",
    help: `${formatNames}, or a file whose name ends so (default: a table, md where it is piped)`,
    parse: parseResultOutput,
  },
  errorOutput: {
    flags: "--output-err <format>",
    help: "the results on stderr, too, in this format",
    choices: ["none", ...formats],
    aliases: ["-oe"],
  },
  json: { flags: "--json", help: "the same as -o json" },
} as const satisfies OptionRows;

export interface ResultOutput {
  format: Format;
  /** Where it goes instead of stdout. */
  file?: string;
}

function parseResultOutput(text: string): ResultOutput {
  const ending = text.slice(text.lastIndexOf(".") + 1).toLowerCase();
  const format = formats.find((name) => name === ending);
  if (format === undefined) {
    throw new InvalidArgumentError(`Expected ${formatNames}, or the name of a file that ends so.`);
  }
  return text.includes(".") ? { format, file: text } : { format };
}

export interface Results {
  as(format: Format): string;
  /** For people, on a terminal of so many columns. */
  table(columns: number, colors: ChalkInstance): string;
}

/** Writes results where the options say. */
export async function writeResults(
  results: Results,
  { output, errorOutput = "none", json }: RowValues<typeof resultRows>,
): Promise<void> {
  if (output?.file !== undefined) {
    await writeOutput(output.file, Buffer.from(results.as(output.format)));
    note(`wrote ${output.file}`);
  }
  const format = json ? "json" : output?.file === undefined ? output?.format : undefined;
  const columns = columnsOf(process.stdout);
  if (format !== undefined) {
    writeText(results.as(format));
  } else if (columns !== undefined) {
    write(results.table(columns, colorsOf(process.stdout)));
  } else if (output?.file === undefined) {
    writeText(results.as("md"));
  }
  if (errorOutput !== "none") {
    writeText(results.as(errorOutput), process.stderr);
  }
}
