// Figures of servers under load as tables that fit a terminal: one per server, length of prompt and kind of load, one row
// per load.

import type { ChalkInstance } from "chalk";
import {
  countErrors,
  formatMemory,
  formatMs,
  listCells,
  listErrors,
  listServeRemarks,
  type MachineServeReport,
  modelOf,
} from "../bench/serve-report.js";
import type { ServeResult } from "../bench/serve-result.js";
import { formatMachine } from "../native/machine.js";
import { wrapText } from "./help.js";
import { oneLine } from "./terminal/format.js";
import { type Column, formatTable } from "./terminal/table.js";

const widest = 120;

export function formatServeTable(report: MachineServeReport, columns: number, colors: ChalkInstance): string {
  const width = Math.min(columns, widest);
  const wrap = (text: string) => wrapText(oneLine(text), width);
  const groups = new Map<string, ServeResult[]>();
  for (const result of report.results) {
    const kind = result.isOverload ? "overload" : result.load.kind === "open" ? "random arrivals" : "streams";
    const title = `${result.server}: ${modelOf(report, result)}, prompts of ${result.prompt} tokens, ${kind}`;
    groups.set(title, [...(groups.get(title) ?? []), result]);
  }
  const tables = [...groups].map(([title, results]) => {
    const head = wrap(title).split("\n");
    const remarks = results.flatMap((result) => listErrors(result).map((text) => wrap(`${loadOf(result)}: ${text}`)));
    const lines = formatTable({ ...tableOf(results), width, headerStyle: (line) => colors.dim(line) });
    return [...head.map((line) => colors.bold(line)), ...lines, ...remarks].join("\n");
  });
  const parts = [wrap(formatMachine(report.machine)), ...tables, listServeRemarks(report).map(wrap).join("\n")];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

/** The number of streams or requests per second. */
function loadOf({ load }: ServeResult): string {
  return String(load.kind === "closed" ? load.streams : Number(load.rate.toPrecision(3)));
}

function tableOf(results: readonly ServeResult[]): { columns: Column[]; rows: string[][] } {
  const [first] = results;
  if (first?.isOverload) {
    return { columns: overloadColumns, rows: results.map(toOverloadRow) };
  }
  const header = first?.load.kind === "open" ? "req/s" : "streams";
  const rows = results.map((result) => {
    const [all = "", each = "", ...others] = listCells(result);
    const good = others.pop() ?? "";
    return [loadOf(result), all, good, ...others, each, String(countErrors(result)), formatMemory(result)];
  });
  return { columns: [{ header, numeric: true }, ...figureColumns], rows };
}

// Where the width does not suffice, the last optional column goes first.
const figureColumns: Column[] = [
  { header: "tok/s", numeric: true },
  { header: "good", numeric: true },
  { header: "TTFT p50", numeric: true },
  { header: "p95", numeric: true, optional: true },
  { header: "p99", numeric: true },
  { header: "ITL p50", numeric: true },
  { header: "p95", numeric: true, optional: true },
  { header: "p99", numeric: true },
  { header: "tok/s each", numeric: true, optional: true },
  { header: "errors", numeric: true, optional: true },
  { header: "RSS", numeric: true, optional: true },
];

const overloadColumns: Column[] = [
  { header: "req/s", numeric: true },
  { header: "sent", numeric: true },
  { header: "answered", numeric: true },
  { header: "refused", numeric: true },
  { header: "hung", numeric: true },
  { header: "refusal p99", numeric: true },
  { header: "TTFT p99", numeric: true, optional: true },
  { header: "answer p99", numeric: true, optional: true },
  { header: "other", numeric: true, optional: true },
  { header: "RSS", numeric: true, optional: true },
];

function toOverloadRow(result: ServeResult): string[] {
  const { requests, outcomes, refusalTime, timeToFirstToken, requestTime } = result;
  const answered = outcomes.ok ?? 0;
  const hung = outcomes.hung ?? 0;
  const refused = (outcomes["429"] ?? 0) + (outcomes["503"] ?? 0);
  return [
    loadOf(result),
    ...[requests, answered, refused, hung].map(String),
    ...[refusalTime, timeToFirstToken, requestTime].map((times) => formatMs(times?.p99)),
    String(requests - answered - refused - hung),
    formatMemory(result),
  ];
}
