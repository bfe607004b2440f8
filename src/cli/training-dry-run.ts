// What a training would do, before it does it.

import type { DataReport } from "../train/data/report.js";
import type { RunEstimate } from "../train/estimate.js";
import { formatDuration } from "./terminal/bar.js";
import { formatBytes } from "./terminal/format.js";
import { colorsOf, columnsOf, write, writeJson } from "./terminal/output.js";
import { formatDataReport, formatFact } from "./training-data-report.js";
import { count } from "./training-progress.js";

export interface DryRun {
  data?: DataReport;
  estimate: RunEstimate;
}

export function printDryRun({ data, estimate }: DryRun, { json = false }: { json?: boolean }): void {
  if (json) {
    writeJson({ data, ...estimate });
    return;
  }
  if (data !== undefined) {
    write(`${formatDataReport(data, { width: columnsOf(), colors: colorsOf(process.stdout) })}\n\n`);
  }
  const { steps, tokens, plan, checkpointing, tokensPerSecond, seconds, info } = estimate;
  const { trainedParameters: trained, totalParameters: total } = info;
  const rows = [
    ["trainable", `${count(trained)} of ${count(total)} parameters (${((100 * trained) / total).toPrecision(3)} %)`],
    ["steps", `${count(steps)}, about ${count(tokens)} tokens`],
    ["memory", `${formatBytes(plan.total)}${checkpointing ? ", with gradient checkpointing" : ""}`],
    [
      "time",
      `about ${formatDuration(seconds)} at ${count(Math.round(tokensPerSecond))} tokens/s, measured on one step`,
    ],
  ];
  write(`${rows.map(([name = "", value = ""]) => formatFact(name, value, columnsOf())).join("\n")}\n`);
}
