// What convert and dummy show on the terminal: progress while they work, and their report.

import type { ConvertedTensor, ConvertProgress, ConvertReport } from "../../convert/plan.js";
import { formatBytes } from "./format.js";
import { writeText } from "./output.js";
import type { Step, Steps } from "./steps.js";

/** Shows a conversion as a step with its progress. */
export async function showConversion(
  steps: Steps,
  step: Step,
  body: (onProgress: (progress: ConvertProgress) => void) => Promise<ConvertReport>,
): Promise<ConvertReport> {
  steps.begin({ ...step, isObvious: true });
  try {
    const report = await body(({ doneBytes, totalBytes }) => {
      steps.progress(step.doing.split(" ", 1)[0]?.toLowerCase() ?? "").update(doneBytes, totalBytes);
    });
    steps.succeed();
    return report;
  } catch (error) {
    steps.fail();
    throw error;
  }
}

/** The report for people: what is in the file, on stderr; the file's name, on stdout. */
export function printReport(report: ConvertReport, steps: Steps, { forced = false } = {}): void {
  const { outfile, bytes, seconds, tensors, typeHistogram, ternary, warnings, kernelConfig } = report;
  for (const warning of warnings) {
    steps.note(warning);
  }
  const types = Object.entries(typeHistogram).map(([type, n]) => `${n} ${type}`);
  steps.line(`${tensors.length} tensors: ${types.join(", ") || "metadata only"}`);
  const weights = ternary.minus + ternary.zero + ternary.plus;
  if (weights > 0) {
    const share = (n: number) => `${((100 * n) / weights).toFixed(1)} %`;
    steps.line(`ternary weights: ${share(ternary.minus)} -1, ${share(ternary.zero)} 0, ${share(ternary.plus)} +1`);
  }
  reportRounding(tensors, steps, forced);
  if (kernelConfig !== undefined) {
    steps.line(`its tiles are in the file, and for bitnet.cpp in ${kernelConfig}`);
  }
  steps.line(`${formatBytes(bytes)} in ${seconds.toFixed(1)} s, read back and verified`);
  writeText(`${outfile}\n`);
}

/** Master weights of a ternary model are rounded whenever it computes; of any other model that loses what it has learnt. */
function reportRounding(tensors: readonly ConvertedTensor[], steps: Steps, forced: boolean): void {
  const errors = tensors.flatMap(({ relativeError }) => relativeError ?? []);
  if (errors.length === 0) {
    return;
  }
  const matrices = errors.length === 1 ? "matrix" : "matrices";
  if (forced) {
    const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
    const loss = `${(100 * mean).toFixed(0)} % off on average`;
    steps.note(
      `--force: ${errors.length} ${matrices} rounded to ternary weights, ${loss}: useless unless the model was trained for that`,
    );
  } else {
    steps.line(`${errors.length} ${matrices} of master weights rounded to ternary, as the model itself does`);
  }
}
