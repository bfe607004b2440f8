// Tokens per second as a picture: an SVG with one panel per question that the results can answer.

import { basename } from "node:path";
import { dashOf, drawPanels, type Line, type Panel } from "../plot/panels.js";
import { countOf } from "../system/counts.js";
import type { BenchResult } from "./end-to-end.js";
import { labelModel } from "./report.js";

/** What can differ between lines of a panel, and how a label says it. */
const dimensions: readonly { key: string; of: (result: BenchResult) => string }[] = [
  { key: "model", of: ({ model }) => basename(model.path).replace(/\.gguf$/i, "") },
  { key: "type", of: labelModel },
  { key: "kernel", of: ({ kernel }) => kernel },
  { key: "threads", of: ({ threads }) => countOf(threads, "thread") },
  { key: "prompt", of: ({ prompt }) => (prompt > 0 ? `${prompt} tokens` : "") },
  { key: "depth", of: ({ depth }) => (depth > 0 ? `after ${depth}` : "empty context") },
];

interface Question {
  title: string;
  xLabel: string;
  /** The dimension along x. */
  along: "threads" | "prompt" | "depth";
  takes: (result: BenchResult) => boolean;
}

const isPrefill = ({ prompt, generate }: BenchResult) => prompt > 0 && generate === 0;
const isDecode = ({ prompt, generate }: BenchResult) => prompt === 0 && generate > 0;

const questions: readonly Question[] = [
  { title: "Decode over threads", xLabel: "threads", along: "threads", takes: isDecode },
  { title: "Prefill over threads", xLabel: "threads", along: "threads", takes: isPrefill },
  { title: "Prefill over the size of the batch", xLabel: "tokens of the prompt", along: "prompt", takes: isPrefill },
  { title: "Decode over the filled context", xLabel: "tokens in the context", along: "depth", takes: isDecode },
];

/** `caption`: what all results share, such as the machine. */
export function drawPlot(results: readonly BenchResult[], caption: string): string {
  return drawPanels(choosePanels(results), titleOf(results), caption);
}

/** The models, and their types where they are all of one. */
function titleOf(results: readonly BenchResult[]): string {
  const models = [...new Set(results.map(({ model }) => basename(model.path)))];
  const types = [...new Set(results.map(labelModel))];
  const title =
    models.length > 3 ? `${models.slice(0, 3).join(", ")} and ${models.length - 3} more` : models.join(", ");
  return types.length === 1 ? `${title} (${types[0]})` : title;
}

/** Panels with more than one value of x; without any, prefill and decode as single points. */
function choosePanels(results: readonly BenchResult[]): Panel[] {
  const panels = questions.map((question) => makePanel(question, results.filter(question.takes)));
  const countX = ({ lines }: Panel) => new Set(lines.flatMap(({ points }) => points.map(({ x }) => x))).size;
  const wide = panels.filter((panel) => countX(panel) > 1);
  return wide.length > 0 ? wide : panels.slice(0, 2).filter((panel) => countX(panel) > 0);
}

function makePanel({ title, xLabel, along }: Question, results: readonly BenchResult[]): Panel {
  const varying = listVarying(results, along);
  const lines = new Map<string, Line>();
  const colored = varying[0];
  for (const result of results) {
    const label = varying.map(({ of }) => of(result)).join(", ");
    const meaning = colored === undefined ? "" : `${colored.key} ${colored.of(result)}`;
    const line = lines.get(label) ?? { label, meaning, dash: "", points: [] };
    if (!lines.has(label)) {
      const alike = [...lines.values()].filter((other) => other.meaning === meaning).length;
      line.dash = dashOf(alike);
      lines.set(label, line);
    }
    const { median, min, max } = result.tokensPerSecond;
    line.points.push({ x: result[along], y: median, low: min, high: max });
  }
  for (const line of lines.values()) {
    line.points.sort((a, b) => a.x - b.x);
  }
  return { title, xLabel, yLabel: "tokens/s", lines: [...lines.values()] };
}

/** The dimensions that tell lines apart; one that others imply is left out. */
function listVarying(results: readonly BenchResult[], along: Question["along"]): (typeof dimensions)[number][] {
  const varying: (typeof dimensions)[number][] = [];
  let count = 1;
  for (const dimension of dimensions.filter(({ key }) => key !== along)) {
    const all = [...varying, dimension];
    const labels = new Set(results.map((result) => all.map(({ of }) => of(result)).join("\n")));
    if (labels.size > count) {
      varying.push(dimension);
      count = labels.size;
    }
  }
  return varying;
}
