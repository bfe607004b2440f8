// What convert and dummy show on the terminal: progress while they work, and their report.

import type { ConvertProgress, ConvertReport } from "../../convert/plan.js";
import { formatBytes } from "./format.js";
import { log, note, write } from "./output.js";
import { createProgress } from "./progress.js";

/** Shows the progress of a conversion on stderr. */
export async function withProgress(
  what: string,
  body: (onProgress: (progress: ConvertProgress) => void) => Promise<ConvertReport>,
): Promise<ConvertReport> {
  const progress = createProgress(what, "bytes");
  try {
    return await body(({ doneBytes, totalBytes }) => progress.update(doneBytes, totalBytes));
  } finally {
    progress.stop();
  }
}

/** The report for people: what is in the file, on stderr; the file's name, on stdout. */
export function printReport(report: ConvertReport): void {
  const { outfile, bytes, seconds, tensors, typeHistogram, ternary, warnings, kernelConfig } = report;
  for (const warning of warnings) {
    note(warning);
  }
  const types = Object.entries(typeHistogram).map(([type, n]) => `${n} ${type}`);
  log(`${tensors.length} tensors: ${types.join(", ") || "metadata only"}`);
  const weights = ternary.minus + ternary.zero + ternary.plus;
  if (weights > 0) {
    const share = (n: number) => `${((100 * n) / weights).toFixed(1)} %`;
    log(`ternary weights: ${share(ternary.minus)} -1, ${share(ternary.zero)} 0, ${share(ternary.plus)} +1`);
  }
  const rounded = tensors.filter(({ relativeError }) => relativeError !== undefined);
  if (rounded.length > 0) {
    const mean = rounded.reduce((sum, { relativeError = 0 }) => sum + relativeError, 0) / rounded.length;
    log(`${rounded.length} float matrices rounded to ternary weights, ${(100 * mean).toFixed(0)} % off on average`);
  }
  if (kernelConfig !== undefined) {
    log(`its tiles are in the file, and for bitnet.cpp in ${kernelConfig}`);
  }
  log(`${formatBytes(bytes)} in ${seconds.toFixed(1)} s, read back and verified`);
  write(`${outfile}\n`);
}
