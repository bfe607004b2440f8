// bitnet eval list: the tasks that there are.

import type { Command } from "commander";
import { isSplitCached } from "../../eval/data/load.js";
import type { Task, TaskGroup } from "../../eval/task.js";
import { groups as taskGroups, tasks, tasksOf } from "../../eval/tasks/all.js";
import { readHubEnvironment } from "../../hub/environment.js";
import { addOptions, groupOf } from "../option-rows.js";
import { outputRows, withHelp } from "../options.js";
import { colorsOf, columnsOf, write, writeJson } from "../terminal/output.js";
import { type Column, formatTable } from "../terminal/table.js";

const groups = {
  output: groupOf("Output", {
    all: { flags: "--all", help: "also the tasks that belong to a group, such as the 57 subjects of mmlu" },
    json: withHelp(outputRows.json, "print a JSON array of all tasks and groups on stdout"),
  }),
};

export default function configureEvalList(command: Command): void {
  const read = addOptions(command, groups);
  command
    .addHelpText(
      "after",
      `
What stands under NAME is what bitnet eval tasks -t takes.

Examples:
  $ bitnet eval list
  $ bitnet eval list --all --json`,
    )
    .action(async () => {
      const { output } = read();
      const rows = await listRows();
      if (output.json) {
        writeJson(rows);
      } else {
        write(formatRows(rows.filter(({ group }) => output.all || group === undefined)));
      }
    });
}

interface TaskLine {
  name: string;
  kind: Task["kind"] | "group";
  documents: number;
  /** Shots that are given unless the user says otherwise. */
  shots: number;
  licence: string;
  source: string;
  /** Whether its documents are in the cache of the hub; of a group, whether those of all its tasks are. */
  cached: boolean;
  /** The group that it belongs to. */
  group?: string;
}

/** Tasks and groups; members of a group follow it. */
async function listRows(): Promise<TaskLine[]> {
  const environment = await readHubEnvironment();
  const groupOfMember = new Map(taskGroups.flatMap(({ name, members }) => members.map((member) => [member, name])));
  const cached = new Set<string>();
  for (const { name, source, split } of tasks) {
    if (await isSplitCached(environment, source, split)) {
      cached.add(name);
    }
  }
  const lines = [...tasks, ...taskGroups].map((row) => toLine(row, groupOfMember.get(row.name), cached));
  const withMembers = (line: TaskLine): TaskLine[] => [
    line,
    ...lines.filter(({ group }) => group === line.name).flatMap(withMembers),
  ];
  return lines.filter(({ group }) => group === undefined).flatMap(withMembers);
}

function toLine(row: Task | TaskGroup, group: string | undefined, cached: ReadonlySet<string>): TaskLine {
  const members = tasksOf(row.name);
  const unique = (values: string[]) => [...new Set(values)].join(", ");
  return {
    name: row.name,
    kind: "members" in row ? "group" : row.kind,
    documents: members.reduce((sum, { documents }) => sum + documents, 0),
    shots: Math.max(...members.map(({ shotCount = 0 }) => shotCount)),
    licence: unique(members.map(({ licence }) => licence)),
    source: "members" in row ? unique(members.map(({ source }) => source.id)) : nameOf(row),
    cached: members.every(({ name }) => cached.has(name)),
    group,
  };
}

function nameOf({ source: { id, config } }: Task): string {
  return config === undefined ? id : `${id} ${config}`;
}

function formatRows(lines: readonly TaskLine[]): string {
  const { bold, dim } = colorsOf(process.stdout);
  const columns: Column[] = [
    { header: "NAME", whole: true },
    { header: "KIND", optional: true },
    { header: "DOCUMENTS", numeric: true },
    { header: "SHOTS", numeric: true, optional: true },
    { header: "CACHED", optional: true },
    { header: "LICENCE", optional: true },
    { header: "DATA", style: dim, optional: true },
  ];
  const rows = lines.map(({ name, kind, documents, shots, cached, licence, source }) => [
    name,
    kind,
    String(documents),
    String(shots),
    cached ? "yes" : "",
    licence,
    source,
  ]);
  return `${formatTable({ columns, rows, width: columnsOf(process.stdout), headerStyle: bold }).join("\n")}\n`;
}
