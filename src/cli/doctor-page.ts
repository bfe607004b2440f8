// The page of `bitnet doctor`.

import type { ChalkInstance } from "chalk";
import type { Advice, Status } from "../doctor/check.js";
import { type CheckId, checks, type Diagnosis } from "../doctor/diagnose.js";
import { countOf } from "../system/counts.js";
import { type Row, rowsOf } from "./doctor-rows.js";
import { oneLine, wrapWords } from "./terminal/format.js";
import { displayWidth, padToWidth, shorten } from "./terminal/width.js";

const labelWidth = 13;
const indent = "  ";

/** `width`: columns of the terminal; undefined: lines of any length. */
export function formatPage(diagnosis: Diagnosis, width: number | undefined, colors: ChalkInstance): string {
  const room = width ?? Number.POSITIVE_INFINITY;
  const sections = (Object.keys(checks) as CheckId[]).flatMap((id) => formatSection(id, diagnosis, room, colors));
  return `${[...sections, ...formatVerdict(diagnosis, room, colors)].join("\n")}\n`;
}

function formatSection(id: CheckId, diagnosis: Diagnosis, room: number, colors: ChalkInstance): string[] {
  const { status, advice } = diagnosis.checks[id];
  const rows = rowsOf(id, diagnosis).flatMap((row) => formatRow(row, room, colors));
  const notes = advice.flatMap((one) => formatAdvice(one, room, colors));
  if (rows.length === 0 && notes.length === 0) {
    return [];
  }
  const mark = status === "ok" || status === "note" ? "" : `: ${colorOf(status, colors)(status)}`;
  return [colors.bold(checks[id].title) + mark, ...rows, ...notes, ""];
}

function formatRow([label, text]: Row, room: number, colors: ChalkInstance): string[] {
  const lines = wrap(text, room - indent.length - labelWidth);
  const first = colors.dim(padToWidth(label, labelWidth));
  return lines.map((line, i) => `${indent}${i === 0 ? first : " ".repeat(labelWidth)}${line}`);
}

function formatAdvice({ status, what, next }: Advice, room: number, colors: ChalkInstance): string[] {
  const label = `${status}: `;
  const lines = wrap(next === undefined ? what : `${what}; ${next}`, room - indent.length - label.length);
  return lines.map(
    (line, i) => `${indent}${i === 0 ? colorOf(status, colors)(label) : " ".repeat(label.length)}${line}`,
  );
}

function formatVerdict(diagnosis: Diagnosis, room: number, colors: ChalkInstance): string[] {
  const { problems, warnings, notes } = diagnosis;
  const found = [...problems, ...warnings];
  if (found.length === 0) {
    const more = notes.length === 0 ? "" : ` (${countOf(notes.length, "note")} above)`;
    return [`${colors.green("all right")}${diagnosis.quick ? ", as far as --quick looks" : ""}${more}`];
  }
  const count = [
    ...(problems.length > 0 ? [countOf(problems.length, "problem")] : []),
    ...(warnings.length > 0 ? [countOf(warnings.length, "warning")] : []),
  ];
  const lines = found.flatMap(({ status, what, next }, i) => {
    const label = `${i + 1}. `;
    const text = wrap(next === undefined ? what : `${what}; ${next}`, room - label.length);
    return text.map((line, row) => (row === 0 ? colorOf(status, colors)(label) : " ".repeat(label.length)) + line);
  });
  return [colors.bold(count.join(", ")), ...lines];
}

function colorOf(status: Status, colors: ChalkInstance): (text: string) => string {
  return status === "problem" ? colors.red : status === "warning" ? colors.yellow : colors.cyan;
}

/** Lines of so many columns; a word that is longer, as a path may be, loses its middle. */
function wrap(text: string, room: number): string[] {
  return Number.isFinite(room)
    ? wrapWords(oneLine(text), room).map((line) => (displayWidth(line) > room ? shorten(line, room) : line))
    : [oneLine(text)];
}
