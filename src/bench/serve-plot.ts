// Latency and speed over load as a picture: one panel per figure and kind of load.

import { dashOf, drawPanels, type Line, type Panel, type Point } from "../plot/panels.js";
import type { Quantiles } from "./distribution.js";
import type { ServeReport } from "./serve.js";
import { answeredModels } from "./serve-report.js";
import type { ServeResult } from "./serve-result.js";

interface Figure {
  title: string;
  yLabel: string;
  /** Undefined where nothing was answered. */
  of: (result: ServeResult) => Omit<Point, "x"> | undefined;
}

/** The median, with a line up to the p99. */
function toPoint(quantiles: Quantiles | null): Omit<Point, "x"> | undefined {
  return quantiles === null ? undefined : { y: quantiles.p50, low: quantiles.p50, high: quantiles.p99 };
}

const figures: readonly Figure[] = [
  {
    title: "Time to the first token",
    yLabel: "ms, p50 to p99",
    of: ({ timeToFirstToken }) => toPoint(timeToFirstToken),
  },
  {
    title: "Time between tokens",
    yLabel: "ms, p50 to p99",
    of: ({ interTokenLatency }) => toPoint(interTokenLatency),
  },
  {
    title: "Speed of all streams",
    yLabel: "tokens/s",
    of: ({ tokensPerSecond: { median, min, max } }) => ({ y: median, low: min, high: max }),
  },
];

/** Throws USAGE if there is nothing to draw. What was overloaded on purpose is not on it. */
export function drawServePlot(report: ServeReport, caption: string): string {
  const results = report.results.filter(({ isOverload, outcomes }) => !isOverload && (outcomes.ok ?? 0) > 0);
  const kinds = (["closed", "open"] as const).filter((kind) => results.some(({ load }) => load.kind === kind));
  const panels = kinds.flatMap((kind) => {
    const alike = results.filter(({ load }) => load.kind === kind);
    return figures.map((figure) => makePanel(figure, kind === "closed" ? "streams" : "requests/s", alike));
  });
  return drawPanels(panels, `${answeredModels(report)} under load`, caption);
}

function makePanel({ title, yLabel, of }: Figure, xLabel: string, results: readonly ServeResult[]): Panel {
  const severalServers = new Set(results.map(({ server }) => server)).size > 1;
  const severalPrompts = new Set(results.map(({ prompt }) => prompt)).size > 1;
  const lines = new Map<string, Line>();
  for (const result of results) {
    const prompt = `prompt ${result.prompt}`;
    const host = result.server.replace(/^https?:\/\//, "");
    const label = [severalServers ? host : "", severalPrompts ? prompt : ""].filter((text) => text !== "").join(", ");
    const meaning = severalServers ? host : prompt;
    const alike = [...lines.values()].filter((line) => line.meaning === meaning).length;
    const line = lines.get(label) ?? { label, meaning, dash: dashOf(alike), points: [] };
    lines.set(label, line);
    const point = of(result);
    if (point !== undefined) {
      line.points.push({ x: result.load.kind === "closed" ? result.load.streams : result.load.rate, ...point });
    }
  }
  for (const line of lines.values()) {
    line.points.sort((a, b) => a.x - b.x);
  }
  return { title, xLabel, yLabel, lines: [...lines.values()].filter(({ points }) => points.length > 0) };
}
