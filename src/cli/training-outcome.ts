// How a training ended: its figures and what to type next, or how to go on with it.

import { countOf, groupDigits } from "../system/counts.js";
import { toBitnetError } from "../system/errors.js";
import { listCheckpoints } from "../train/checkpoint.js";
import type { TrainerResult } from "../train/trainer.js";
import { formatDuration } from "./terminal/bar.js";
import { note } from "./terminal/output.js";

/** `next`: commands that use the result. */
export function formatOutcome(result: TrainerResult & { folder: string }, next: readonly string[]): string {
  const { steps, tokens, seconds, tokensPerSecond, loss, evalBefore, evalLoss, resultStep, skipped, folder } = result;
  const time = `${formatDuration(seconds)}, ${groupDigits(Math.round(tokensPerSecond))} tokens/s`;
  const rows: [string, string][] = [
    ["trained", `${countOf(steps, "step", groupDigits)}, ${countOf(tokens, "token", groupDigits)} (${time})`],
    ["loss", `${loss.toFixed(4)}`],
    ...(evalLoss === undefined ? [] : ([["evaluation", formatEvaluation(evalBefore, evalLoss)]] as [string, string][])),
    ...(resultStep === steps ? [] : ([["result of", `step ${resultStep}`]] as [string, string][])),
    ...(skipped === 0
      ? []
      : ([["skipped", `${countOf(skipped, "step")} without finite gradients`]] as [string, string][])),
    ["written to", folder],
  ];
  const table = rows.map(([name, value]) => `${name.padEnd(12)}${value}`).join("\n");
  return `${table}\n\nNext:\n${next.map((line) => `  ${line}`).join("\n")}`;
}

function formatEvaluation(before: number | undefined, after: number): string {
  const perplexity = `perplexity ${Math.exp(after).toPrecision(4)}`;
  if (before === undefined) {
    return `loss ${after.toFixed(4)}, ${perplexity}`;
  }
  const verdict = after < before ? "" : ": no better than before the training";
  return `loss ${before.toFixed(4)} before, ${after.toFixed(4)} after (${perplexity})${verdict}`;
}

/** How to go on with a training that was stopped, if there is something to go on from. */
export async function noteStopped(error: unknown, out: string, quiet = false): Promise<void> {
  if (toBitnetError(error).code !== "ABORTED" || out === "" || quiet) {
    return;
  }
  note(
    (await listCheckpoints(out)).length > 0
      ? `stopped; what was trained so far is saved in ${out}: the same command with --resume goes on`
      : "stopped before anything was trained",
  );
}
