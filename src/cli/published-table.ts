// Published figures beside one's own.

import type { PublishedComparison, PublishedModel } from "../eval/published.js";
import { colorsOf, columnsOf } from "./terminal/output.js";
import { type Column, formatTable } from "./terminal/table.js";

/** In per cent, each with its setting; a line says so where no task of the run was published. */
export function formatPublished({ repo, source }: PublishedModel, rows: readonly PublishedComparison[]): string {
  const { bold, dim } = colorsOf(process.stdout);
  if (rows.length === 0) {
    return `Nothing is known to be published of ${repo} on these tasks.\n`;
  }
  const columns: Column[] = [
    { header: "TASK", whole: true },
    { header: "METRIC" },
    { header: "HERE", numeric: true },
    { header: "STDERR", numeric: true },
    { header: "PUBLISHED", numeric: true },
    { header: "DIFFERENCE", numeric: true },
    { header: "SETTING HERE", optional: true },
    { header: "SETTING PUBLISHED", style: dim, optional: true },
  ];
  const cells = rows.map((row) => [
    row.task,
    row.metric.replace(/,none$/, ""),
    row.value.toFixed(2),
    row.error?.toFixed(2) ?? "",
    row.published.toFixed(2),
    (row.difference > 0 ? "+" : "") + row.difference.toFixed(2),
    row.setting,
    row.publishedSetting,
  ]);
  const title = bold(`Published of ${repo} (${source}), in per cent`);
  const lines = formatTable({ columns, rows: cells, width: columnsOf(process.stdout), headerStyle: bold });
  return `${[title, ...lines].join("\n")}\n`;
}
