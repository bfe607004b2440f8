// Curves over a line of numbers as one SVG picture, with a second axis on the right. It follows the colours of the reader's
// desktop, light or dark.

import { colorOf, styleSheet } from "./style.js";
import { element, formatTick, niceTicks, textElement } from "./svg.js";

export interface CurvePoint {
  x: number;
  y: number;
}

export interface Curve {
  label: string;
  points: readonly CurvePoint[]; // by x
  /** Drawn thin and pale, behind one that says the same better. */
  isFaint?: boolean;
  /** Of few points, each of which is marked. */
  hasDots?: boolean;
  /** By the axis on the right. */
  isSecond?: boolean;
}

export interface CurveLabels {
  title: string;
  xLabel: string;
  yLabel: string;
  /** Of the axis on the right. */
  secondLabel: string;
}

const width = 800;
const height = 440;
const area = { left: 64, right: width - 72, top: 84, bottom: height - 56 };
const mostColors = 3;
const characterWidth = 6.6; // at 12 pixels, about
const mostPoints = 2000; // of a curve: more than pixels says nothing

/** Curves without points are left out. */
export function drawCurves(curves: readonly Curve[], { title, xLabel, yLabel, secondLabel }: CurveLabels): string {
  const shown = curves.filter(({ points }) => points.length > 0);
  const first = axisOf(shown.filter(({ isSecond }) => isSecond !== true));
  const second = axisOf(shown.filter(({ isSecond }) => isSecond === true));
  const mostX = Math.max(1, ...shown.flatMap(({ points }) => points.map(({ x }) => x)));
  const xOf = (x: number) => area.left + (x / mostX) * (area.right - area.left);
  const hasSecond = shown.some(({ isSecond }) => isSecond === true);
  const parts = [
    element("style", {}, styleSheet(mostColors) + ownStyles),
    element("rect", { class: "paper", width, height }),
    textElement({ class: "title", x: 24, y: 32 }, title.slice(0, 90)),
    drawLegend(shown),
    ...drawAxis(first, "left", yLabel),
    ...(hasSecond ? drawAxis(second, "right", secondLabel) : []),
    ...drawSteps(mostX, xOf, xLabel),
    ...shown.map((curve, i) => drawCurve(curve, i, xOf, (curve.isSecond === true ? second : first).of)),
  ];
  const size = { width, height, viewBox: `0 0 ${width} ${height}` };
  return `${element("svg", { xmlns: "http://www.w3.org/2000/svg", ...size }, parts.join("\n"))}\n`;
}

const ownStyles = `.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.faint { stroke-width: 1; opacity: 0.45; }
.second { stroke-width: 1.5; stroke-dasharray: 6 4; }
`;

interface Axis {
  ticks: readonly number[];
  of: (value: number) => number; // in pixels
}

/** From 0 up; values that are far above nearly all others do not press these together. */
function axisOf(curves: readonly Curve[]): Axis {
  const values = curves.flatMap(({ points }) => points.map(({ y }) => y)).filter(Number.isFinite);
  const ticks = niceTicks(values.length === 0 ? 1 : Math.max(...values), 5);
  const top = ticks.at(-1) ?? 1;
  return { ticks, of: (value) => area.bottom - (value / top) * (area.bottom - area.top) };
}

function drawAxis({ ticks, of }: Axis, side: "left" | "right", label: string): string[] {
  const isLeft = side === "left";
  const x = isLeft ? area.left - 8 : area.right + 8;
  const anchor = isLeft ? "end" : "start";
  const step = ticks[1] ?? 1;
  return [
    textElement(
      {
        class: "quiet",
        x: isLeft ? area.left - 40 : area.right + 56,
        y: area.top - 14,
        "text-anchor": isLeft ? "start" : "end",
      },
      label,
    ),
    ...ticks.flatMap((tick) => [
      ...(isLeft
        ? [
            element("line", {
              class: tick === 0 ? "axis" : "grid",
              x1: area.left,
              x2: area.right,
              y1: of(tick),
              y2: of(tick),
            }),
          ]
        : []),
      textElement({ class: "quiet", x, y: of(tick) + 4, "text-anchor": anchor }, formatValue(tick, step)),
    ]),
  ];
}

/** Very small steps as powers of ten. */
function formatValue(value: number, step: number): string {
  return step >= 0.001 || value === 0 ? formatTick(value, step) : value.toExponential(step >= 0.0001 ? 1 : 0);
}

function drawSteps(mostX: number, xOf: (x: number) => number, label: string): string[] {
  const ticks = niceTicks(mostX, 6).filter((tick) => tick <= mostX && Number.isInteger(tick));
  return [
    ...ticks.map((tick) =>
      textElement({ class: "quiet", x: xOf(tick), y: area.bottom + 20, "text-anchor": "middle" }, String(tick)),
    ),
    textElement(
      { class: "quiet", x: (area.left + area.right) / 2, y: area.bottom + 44, "text-anchor": "middle" },
      label,
    ),
  ];
}

function strokeOf({ isSecond }: Curve, index: number): string {
  return isSecond === true ? "var(--quiet)" : colorOf(index % mostColors);
}

function classOf({ isFaint, isSecond }: Curve): string {
  return `curve${isFaint === true ? " faint" : ""}${isSecond === true ? " second" : ""}`;
}

function drawLegend(curves: readonly Curve[]): string {
  let x = 24;
  return curves
    .map((curve, i) => {
      const stroke = strokeOf(curve, i);
      const line = element("line", { class: classOf(curve), stroke, x1: x, x2: x + 22, y1: 50, y2: 50 });
      const text = textElement({ x: x + 28, y: 54 }, curve.label);
      x += 28 + curve.label.length * characterWidth + 20;
      return line + text;
    })
    .join("");
}

function drawCurve(curve: Curve, index: number, xOf: (x: number) => number, yOf: (y: number) => number): string {
  const finite = curve.points.filter(({ y }) => Number.isFinite(y));
  const every = Math.ceil(finite.length / mostPoints);
  const points = finite.filter((_, i) => i % every === 0 || i === finite.length - 1);
  const path = points.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${xOf(x).toFixed(1)} ${yOf(y).toFixed(1)}`).join("");
  const color = strokeOf(curve, index);
  const dots =
    curve.hasDots === true || points.length === 1
      ? points.map(({ x, y }) => element("circle", { cx: xOf(x), cy: yOf(y), r: 3, style: `fill: ${color}` }))
      : [];
  return element("g", { stroke: color }, element("path", { class: classOf(curve), d: path }) + dots.join(""));
}
