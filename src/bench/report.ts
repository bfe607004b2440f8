// A report of `bitnet bench` as text for files and programs: a Markdown table, CSV, JSON, one JSON object per line, or SQL.

import { basename } from "node:path";
import { formatMachine, type Machine } from "../native/machine.js";
import { at } from "../system/at.js";
import { countOf } from "../system/counts.js";
import { stringifyJson } from "../system/write-json.js";
import type { Comparison } from "./compare.js";
import type { BenchReport, BenchResult } from "./end-to-end.js";
import type { Limits } from "./limits.js";
import { medianOf, summarize } from "./stats.js";

export const formats = ["md", "csv", "json", "jsonl", "sql"] as const;
export type Format = (typeof formats)[number];

export interface MachineReport extends BenchReport {
  machine: Machine;
  /** With --compare or --baseline. */
  comparisons?: Comparison[];
}

export function formatReport(report: MachineReport, format: Format): string {
  switch (format) {
    case "json":
      return `${stringifyJson({ ...report, results: report.results.map((result) => flatten(report, result)) }, 2)}\n`;
    case "jsonl":
      return report.results.map((result) => `${stringifyJson(describe(report, result))}\n`).join("");
    case "csv":
      return toCsv(listRows(report));
    case "sql":
      return toSql("llama_bench", listRows(report), sqlTypes);
    case "md":
      return formatMarkdown(report);
  }
}

export function limitsOf({ limits }: BenchReport, { kernel, threads }: BenchResult): Limits | undefined {
  return limits.find((entry) => entry.kernel === kernel && entry.threads === threads);
}

/** What llama-bench says of a test, under its names; what it has no name for is not among them. */
function likeLlamaBench({ machine }: MachineReport, result: BenchResult) {
  const { model, cacheType, seconds, tokensPerSecond: speed } = result;
  const ns = seconds.map((time) => Math.round(time * 1e9));
  const { mean, deviation } = summarize(ns);
  const type = cacheType === "q8" ? "q8_0" : cacheType;
  return {
    build_commit: `bitnet ${machine.version}`,
    cpu_info: machine.cpu,
    backends: "CPU",
    model_filename: model.path,
    model_type: `${model.architecture} ${model.weightType}`,
    model_size: model.bytes,
    model_n_params: model.parameters,
    n_threads: result.threads,
    type_k: type,
    type_v: type,
    n_gpu_layers: 0,
    n_prompt: result.prompt,
    n_gen: result.generate,
    n_depth: result.depth,
    test_time: result.startedAt,
    avg_ns: Math.round(mean),
    stddev_ns: Math.round(deviation),
    avg_ts: speed.mean,
    stddev_ts: speed.deviation,
    samples_ns: ns,
    samples_ts: speed.samples,
  };
}

function flatten(report: MachineReport, result: BenchResult) {
  return { ...likeLlamaBench(report, result), ...result };
}

function describe(report: MachineReport, result: BenchResult) {
  const { energy, machine } = report;
  const around = { comparisons: comparisonsOf(report, result), limits: limitsOf(report, result), energy, machine };
  return { ...flatten(report, result), ...around };
}

function comparisonsOf({ comparisons }: MachineReport, result: BenchResult): Comparison[] | undefined {
  return comparisons?.filter(
    ({ model, kernel, threads, test }) =>
      model === result.model.path && kernel === result.kernel && threads === result.threads && test === result.test,
  );
}

type Cell = string | number | null | undefined;

/** Flat rows, all of the same columns: llama-bench's, then what is told here beside them. */
function listRows(report: MachineReport): Record<string, Cell>[] {
  const { machine } = report;
  return report.results.map((result) => {
    const { samples_ns: _, samples_ts: __, ...common } = likeLlamaBench(report, result);
    const { model, tokensPerSecond: speed } = result;
    const limits = limitsOf(report, result);
    const compared = comparisonsOf(report, result) ?? [];
    return {
      ...common,
      version: machine.version,
      cpu: machine.cpu,
      cores: machine.cores,
      os: machine.os,
      model: model.path,
      architecture: model.architecture,
      weight_type: model.weightType,
      embedding_type: model.embeddingType,
      model_bytes: model.bytes,
      parameters: model.parameters,
      kernel: result.kernel,
      threads: result.threads,
      cache_type: result.cacheType,
      test: result.test,
      repetitions: result.seconds.length,
      median_ts: speed.median,
      min_ts: speed.min,
      max_ts: speed.max,
      bytes: result.bytes,
      operations: result.operations,
      read_bandwidth: limits?.readBandwidth,
      int8_peak: limits?.int8Peak,
      percent_of_limit: result.limit?.percent,
      bound: result.limit?.bound,
      joules_per_token: result.joulesPerToken,
      tuning: result.tuning === null ? "" : JSON.stringify(result.tuning),
      started_at: result.startedAt,
      compared_with: compared.map(({ earlier }) => earlier.model).join(";"),
      ratio: compared.map(({ ratio }) => ratio).join(";"),
    };
  });
}

/** The columns that hold texts and whole numbers; all others hold any numbers. */
export interface SqlTypes {
  text: readonly string[];
  integer: readonly string[];
}

const sqlTypes: SqlTypes = {
  text: [
    "build_commit",
    "cpu_info",
    "backends",
    "model_filename",
    "model_type",
    "type_k",
    "type_v",
    "test_time",
    "version",
    "cpu",
    "os",
    "model",
    "architecture",
    "weight_type",
    "embedding_type",
    "kernel",
    "cache_type",
    "test",
    "bound",
    "tuning",
    "started_at",
    "compared_with",
    "ratio",
  ],
  integer: [
    "model_size",
    "model_n_params",
    "n_threads",
    "n_gpu_layers",
    "n_prompt",
    "n_gen",
    "n_depth",
    "avg_ns",
    "stddev_ns",
    "cores",
    "model_bytes",
    "parameters",
    "threads",
    "repetitions",
    "bytes",
    "operations",
  ],
};

/** A table that is made if it is not there, and the rows; undefined and null are NULL. */
export function toSql(table: string, rows: readonly Record<string, Cell>[], types: SqlTypes): string {
  const columns = Object.keys(rows[0] ?? {});
  const typeOf = (column: string) =>
    types.text.includes(column) ? "TEXT" : types.integer.includes(column) ? "INTEGER" : "REAL";
  const toValue = (value: Cell) =>
    typeof value === "number" && Number.isFinite(value)
      ? String(value)
      : value === undefined || value === null
        ? "NULL"
        : `'${String(value).replaceAll("'", "''")}'`;
  const definition = columns.map((column) => `  ${column} ${typeOf(column)}`).join(",\n");
  const inserts = rows.map(
    (row) => `INSERT INTO ${table} (${columns.join(", ")}) VALUES (${Object.values(row).map(toValue).join(", ")});\n`,
  );
  return `CREATE TABLE IF NOT EXISTS ${table} (\n${definition}\n);\n\n${inserts.join("")}`;
}

/** Rows of the same keys; undefined and null are empty. */
export function toCsv(rows: readonly Record<string, Cell>[]): string {
  const toCell = (value: Cell) => {
    const text = String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = rows.map((row) => Object.values(row).map(toCell).join(","));
  return [Object.keys(rows[0] ?? {}).join(","), ...lines].map((line) => `${line}\n`).join("");
}

function formatMarkdown(report: MachineReport): string {
  const withEnergy = report.results.some(({ joulesPerToken }) => joulesPerToken !== null);
  const header = [
    "model",
    "size",
    "params",
    "kernel",
    "threads",
    "test",
    "t/s",
    "median [min-max]",
    "rate",
    "of the limit",
  ];
  const rows = report.results.map((result) => {
    const { model, tokensPerSecond: speed } = result;
    const cells = [
      labelModel(result),
      formatBinary(model.bytes),
      formatCount(model.parameters),
      result.kernel,
      String(result.threads),
      result.test,
      `${formatSpeed(speed.mean)} ± ${formatSpeed(speed.deviation)}`,
      `${formatSpeed(speed.median)} [${formatSpeed(speed.min)}-${formatSpeed(speed.max)}]`,
      formatRate(result),
      formatShare(result.limit),
    ];
    return withEnergy ? [...cells, result.joulesPerToken?.toPrecision(3) ?? ""] : cells;
  });
  const numeric = new Set([1, 2, 4, 6, 7, 8, 9, 10]);
  const table = toMarkdown([withEnergy ? [...header, "J/token"] : header, ...rows], numeric);
  const comparison = report.comparisons === undefined ? "" : `${formatComparisons(report.comparisons)}\n`;
  return `${formatMachine(report.machine)}\n\n${table}\n${comparison}${listRemarks(report).join("\n")}\n`;
}

function formatComparisons(comparisons: readonly Comparison[]): string {
  if (comparisons.length === 0) {
    return "Nothing to compare: no test with the same number of threads is in both runs.\n";
  }
  const header = ["compared with", "model", "threads", "test", "then t/s", "now t/s", "ratio [lowest-highest]"];
  const rows = comparisons.map(({ model, threads, test, median, earlier, ratio, low, high }) => [
    earlier.description,
    basename(model),
    String(threads),
    test,
    formatSpeed(medianOf(earlier.samples)),
    formatSpeed(median),
    `${ratio.toFixed(2)} [${low.toFixed(2)}-${high.toFixed(2)}]`,
  ]);
  return toMarkdown([header, ...rows], new Set([2, 4, 5, 6]));
}

export function listRemarks({ limits, energy, results }: MachineReport): string[] {
  const remarks = limits.map(describeLimits);
  if (results.some(({ limit }) => (limit?.percent ?? 0) > 105)) {
    remarks.push(
      "More than 100 %: the weights come from the caches, or the machine was busy while its limits were measured.",
    );
  }
  for (const file of new Set(results.map(({ tuning }) => tuning?.file))) {
    if (file !== undefined) {
      remarks.push(`Tuned with ${file} (BITNET_TUNING=none measures without).`);
    }
  }
  remarks.push("source" in energy ? `Energy: ${energy.source}.` : `Energy: not available: ${energy.unavailable}.`);
  return remarks;
}

export function describeLimits(limits: Limits): string {
  const { kernel, threads } = limits;
  return `Limits measured with ${countOf(threads, "thread")}: ${formatLimits(limits)} (${kernel}).`;
}

export function formatLimits({ readBandwidth, int8Peak }: Omit<Limits, "kernel" | "threads">): string {
  return `${giga(readBandwidth)} GB/s read, ${giga(int8Peak)} GOP/s int8`;
}

export function labelModel({ model, cacheType }: BenchResult): string {
  const { architecture, weightType, embeddingType, layout, fastHead } = model;
  const asked = [
    layout === undefined ? "" : `, layout ${layout}`,
    fastHead ? "" : ", full head",
    cacheType === "f16" ? "" : `, ${cacheType} cache`,
  ];
  return `${architecture} ${weightType}, ${embeddingType} embedding${asked.join("")}`;
}

/** GB/s or GOP/s of the median repetition, whichever the pass is bound by. */
function formatRate({ bytes, operations, prompt, generate, tokensPerSecond, limit }: BenchResult): string {
  const seconds = (prompt + generate) / tokensPerSecond.median;
  const isCompute = limit === undefined ? prompt > 0 && operations > 0 : limit.bound === "compute";
  return isCompute ? `${giga(operations / seconds)} GOP/s` : `${giga(bytes / seconds)} GB/s`;
}

export function formatShare(limit: BenchResult["limit"]): string {
  return limit === undefined ? "" : `${limit.percent.toFixed(0)} % (${limit.bound})`;
}

export function giga(value: number): string {
  const billions = value / 1e9;
  return billions >= 100 ? billions.toFixed(0) : billions.toFixed(1);
}

export function formatSpeed(tokensPerSecond: number): string {
  return tokensPerSecond >= 1000 ? tokensPerSecond.toFixed(0) : tokensPerSecond.toFixed(2);
}

/** "1.10 GiB", as llama-bench. */
export function formatBinary(bytes: number): string {
  return bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(2)} GiB` : `${(bytes / 2 ** 20).toFixed(2)} MiB`;
}

export function formatCount(parameters: number): string {
  return parameters >= 1e9 ? `${(parameters / 1e9).toFixed(2)} B` : `${(parameters / 1e6).toFixed(2)} M`;
}

/** Rows of cells, the first one the header; `numeric` columns are aligned to the right. */
export function toMarkdown(rows: readonly string[][], numeric: ReadonlySet<number>): string {
  const widths = at(rows, 0).map((_, column) => Math.max(3, ...rows.map((row) => at(row, column).length)));
  const pad = (text: string, column: number) =>
    numeric.has(column) ? text.padStart(at(widths, column)) : text.padEnd(at(widths, column));
  const line = (cells: string[]) => `| ${cells.join(" | ")} |\n`;
  const [header = [], ...body] = rows.map((row) => row.map(pad));
  const rule = widths.map((width, column) => (numeric.has(column) ? `${"-".repeat(width - 1)}:` : "-".repeat(width)));
  return [header, rule, ...body].map(line).join("");
}
