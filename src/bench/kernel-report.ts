// A report of `bitnet bench kernels` as text.

import { formatMachine, type Machine } from "../native/machine.js";
import { stringifyJson } from "../system/write-json.js";
import type { KernelReport } from "./kernels.js";
import { describeLimits, type Format, formatShare, giga, type SqlTypes, toCsv, toMarkdown, toSql } from "./report.js";

const sqlTypes: SqlTypes = {
  text: ["version", "cpu", "kernel", "layout", "bound"],
  integer: ["rows", "cols", "batch", "threads"],
};

export function formatKernelReport(report: KernelReport & { machine: Machine }, format: Format): string {
  const { machine, results, limits, cached } = report;
  const limitsOf = (kernel: string, threads: number) =>
    limits.find((entry) => entry.kernel === kernel && entry.threads === threads);
  switch (format) {
    case "json":
      return `${stringifyJson(report, 2)}\n`;
    case "jsonl":
      return results
        .map((result) => ({ ...result, cached, limits: limitsOf(result.kernel, result.threads), machine }))
        .map((line) => `${stringifyJson(line)}\n`)
        .join("");
    case "csv":
      return toCsv(listRows(report));
    case "sql":
      return toSql("bitnet_kernels", listRows(report), sqlTypes);
    case "md":
      return formatMarkdown(report);
  }
}

function listRows({ machine, results }: KernelReport & { machine: Machine }) {
  return results.map(({ seconds, ...result }) => ({
    version: machine.version,
    cpu: machine.cpu,
    kernel: result.kernel,
    layout: result.layout,
    rows: result.rows,
    cols: result.cols,
    batch: result.tokens,
    threads: result.threads,
    time_ms: seconds.median * 1e3,
    min_ms: seconds.min * 1e3,
    max_ms: seconds.max * 1e3,
    gops: result.operations / seconds.median / 1e9,
    gbs: result.bytes / seconds.median / 1e9,
    throughput_tokens_per_sec: result.tokens / seconds.median,
    percent_of_limit: result.limit?.percent,
    bound: result.limit?.bound,
  }));
}

function formatMarkdown({ machine, results, limits, cached }: KernelReport & { machine: Machine }): string {
  const header = ["kernel", "layout", "rows x columns", "batch", "threads", "time", "GOP/s", "GB/s", "of the limit"];
  const rows = results.map(({ kernel, layout, rows, cols, tokens, threads, seconds, bytes, operations, limit }) => [
    kernel,
    layout,
    `${rows} x ${cols}`,
    String(tokens),
    String(threads),
    formatTime(seconds.median),
    giga(operations / seconds.median),
    giga(bytes / seconds.median),
    formatShare(limit),
  ]);
  return `${formatMachine(machine)}\n\n${toMarkdown([header, ...rows], new Set([3, 4, 5, 6, 7, 8]))}\n${listKernelRemarks({ results, limits, cached }).join("\n")}\n`;
}

export function listKernelRemarks({ limits, cached }: KernelReport): string[] {
  return [
    "Every kernel was compared with scalar before it was timed; times are medians.",
    cached
      ? "The same weights were multiplied again and again: they come from the caches where they fit."
      : "Copies of the weights took turns, so that they come from memory as in a model.",
    ...limits.map(describeLimits),
  ];
}

export function formatTime(seconds: number): string {
  return seconds < 1e-3 ? `${(seconds * 1e6).toFixed(1)} µs` : `${(seconds * 1e3).toPrecision(4)} ms`;
}
