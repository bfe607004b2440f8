// Results as the Markdown table of lm-evaluation-harness.

import type { EvaluationResults, TaskResults } from "./results.js";

const headers = ["Tasks", "Version", "Filter", "n-shot", "Metric", "", "Value", "", "Stderr"] as const;
/** Columns of numbers, aligned to the right. */
const numeric = new Set([1, 3, 6, 8]);

/** One table of all tasks, and one of groups if there are any. Tasks of a group are below it, indented. */
export function formatResults(results: EvaluationResults): string {
  const tables = [formatTable("Tasks", results, results.results)];
  if (results.groups !== undefined) {
    tables.push(formatTable("Groups", results, results.groups));
  }
  return tables.join("\n");
}

function formatTable(title: string, all: EvaluationResults, shown: Record<string, TaskResults>): string {
  const rows = listNames(all, shown).flatMap(({ name, depth }) => rowsOf(all, name, depth));
  const names = [title, ...headers.slice(1)];
  const widths = names.map((header, column) =>
    Math.max(header.length, 3, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) => `|${cells.join("|")}|\n`;
  const pad = (cell: string, column: number) =>
    numeric.has(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0);
  const rule = widths.map((width, column) => (numeric.has(column) ? `${"-".repeat(width - 1)}:` : "-".repeat(width)));
  return [names.map(pad), rule, ...rows.map((row) => row.map(pad))].map(line).join("");
}

/** Groups with what belongs to them below, then all others. */
function listNames({ group_subtasks }: EvaluationResults, shown: Record<string, TaskResults>) {
  const members = new Set(Object.values(group_subtasks).flat());
  const listed: { name: string; depth: number }[] = [];
  const visit = (name: string, depth: number) => {
    if (name in shown) {
      listed.push({ name, depth });
    }
    for (const member of [...(group_subtasks[name] ?? [])].sort()) {
      visit(member, depth + 1);
    }
  };
  for (const name of Object.keys(group_subtasks).sort()) {
    if (!members.has(name)) {
      visit(name, 0);
    }
  }
  const others = Object.keys(shown).filter((name) => !listed.some((row) => row.name === name));
  return [...listed, ...others.sort().map((name) => ({ name, depth: 0 }))];
}

/** A line for each metric and filter; the name stands on the first. */
function rowsOf(all: EvaluationResults, name: string, depth: number): string[][] {
  const results = all.results[name] ?? {};
  const indent = depth === 0 ? "" : `${" ".repeat(depth)}- `;
  const metrics = Object.keys(results)
    .filter((key) => key.includes(",") && !key.includes("_stderr,"))
    .sort();
  return metrics.map((key, place) => {
    const [metric = "", filter = ""] = key.split(",");
    const error = results[`${metric}_stderr,${filter}`];
    return [
      place === 0 ? indent + String(results.alias) : "",
      place === 0 ? String(all.versions[name] ?? "N/A") : "",
      filter,
      String(all["n-shot"][name] ?? ""),
      metric,
      arrowOf(all.higher_is_better[name]?.[metric]),
      formatNumber(results[key]),
      "±",
      typeof error === "number" ? error.toFixed(4) : "N/A",
    ];
  });
}

function arrowOf(isHigherBetter: boolean | undefined): string {
  return isHigherBetter === undefined ? "" : isHigherBetter ? "↑" : "↓";
}

function formatNumber(value: unknown): string {
  return Number(value).toFixed(4);
}
