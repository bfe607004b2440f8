// What a training would do, before it does it.

import { countOf, groupDigits } from "../system/counts.js";
import type { DataReport } from "../train/data/report.js";
import type { RunEstimate } from "../train/estimate.js";
import { formatDuration } from "./terminal/bar.js";
import { formatBytes } from "./terminal/format.js";
import { colorsOf, columnsOf, write, writeJson } from "./terminal/output.js";
import { formatDataReport, formatFact } from "./training-data-report.js";

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
    [
      "trainable",
      `${groupDigits(trained)} of ${groupDigits(total)} parameters (${((100 * trained) / total).toPrecision(3)} %)`,
    ],
    ["steps", `${groupDigits(steps)}, about ${countOf(tokens, "token", groupDigits)}`],
    ["memory", `${formatBytes(plan.total)}${checkpointing ? ", with gradient checkpointing" : ""}`],
    [
      "time",
      `about ${formatDuration(seconds)} at ${groupDigits(Math.round(tokensPerSecond))} tokens/s, measured on one step`,
    ],
  ];
  write(`${rows.map(([name = "", value = ""]) => formatFact(name, value, columnsOf())).join("\n")}\n`);
}
