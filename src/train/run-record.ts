// What a run was begun with (run.json), so that a run that goes on is the same run.

import { BitnetError } from "../system/errors.js";
import { readJsonFile } from "../system/json.js";

/** One value, or a list of plain ones. */
export type RecordedValue = string | number | boolean | null | readonly (string | number)[];

export interface RunRecord {
  /** Of the program, and the kernels that computed: for people. They change no bit, nor do threads, which are not told. */
  version: string;
  kernel: string;
  /** Everything that the result follows from, but the data. */
  options: Readonly<Record<string, RecordedValue>>;
  /** SHA-256 of the files of the base, of the tokenizer's, and of the token ids that are trained and that evaluate. */
  hashes: Readonly<Record<string, string>>;
}

export const recordName = "run.json";

const maxRecordBytes = 2 ** 24;

/** Throws BAD_FILE. */
export async function readRecord(path: string): Promise<RunRecord> {
  const value = Object(await readJsonFile(path, maxRecordBytes)) as RunRecord;
  if (Object(value.options) !== value.options || Object(value.hashes) !== value.hashes) {
    throw new BitnetError("BAD_FILE", `${path}: not the record of a run`);
  }
  return value;
}

/** What differs between a run and the one that is to go on, a line each. */
export function listDifferences(before: RunRecord, now: RunRecord): string[] {
  const text = (value: unknown) => (value === undefined ? "nothing" : JSON.stringify(value));
  const names = (key: "options" | "hashes") => [...new Set([...Object.keys(before[key]), ...Object.keys(now[key])])];
  return [
    ...names("options")
      .filter((name) => text(before.options[name]) !== text(now.options[name]))
      .map((name) => `${name}: ${text(before.options[name])} before, ${text(now.options[name])} now`),
    ...names("hashes")
      .filter((name) => before.hashes[name] !== now.hashes[name])
      .map((name) => `${name}: not the same as before`),
  ];
}

/** Throws USAGE that lists what differs. */
export function requireSameRun(path: string, before: RunRecord, now: RunRecord): void {
  const differences = listDifferences(before, now);
  if (differences.length > 0) {
    throw new BitnetError("USAGE", `${path} is of a run with other settings: ${differences.join("; ")}`, {
      hint: "give what it was begun with, or --force to go on all the same",
    });
  }
}
