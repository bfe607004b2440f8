// Tokens per second as a picture: an SVG with one panel per question that the results can answer.

import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { BitnetError } from "../system/errors.js";
import type { BenchResult } from "./end-to-end.js";
import { labelModel } from "./report.js";

interface Point {
  x: number;
  y: number; // median
  low: number;
  high: number;
  series: string;
}

interface Panel {
  title: string;
  xLabel: string;
  points: Point[];
}

/** The little of the DOM that is used here; the browser's own types are not loaded for a command line. */
interface SvgElement {
  nodeName: string;
  childNodes: Iterable<SvgElement>;
  textContent: string;
  outerHTML: string;
  setAttribute(name: string, value: string): void;
  append(...nodes: SvgElement[]): void;
}
interface SvgDocument {
  createElementNS(namespace: string, name: string): SvgElement;
}

const width = 560;
const height = 320;
const gap = 24;
const legendLine = 18;
const svgNamespace = "http://www.w3.org/2000/svg";

export function drawPlot(results: readonly BenchResult[], caption: string): string {
  const panels = choosePanels(results);
  if (panels.length === 0) {
    throw new BitnetError("USAGE", "there is nothing to draw");
  }
  const document = parseHTML("<!doctype html><html><body></body></html>").document as unknown as SvgDocument;
  const series = [...new Set(panels.flatMap(({ points }) => points.map((point) => point.series)))];
  const create = (name: string, attributes: Record<string, string | number>, content = "") => {
    const element = document.createElementNS(svgNamespace, name);
    for (const [key, value] of Object.entries(attributes)) {
      element.setAttribute(key, String(value));
    }
    element.textContent = content;
    return element;
  };

  const columns = Math.min(2, panels.length);
  const rows = Math.ceil(panels.length / columns);
  const totalWidth = columns * (width + gap) + gap;
  const top = 2 * gap;
  const totalHeight = top + rows * (height + gap) + series.length * legendLine + gap;
  const root = create("svg", {
    xmlns: svgNamespace,
    width: totalWidth,
    height: totalHeight,
    viewBox: `0 0 ${totalWidth} ${totalHeight}`,
    "font-family": "system-ui, sans-serif",
    "font-size": 12,
  });
  root.append(create("rect", { width: totalWidth, height: totalHeight, fill: "white" }));
  root.append(create("text", { x: gap, y: gap + 4 }, caption));
  for (const [i, panel] of panels.entries()) {
    const x = gap + (i % columns) * (width + gap);
    const y = top + Math.floor(i / columns) * (height + gap);
    const group = create("g", { transform: `translate(${x},${y})`, fill: "currentColor", "text-anchor": "middle" });
    const svg = drawPanel(panel, series, document);
    // Its style sheet is for pages; a nested <svg> would take its size from there.
    group.append(...[...svg.childNodes].filter((node) => node.nodeName.toLowerCase() !== "style"));
    root.append(group);
  }
  for (const [i, name] of series.entries()) {
    const y = top + rows * (height + gap) + i * legendLine;
    root.append(create("circle", { cx: gap + 5, cy: y, r: 5, fill: colorOf(i) }));
    root.append(create("text", { x: gap + 18, y: y + 4 }, name));
  }
  return `${root.outerHTML}\n`;
}

function colorOf(series: number): string {
  // Okabe and Ito: distinct also for the colour-blind.
  const colors = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442"];
  return colors[series % colors.length] ?? "black";
}

function drawPanel({ title, xLabel, points }: Panel, series: readonly string[], document: SvgDocument): SvgElement {
  const color = (point: Point) => colorOf(series.indexOf(point.series));
  const ticks = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b);
  const sorted = [...points].sort((a, b) => a.x - b.x);
  const svg = Plot.plot({
    document: document as unknown as Plot.PlotOptions["document"],
    width,
    height,
    marginTop: 40,
    marginLeft: 56,
    x: { label: xLabel, type: "point", domain: ticks, padding: 0.3 },
    y: { label: "tokens/s", grid: true, zero: true, nice: true },
    color: { type: "identity" },
    marks: [
      Plot.ruleY([0]),
      Plot.text([title], { frameAnchor: "top", dy: -32, fontSize: 13, fontWeight: "bold" }),
      Plot.ruleX(sorted, { x: "x", y1: "low", y2: "high", stroke: color }),
      Plot.lineY(sorted, { x: "x", y: "y", z: "series", stroke: color }),
      Plot.dot(sorted, { x: "x", y: "y", fill: color, r: 3.5 }),
    ],
  });
  return svg as unknown as SvgElement;
}

/** Panels with more than one value of x; without any, prefill and decode as single points. */
function choosePanels(results: readonly BenchResult[]): Panel[] {
  const prefill = results.filter(({ prompt, generate }) => prompt > 0 && generate === 0);
  const decode = results.filter(({ prompt, generate }) => prompt === 0 && generate > 0);
  const panels = [
    makePanel("Decode over threads", "threads", decode, ({ threads }) => threads),
    makePanel("Prefill over threads", "threads", prefill, ({ threads }) => threads),
    makePanel("Prefill over the size of the batch", "tokens of the prompt", prefill, ({ prompt }) => prompt),
    makePanel("Decode over the filled context", "tokens in the context", decode, ({ depth }) => depth),
  ];
  const wide = panels.filter(({ points }) => new Set(points.map(({ x }) => x)).size > 1);
  return wide.length > 0 ? wide : panels.slice(0, 2).filter(({ points }) => points.length > 0);
}

function makePanel(
  title: string,
  xLabel: string,
  results: readonly BenchResult[],
  xOf: (result: BenchResult) => number,
) {
  const isThreads = xLabel === "threads";
  const points = results.map((result): Point => {
    const { tokensPerSecond: speed, kernel, threads, prompt, depth } = result;
    const parts = [
      labelModel(result),
      kernel,
      isThreads ? "" : `${threads} threads`,
      isThreads && prompt > 0 ? `${prompt} tokens` : "",
      depth > 0 && xLabel !== "tokens in the context" ? `after ${depth} tokens` : "",
    ];
    const series = parts.filter((part) => part !== "").join(", ");
    return { x: xOf(result), y: speed.median, low: speed.min, high: speed.max, series };
  });
  return { title, xLabel, points };
}
