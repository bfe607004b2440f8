// bitnet eval compare: two files of results, and whether what differs is more than chance.

import type { Command } from "commander";
import { type Comparison, compareResults } from "../../eval/compare-results.js";
import { addOptions, groupOf } from "../option-rows.js";
import { outputRows, withHelp } from "../options.js";
import { colorsOf, columnsOf, note, write, writeJson } from "../terminal/output.js";
import { type Column, formatTable } from "../terminal/table.js";

const groups = {
  output: groupOf("Output", { json: withHelp(outputRows.json, "print a JSON array on stdout") }),
};

export default function configureEvalCompare(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("<a>", "results_<time>.json of bitnet eval tasks or of lm-evaluation-harness")
    .argument("<b>", "the same of another model, or of other settings")
    .addHelpText(
      "after",
      `
With the samples of both beside them (--log-samples), the same documents are compared with one another: by McNemar's exact
test where each is right or wrong, else by a paired t-test. P is how likely so large a difference is by chance alone.

Examples:
  $ bitnet eval compare results/a/results_1.json results/b/results_2.json`,
    )
    .action(async (a: string, b: string) => {
      const comparisons = await compareResults(a, b);
      if (read().output.json) {
        writeJson(comparisons);
      } else {
        print(comparisons);
      }
    });
}

function print(comparisons: readonly Comparison[]): void {
  const { bold, dim } = colorsOf(process.stdout);
  const columns: Column[] = [
    { header: "TASK", whole: true },
    { header: "METRIC" },
    { header: "A", numeric: true },
    { header: "B", numeric: true },
    { header: "B - A", numeric: true },
    { header: "P", numeric: true },
    { header: "TEST", style: dim, optional: true },
    { header: "ONLY A", numeric: true, optional: true },
    { header: "ONLY B", numeric: true, optional: true },
    { header: "DOCUMENTS", numeric: true, optional: true },
  ];
  const rows = comparisons.map((one) => [
    one.task,
    one.filter === "none" ? one.metric : `${one.metric} (${one.filter})`,
    one.a.toFixed(4),
    one.b.toFixed(4),
    (one.difference > 0 ? "+" : "") + one.difference.toFixed(4),
    one.p === undefined ? "" : one.p.toFixed(4),
    one.test === undefined ? "" : one.documents === undefined ? `${one.test}, unpaired` : one.test,
    String(one.onlyA ?? ""),
    String(one.onlyB ?? ""),
    String(one.documents ?? ""),
  ]);
  write(`${formatTable({ columns, rows, width: columnsOf(process.stdout), headerStyle: bold }).join("\n")}\n`);
  const caveats = new Map(comparisons.flatMap(({ task, caveats }) => (caveats.length > 0 ? [[task, caveats]] : [])));
  for (const [task, differences] of caveats) {
    note(`${task} differs in ${differences.join("; ")}`);
  }
}
