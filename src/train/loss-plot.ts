// The losses of a run as a picture: of training, as they are and smoothed, of evaluation, and the learning rate.

import { type Curve, drawCurves } from "../plot/curves.js";
import { isEval, type LogEntry } from "./state.js";

/** Weight of what came before in the smoothed curve. */
const smoothing = 0.9;

export function drawLosses(log: readonly LogEntry[], title: string): string {
  const steps = log.flatMap((entry) => (isEval(entry) ? [] : [entry]));
  const evals = log.flatMap((entry) => (isEval(entry) ? [entry] : []));
  const losses = steps.map(({ step, loss }) => ({ x: step, y: loss }));
  const curves: Curve[] = [
    { label: "train", points: losses, isFaint: steps.length > 20 },
    ...(steps.length > 20 ? [{ label: "train, smoothed", points: smooth(losses) }] : []),
    { label: "evaluation", points: evals.map(({ step, eval_loss: loss }) => ({ x: step, y: loss })), hasDots: true },
    {
      label: "learning rate",
      points: steps.map(({ step, learning_rate: rate }) => ({ x: step, y: rate })),
      isSecond: true,
    },
  ];
  return drawCurves(curves, { title, xLabel: "step", yLabel: "loss (nats per token)", secondLabel: "learning rate" });
}

/** An exponential mean that does not begin at 0. */
function smooth(points: readonly { x: number; y: number }[]): { x: number; y: number }[] {
  let mean = 0;
  let weight = 0;
  return points.map(({ x, y }) => {
    mean = smoothing * mean + (1 - smoothing) * y;
    weight = smoothing * weight + 1 - smoothing;
    return { x, y: mean / weight };
  });
}
