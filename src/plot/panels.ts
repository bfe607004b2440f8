// Panels of lines as one SVG picture. Lines are labelled at their ends; it follows the colours of the reader's desktop, light
// or dark.

import { BitnetError } from "../system/errors.js";
import { colorCount, colorOf, styleSheet } from "./style.js";
import { element, formatTick, niceTicks, spreadLabels, textElement } from "./svg.js";

export interface Point {
  x: number;
  y: number; // median
  low: number;
  high: number;
}

export interface Line {
  label: string;
  /** "kernel avx2": what its colour stands for, in every panel. */
  meaning: string;
  /** Lines of one colour have dashes of their own. */
  dash: string;
  points: Point[]; // by x
}

export interface Panel {
  title: string;
  xLabel: string;
  /** The unit of what is drawn. */
  yLabel: string;
  lines: Line[];
}

const dashes = ["", "7 4", "2 4", "10 4 2 4"];

const panelWidth = 560;
const leastHeight = 320;
const gap = 24;
const margin = { top: 56, left: 56, bottom: 52 };
const labelGap = 15; // of two labels, from base line to base line
const characterWidth = 6.4; // at 12 pixels, about
const titleWidth = 8.6; // of a character of the title
const longestLabel = 26; // characters

/** Under `title` and `caption`, which says what all panels share. Throws USAGE if there are none. */
export function drawPanels(panels: readonly Panel[], title: string, caption: string): string {
  if (panels.length === 0) {
    throw new BitnetError("USAGE", "there is nothing to draw");
  }
  const meanings = [...new Set(panels.flatMap(({ lines }) => lines.map(({ meaning }) => meaning)))];
  const columns = Math.min(2, panels.length);
  const width = columns * (panelWidth + gap) + gap;
  const top = 3 * gap;
  // Every label has its own line.
  const most = Math.max(...panels.map(({ lines }) => lines.length));
  const panelHeight = Math.max(leastHeight, margin.top + margin.bottom + (most - 1) * labelGap);
  const height = top + Math.ceil(panels.length / columns) * (panelHeight + gap);
  const parts = [
    element("style", {}, styleSheet(meanings.length) + ownStyles),
    element("rect", { class: "paper", width, height }),
    textElement({ class: "title", x: gap, y: gap + 8 }, shorten(title, (width - 2 * gap) / titleWidth)),
    textElement({ class: "quiet", x: gap, y: gap + 28 }, shorten(caption, (width - 2 * gap) / characterWidth)),
    ...panels.map((panel, i) => {
      const x = gap + (i % columns) * (panelWidth + gap);
      const y = top + Math.floor(i / columns) * (panelHeight + gap);
      return element("g", { transform: `translate(${x},${y})` }, drawPanel(panel, panelHeight, meanings));
    }),
  ];
  const size = { width, height, viewBox: `0 0 ${width} ${height}` };
  return `${element("svg", { xmlns: "http://www.w3.org/2000/svg", ...size }, parts.join("\n"))}\n`;
}

const ownStyles = `.panel { font-size: 13px; font-weight: 600; }
.line { fill: none; stroke-width: 2; }
.range { stroke-width: 1.5; }
.leader { stroke-width: 0.75; opacity: 0.7; }
`;

function drawPanel({ title, xLabel, yLabel, lines }: Panel, height: number, meanings: readonly string[]): string {
  const labels = lines.map(({ label }) => shorten(label, longestLabel));
  const right = 16 + characterWidth * Math.max(0, ...labels.map((label) => label.length));
  const area = { left: margin.left, right: panelWidth - right, top: margin.top, bottom: height - margin.bottom };
  const points = lines.flatMap((line) => line.points);
  const xs = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b);
  const ticks = niceTicks(Math.max(...points.map(({ high }) => high)), 5);
  const top = ticks.at(-1) ?? 1;
  const xOf = (x: number) => area.left + ((xs.indexOf(x) + 0.5) / xs.length) * (area.right - area.left);
  const yOf = (y: number) => area.bottom - (y / top) * (area.bottom - area.top);
  const step = ticks[1] ?? 1;
  const grid = ticks.flatMap((tick) => [
    element("line", {
      class: tick === 0 ? "axis" : "grid",
      x1: area.left,
      x2: area.right,
      y1: yOf(tick),
      y2: yOf(tick),
    }),
    textElement({ x: area.left - 8, y: yOf(tick) + 4, "text-anchor": "end" }, formatTick(tick, step)),
  ]);
  const every = Math.ceil((xs.length * 44) / (area.right - area.left)); // so that numbers do not touch
  const axis = xs
    .filter((_, i) => i % every === 0)
    .map((x) => textElement({ x: xOf(x), y: area.bottom + 18, "text-anchor": "middle" }, String(x)));
  const ends = lines.map(({ points: own }) => yOf(own.at(-1)?.y ?? 0));
  const heights = spreadLabels(ends, labelGap, area.top, area.bottom);
  return [
    textElement({ class: "panel", x: 0, y: 14 }, title),
    textElement({ class: "quiet", x: 0, y: 36 }, yLabel),
    textElement(
      { class: "quiet", x: (area.left + area.right) / 2, y: area.bottom + 42, "text-anchor": "middle" },
      xLabel,
    ),
    ...grid,
    ...axis,
    ...lines.map((line, i) => {
      const index = meanings.indexOf(line.meaning);
      // A colour has one meaning: where there are more meanings than colours, the rest has that of the text.
      const color = index < colorCount ? colorOf(index) : "var(--ink)";
      const last = line.points.at(-1);
      const end = { x: last === undefined ? 0 : xOf(last.x), y: ends[i] ?? 0, label: heights[i] ?? 0 };
      const label = drawLabel(labels[i] ?? "", end, area.right, color);
      return drawLine(line, color, xOf, yOf) + label;
    }),
  ].join("\n");
}

function drawLine(
  { points, dash }: Line,
  color: string,
  xOf: (x: number) => number,
  yOf: (y: number) => number,
): string {
  const path = points.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${xOf(x).toFixed(1)} ${yOf(y).toFixed(1)}`).join("");
  return element(
    "g",
    { stroke: color },
    [
      element("path", { class: "line", d: path, ...(dash !== "" && { "stroke-dasharray": dash }) }),
      ...points.map(({ x, low, high }) =>
        element("line", { class: "range", x1: xOf(x), x2: xOf(x), y1: yOf(low), y2: yOf(high) }),
      ),
      ...points.map(({ x, y }) => element("circle", { cx: xOf(x), cy: yOf(y), r: 3.5, style: `fill: ${color}` })),
    ].join(""),
  );
}

/** Right of the plot, with a thin line from the end of the line that it names. */
function drawLabel(text: string, end: { x: number; y: number; label: number }, right: number, color: string): string {
  if (text === "") {
    return "";
  }
  const leader = { class: "leader", stroke: color, x1: end.x + 5, y1: end.y, x2: right + 4, y2: end.label };
  return element("line", leader) + textElement({ x: right + 8, y: end.label + 4, style: `fill: ${color}` }, text);
}

function shorten(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, Math.floor(most) - 1)}…` : text;
}

/** Dashes for the next line of a colour that `alike` lines have. */
export function dashOf(alike: number): string {
  return dashes[alike % dashes.length] ?? "";
}
