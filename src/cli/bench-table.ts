// Results of measurements as tables that fit a terminal: what all rows share stands above them, limits are bars.

import { basename } from "node:path";
import type { ChalkInstance } from "chalk";
import type { Comparison } from "../bench/compare.js";
import type { BenchResult } from "../bench/end-to-end.js";
import { formatTime, listKernelRemarks } from "../bench/kernel-report.js";
import type { KernelReport } from "../bench/kernels.js";
import {
  formatBinary,
  formatCount,
  formatLimits,
  formatSpeed,
  giga,
  labelModel,
  listRemarks,
  type MachineReport,
} from "../bench/report.js";
import { medianOf } from "../bench/stats.js";
import { formatMachine, type Machine } from "../native/machine.js";
import { countOf } from "../system/counts.js";
import { wrapText } from "./help.js";
import { formatColumns } from "./terminal/format.js";

const widest = 100;
const widestBar = 24;
const leastBar = 6;

/** Where a table is to stand. */
interface Place {
  width: number;
  colors: ChalkInstance;
}

export function formatBenchTable(report: MachineReport, columns: number, colors: ChalkInstance): string {
  const width = Math.min(columns, widest);
  const place = { width, colors };
  const { machine, comparisons } = report;
  const groups = groupBy(report.results, headOf);
  return joinParts([
    wrapText(formatMachine(machine), width),
    ...[...groups].map(([head, results]) => formatGroup(head, results, place)),
    comparisons === undefined ? "" : formatComparisons(comparisons, place),
    listRemarks(report)
      .map((remark) => wrapText(remark, width))
      .join("\n"),
  ]);
}

export function formatKernelTable(
  report: KernelReport & { machine: Machine },
  columns: number,
  colors: ChalkInstance,
): string {
  const width = Math.min(columns, widest);
  const place = { width, colors };
  const groups = groupBy(report.results, ({ kernel, threads }) => `${kernel}, ${countOf(threads, "thread")}`);
  const tables = [...groups].map(([head, results]) => {
    const isSameLayout = new Set(results.map(({ layout }) => layout)).size === 1;
    const layoutOf = (layout: string) => (isSameLayout ? [] : [layout]);
    const header = [...layoutOf("layout"), "matrix", "batch", "time", "GOP/s", "GB/s"];
    const rows = results.map(({ layout, rows, cols, tokens, seconds, operations, bytes }) => [
      ...layoutOf(layout),
      `${rows}x${cols}`, // as --shapes takes it
      String(tokens),
      formatTime(seconds.median),
      giga(operations / seconds.median),
      giga(bytes / seconds.median),
    ]);
    const first = header.length - 4; // of the numbers
    const lines = withLimits([header, ...rows], [first, first + 1, first + 2, first + 3], results, place);
    const title = isSameLayout ? `${head}, layout ${results[0]?.layout}` : head;
    const { kernel, threads } = results[0] ?? {};
    const limits = report.limits.find((entry) => entry.kernel === kernel && entry.threads === threads);
    const most = limits === undefined ? [] : wrapText(`limits: ${formatLimits(limits)}`, width).split("\n");
    return [...formatTitle(title, place), ...most.map((line) => colors.dim(line)), ...lines].join("\n");
  });
  const remarks = listKernelRemarks({ ...report, limits: [] }).map((remark) => wrapText(remark, width));
  return joinParts([wrapText(formatMachine(report.machine), width), ...tables, remarks.join("\n")]);
}

/** In the order of first appearance. */
function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    groups.set(key, [...(groups.get(key) ?? []), item]);
  }
  return groups;
}

function joinParts(parts: readonly string[]): string {
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

/** What the rows of one table share, in two lines. */
function headOf(result: BenchResult): string {
  const { model, kernel } = result;
  const size = `${formatBinary(model.bytes)}, ${formatCount(model.parameters)} parameters`;
  return `${basename(model.path)}: ${labelModel(result)}, ${size}\nkernel ${kernel}`;
}

/** With as many digits for the deviation as for the mean. */
function formatMean({ mean, deviation }: { mean: number; deviation: number }): string {
  const digits = mean >= 1000 ? 0 : mean >= 100 ? 1 : 2;
  return `${mean.toFixed(digits)} ± ${deviation.toFixed(digits)}`;
}

/** Its first line stands out. */
function formatTitle(title: string, { width, colors }: Place): string[] {
  const [first = "", ...rest] = title.split("\n").map((line) => wrapText(line, width));
  return [colors.bold(first), ...rest];
}

function formatGroup(head: string, results: readonly BenchResult[], place: Place): string {
  const threads = new Set(results.map((result) => result.threads));
  const isSame = threads.size === 1;
  const withEnergy = results.some(({ joulesPerToken }) => joulesPerToken !== null);
  const header = [...(isSame ? [] : ["threads"]), "test", "t/s", ...(withEnergy ? ["J/token"] : [])];
  const rows = results.map(({ threads, test, tokensPerSecond, joulesPerToken }) => [
    ...(isSame ? [] : [String(threads)]),
    test,
    formatMean(tokensPerSecond),
    ...(withEnergy ? [joulesPerToken?.toPrecision(3) ?? ""] : []),
  ]);
  const numeric = isSame ? [1, 2] : [0, 2, 3];
  const title = isSame ? `${head}, ${countOf([...threads][0] ?? 1, "thread")}` : head;
  return [...formatTitle(title, place), ...withLimits([header, ...rows], numeric, results, place)].join("\n");
}

/** The lines of a table with a last column of bars: how much of the limit is reached, and what the limit is. */
function withLimits(
  rows: readonly string[][],
  numeric: readonly number[],
  results: readonly { limit?: BenchResult["limit"] }[],
  { width, colors }: Place,
): string[] {
  const lines = formatColumns(rows, { indent: "  ", numeric });
  const dimHeader = (line: string, i: number) => (i === 0 ? colors.dim(line) : line);
  if (results.every(({ limit }) => limit === undefined)) {
    return lines.map(dimHeader);
  }
  const left = Math.max(...lines.map((line) => line.length));
  const room = width - left - 2 - " 100 % compute".length;
  const bar = room < leastBar ? 0 : Math.min(widestBar, room);
  const cells = ["of the limit", ...results.map(({ limit }) => formatLimit(limit, bar))];
  return lines.map((line, i) => dimHeader(`${line.padEnd(left)}  ${cells[i] ?? ""}`.trimEnd(), i));
}

function formatLimit(limit: BenchResult["limit"], width: number): string {
  if (limit === undefined) {
    return "";
  }
  const { percent, bound } = limit;
  const full = Math.round((Math.min(percent, 100) / 100) * width);
  const bar = width === 0 ? "" : `${"█".repeat(full)}${"░".repeat(width - full)} `;
  return `${bar}${percent.toFixed(0).padStart(3)} % ${bound}`;
}

function formatComparisons(comparisons: readonly Comparison[], place: Place): string {
  if (comparisons.length === 0) {
    return wrapText("Nothing to compare: no test with the same number of threads is in both runs.", place.width);
  }
  const groups = groupBy(
    comparisons,
    ({ model, earlier }) => `${basename(model)} compared with ${earlier.description}, ${basename(earlier.model)}`,
  );
  const header = ["threads", "test", "then t/s", "now t/s", "ratio", "lowest-highest"];
  const tables = [...groups].map(([head, entries]) => {
    const rows = entries.map(({ threads, test, median, earlier, ratio, low, high }) => [
      String(threads),
      test,
      formatSpeed(medianOf(earlier.samples)),
      formatSpeed(median),
      ratio.toFixed(2),
      `${low.toFixed(2)}-${high.toFixed(2)}`,
    ]);
    const lines = formatColumns([header, ...rows], { indent: "  ", numeric: [0, 2, 3, 4, 5] });
    return [...formatTitle(head, place), ...lines].join("\n");
  });
  return tables.join("\n\n");
}
