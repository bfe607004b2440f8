// A file of options, in JSON or YAML: an object of plain values, which can tell in which line each stands.

import { readFileSync, statSync } from "node:fs";
import type { Document, LineCounter } from "yaml";
import { reasonOf } from "../system/errors.js";
import { UsageError } from "./command.js";

type Scalar = string | number | boolean;
export type Json = Scalar | null | readonly Json[] | { readonly [key: string]: Json };

export interface SettingsText {
  readonly path: string;
  readonly values: { readonly [key: string]: Json };
  /** "serve.yaml:12": where the key stands to which these keys lead, from the outside in; the path alone if nobody can tell. */
  placeOf(keys: readonly string[]): Promise<string>;
}

const largestFile = 2 ** 16; // bytes; a list of options has a few hundred
const hint = "docs/command-line.md shows what stands in such a file";

/** Throws UsageError. */
export async function readSettingsFile(path: string): Promise<SettingsText> {
  const text = readText(path).replace(/^\ufeff/, "");
  const { format, values } = isYaml(path, text)
    ? { format: "YAML", values: await parseYaml(path, text) }
    : { format: "JSON", values: parseJson(path, text) };
  if (!isObject(values)) {
    throw new UsageError(`${path}: expected a ${format} object`, hint);
  }
  return { path, values, placeOf: (keys) => findPlace(path, text, keys) };
}

export function isObject(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function readText(path: string): string {
  const what = "name a JSON or YAML file with options";
  try {
    const { size } = statSync(path);
    if (size <= largestFile) {
      return readFileSync(path, "utf8");
    }
  } catch (error) {
    throw new UsageError(`${path}: ${reasonOf(error)}`, what);
  }
  throw new UsageError(`${path}: larger than ${largestFile} bytes`, what);
}

/** By its name, or where that says nothing, by its first character. */
function isYaml(path: string, text: string): boolean {
  return /\.ya?ml$/i.test(path) || !(/\.json$/i.test(path) || /^\s*\{/.test(text));
}

function parseJson(path: string, text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (error) {
    const { message } = error as Error;
    const at = /at position (\d+)/.exec(message)?.[1];
    const line = at === undefined ? "" : `:${text.slice(0, Number(at)).split("\n").length}`;
    throw new UsageError(`${path}${line}: no valid JSON: ${message}`, hint);
  }
}

async function parseYaml(path: string, text: string): Promise<Json> {
  const { document, lines, isAlias } = await readDocument(path, text);
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    const { line } = lines.linePos(problem.pos[0]);
    const [what = ""] = problem.message.split(/ at line \d+| in "/);
    throw new UsageError(`${path}:${line}: no valid YAML: ${what}`, hint);
  }
  try {
    // Files that refer to themselves can stand for more than any memory holds.
    return document.toJS({ maxAliasCount: 0 }) as Json;
  } catch (error) {
    const what = isAlias(error) ? "expected values, not references to others (*name)" : "nested too deeply";
    throw new UsageError(`${path}: ${what}`, hint);
  }
}

interface ReadDocument {
  document: Document;
  lines: LineCounter;
  isAlias(error: unknown): boolean;
}

async function readDocument(path: string, text: string): Promise<ReadDocument> {
  const { LineCounter, parseDocument } = await import("yaml"); // takes a while: only where there is such a file
  const lines = new LineCounter();
  try {
    const document = parseDocument(text, { lineCounter: lines, schema: "core", prettyErrors: false });
    return { document, lines, isAlias: (error) => error instanceof ReferenceError };
  } catch (error) {
    throw new UsageError(`${path}: ${error instanceof RangeError ? "nested too deeply" : reasonOf(error)}`, hint);
  }
}

/** JSON is YAML, too, whose reader knows the lines. */
async function findPlace(path: string, text: string, keys: readonly string[]): Promise<string> {
  const { isMap, isScalar } = await import("yaml");
  const { document, lines } = await readDocument(path, text);
  let place = path;
  let node: unknown = document.contents;
  for (const key of keys) {
    const pairs = isMap(node) ? node.items : [];
    const pair = pairs.find((each) => isScalar(each.key) && String(each.key.value) === key);
    const start = isScalar(pair?.key) ? pair.key.range?.[0] : undefined;
    if (pair === undefined || start === undefined) {
      break;
    }
    place = `${path}:${lines.linePos(start).line}`;
    node = pair.value;
  }
  return place;
}
