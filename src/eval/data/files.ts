// Which local files hold a split: one file, or a folder with a file for each split, called as people and the hub call them.

import { readdir, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { BitnetError, toBitnetError } from "../../system/errors.js";
import { readCsv } from "./csv.js";
import { readJsonFile, readJsonLines } from "./json-rows.js";
import { Budget } from "./limits.js";
import { readParquet } from "./parquet.js";
import type { Doc } from "./types.js";

type ReadRows = (path: string, budget: Budget, signal?: AbortSignal) => AsyncGenerator<Doc, void, undefined>;

/** What can be read, by the end of the name. */
const formats: ReadonlyMap<string, ReadRows> = new Map<string, ReadRows>([
  [".jsonl", readJsonLines],
  [".json", readJsonFile],
  [".csv", readCsv],
  [".parquet", readParquet],
]);

const splitNames = ["train", "validation", "dev", "test"] as const;

/** Names that a file of the split may have as well, when none has its own. */
const otherNames: Readonly<Record<string, readonly string[]>> = { validation: ["valid", "val", "dev"] };

/**
 * The files of a split, in the order of their rows. A path of a file is that file, whatever split is asked for: it is the
 * one that a task is evaluated on.
 */
export async function findLocalFiles(path: string, split: string): Promise<string[]> {
  const names = await listFolder(path);
  if (names === undefined) {
    readerOf(path);
    return [path];
  }
  const found = await findInFolder(path, names, split);
  if (found.length === 0) {
    throw new BitnetError("NOT_FOUND", `${path} has no file of the split "${split}"`, {
      hint: `expected ${[...formats.keys()].map((end) => `${split}${end}`).join(", ")}`,
    });
  }
  return found;
}

/** Which of train, validation, dev and test a folder has; undefined for a file, which is the one to evaluate on. */
export async function listLocalSplits(path: string): Promise<string[] | undefined> {
  const names = await listFolder(path);
  if (names === undefined) {
    return undefined;
  }
  const found: string[] = [];
  for (const split of splitNames) {
    found.push(...((await findInFolder(path, names, split)).length > 0 ? [split] : []));
  }
  return found;
}

/** The rows of files, one file after the other. */
export async function readRows(paths: readonly string[], signal?: AbortSignal): Promise<Doc[]> {
  const budget = new Budget();
  const rows: Doc[] = [];
  for (const path of paths) {
    for await (const row of readerOf(path)(path, budget, signal)) {
      rows.push(row);
    }
  }
  return rows;
}

function readerOf(path: string): ReadRows {
  const read = formats.get(extname(path).toLowerCase());
  if (read === undefined) {
    throw new BitnetError("UNSUPPORTED", `${path} is not a data set that can be read, by its name`, {
      hint: `expected a file that ends in ${[...formats.keys()].join(", ")}, or a folder of such files`,
    });
  }
  return read;
}

/** undefined: it is a file. */
async function listFolder(path: string): Promise<string[] | undefined> {
  try {
    return (await stat(path)).isDirectory() ? await readdir(path) : undefined;
  } catch (error) {
    throw toBitnetError(error);
  }
}

async function findInFolder(folder: string, names: readonly string[], split: string): Promise<string[]> {
  const own = await findNamed(folder, names, split);
  for (const other of own.length > 0 ? [] : (otherNames[split] ?? [])) {
    const found = await findNamed(folder, names, other);
    if (found.length > 0) {
      return found;
    }
  }
  return own;
}

/** Files called "test", then those called "arc.test", "arc_test" or "arc-test", then those in a folder "test". */
async function findNamed(folder: string, names: readonly string[], split: string): Promise<string[]> {
  const stems = names.filter((name) => formats.has(extname(name).toLowerCase())).map(readName);
  const exact = stems.filter(({ stem }) => stem === split);
  const fits = exact.length > 0 ? exact : stems.filter(({ stem }) => new RegExp(`[._-]${split}$`).test(stem));
  if (fits.length > 0) {
    return checkParts(folder, split, fits).map((name) => join(folder, name));
  }
  const inside = names.includes(split) ? await listFolder(join(folder, split)) : undefined;
  const shards = (inside ?? []).filter((name) => /^\d{4}\.parquet$/.test(name)).sort();
  return shards.map((name) => join(folder, split, name));
}

interface FileName {
  name: string;
  /** Without its end and the number of the part. */
  stem: string;
  /** Of how many parts, each a file. */
  parts: number;
}

function readName(name: string): FileName {
  const stem = name.slice(0, -extname(name).length);
  const [part, count = "1"] = /-\d{5}-of-(\d{5})$/.exec(stem) ?? [""];
  return { name, stem: stem.slice(0, stem.length - part.length), parts: Number(count) };
}

/** The names of the parts, all of one set of files. */
function checkParts(folder: string, split: string, files: readonly FileName[]): string[] {
  const [first] = files;
  const ends = new Set(files.map(({ name, stem }) => `${stem}${extname(name)}`));
  const names = files.map(({ name }) => name).sort();
  if (ends.size > 1 || files.some(({ parts }) => parts !== first?.parts)) {
    throw new BitnetError("BAD_FILE", `${folder} has more than one file of the split "${split}": ${names.join(", ")}`, {
      hint: "name the file itself, or leave one of them there",
    });
  }
  if (files.length !== first?.parts) {
    throw new BitnetError("BAD_FILE", `${folder} has ${files.length} of ${first?.parts} parts of "${split}"`, {
      hint: "get the missing parts, too",
    });
  }
  return names;
}
