// The report about a running server as lines for people.

import type { ServerReport } from "./server-report.js";
import { oneLine } from "./terminal/format.js";
import { colorsOf, columnsOf } from "./terminal/output.js";
import { formatTable } from "./terminal/table.js";

const fixed =
  (digits: number, unit = "") =>
  (value: number) =>
    `${value.toFixed(digits)}${unit}`;
const percent = (value: number) => `${(100 * value).toFixed(1)} %`;

/** What is shown of the counts. */
const rows: readonly { title: string; key: string; format: (value: number) => string }[] = [
  { title: "requests", key: "total_requests", format: fixed(0) },
  { title: "failed", key: "failed_requests", format: fixed(0) },
  { title: "running and waiting", key: "active_requests", format: fixed(0) },
  { title: "tokens written", key: "total_tokens_generated", format: fixed(0) },
  { title: "tokens/s of an answer", key: "average_tokens_per_second", format: fixed(1) },
  { title: "time of a request", key: "average_response_time", format: fixed(2, " s") },
  { title: "answers in the cache", key: "cache_size", format: fixed(0) },
  { title: "memory", key: "memory_usage_mb", format: fixed(0, " MB") },
  { title: "keys and values", key: "kv_held_mb", format: fixed(0, " MB") },
  { title: "up", key: "uptime_seconds", format: (value) => `${(value / 3600).toFixed(1)} h` },
  { title: "success", key: "success_rate", format: percent },
];

export function formatReport({ stats, alerts }: ServerReport): string {
  const { bold, red, yellow, dim } = colorsOf(process.stdout);
  const lines = formatTable({
    columns: [{ firm: true }, { numeric: true }],
    rows: rows.flatMap(({ title, key, format }) => {
      const value = stats[key];
      return typeof value === "number" ? [[title, format(value)]] : [];
    }),
    width: columnsOf(),
  });
  const told = alerts.map(({ severity, message, begin, end }) => {
    const color = severity === "critical" ? red : yellow;
    const when = end === null ? `since ${begin}` : `${begin} to ${end}`;
    return `${end === null ? color(severity) : dim("over")}  ${oneLine(message)}  ${dim(when)}`;
  });
  return [...lines, "", bold(told.length === 0 ? "no alerts" : "alerts"), ...told, ""].join("\n");
}
