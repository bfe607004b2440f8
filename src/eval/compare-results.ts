// Two files of results side by side, and whether what differs is more than chance.
//
// Where both have the samples of a task, the same documents are compared with one another: McNemar's exact test where every
// value is right or wrong, else a paired t-test. Without samples the difference is told against both standard errors.

import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BitnetError } from "../system/errors.js";
import { readJsonFile } from "../system/json.js";
import { readFileLines } from "../system/line-file.js";
import { mcNemar, normalTest, type PairedTest, pairedT } from "./paired-tests.js";

export interface Comparison {
  task: string;
  metric: string;
  filter: string;
  a: number;
  b: number;
  difference: number;
  /** How likely so large a difference is where there is none; absent where nothing can be told. */
  p?: number;
  /** How that was found. */
  test?: PairedTest["name"];
  /** Documents that both have. */
  documents?: number;
  /** Right in one only, where values are right or wrong. */
  onlyA?: number;
  onlyB?: number;
  /** What makes the two hard to compare. */
  caveats: string[];
}

interface ResultsFile {
  path: string;
  results: Record<string, Record<string, unknown>>;
  shots: Record<string, number>;
  versions: Record<string, unknown>;
  rules: string | undefined;
  samples: (task: string) => Promise<SampleLine[] | undefined>;
}

type SampleLine = Readonly<Record<string, unknown>>;

const maxResultsBytes = 2 ** 28;

/** All metrics that both files have. */
export async function compareResults(pathA: string, pathB: string): Promise<Comparison[]> {
  const [a, b] = [await readResults(pathA), await readResults(pathB)];
  const comparisons: Comparison[] = [];
  for (const task of Object.keys(a.results).filter((name) => name in b.results)) {
    const [samplesA, samplesB] = [await a.samples(task), await b.samples(task)];
    for (const [key, value] of Object.entries(a.results[task] ?? {})) {
      const other = b.results[task]?.[key];
      if (key.includes(",") && !key.includes("_stderr,") && typeof value === "number" && typeof other === "number") {
        const [metric = "", filter = ""] = key.split(",");
        const base = { task, metric, filter, a: value, b: other, difference: other - value };
        const tested = testPairs(metric, filter, samplesA, samplesB) ?? testErrors(a, b, task, metric, filter);
        comparisons.push({ ...base, ...tested, caveats: listCaveats(a, b, task) });
      }
    }
  }
  if (comparisons.length === 0) {
    throw new BitnetError("USAGE", `${pathA} and ${pathB} have no task and metric in common`);
  }
  return comparisons;
}

async function readResults(path: string): Promise<ResultsFile> {
  const value = Object(await readJsonFile(path, maxResultsBytes)) as Record<string, unknown>;
  if (typeof value.results !== "object" || value.results === null) {
    throw new BitnetError("BAD_FILE", `${path}: expected the results of tasks, as bitnet eval tasks writes them`, {
      hint: "the file is called results_<time>.json",
    });
  }
  return {
    path,
    results: value.results as ResultsFile["results"],
    shots: Object(value["n-shot"]) as ResultsFile["shots"],
    versions: Object(value.versions) as ResultsFile["versions"],
    rules: (Object(value.bitnet) as { rules?: string }).rules,
    samples: (task) => readSamples(path, task),
  };
}

/** The file of samples that was written beside the results. */
async function readSamples(path: string, task: string): Promise<SampleLine[] | undefined> {
  const time = /^results_(.*)\.json$/.exec(basename(path))?.[1];
  const name = `samples_${task}_${time}.jsonl`;
  const names = time === undefined ? [] : await readdir(dirname(path));
  if (!names.includes(name)) {
    return undefined;
  }
  return await readSampleLines(join(dirname(path), name));
}

const maxLineBytes = 2 ** 26;

/** Of each line what is compared: those of long prompts are larger together than a text can be. */
async function readSampleLines(path: string): Promise<SampleLine[]> {
  const samples: SampleLine[] = [];
  for await (const { bytes, number, isTooLong } of readFileLines(path, maxLineBytes)) {
    if (bytes.length > 0) {
      const sample = isTooLong ? undefined : parseObject(bytes.toString());
      if (sample === undefined) {
        throw new BitnetError("BAD_FILE", `${path}, line ${number}: expected a JSON object`);
      }
      const isKept = ([key, value]: [string, unknown]) =>
        key === "filter" || key === "doc_hash" || typeof value === "number";
      samples.push(Object.fromEntries(Object.entries(sample).filter(isKept)));
    }
  }
  return samples;
}

function parseObject(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

type Tested = Pick<Comparison, "p" | "test" | "documents" | "onlyA" | "onlyB">;

/** On the documents that are the same in both. */
function testPairs(
  metric: string,
  filter: string,
  samplesA: readonly SampleLine[] | undefined,
  samplesB: readonly SampleLine[] | undefined,
): Tested | undefined {
  if (samplesA === undefined || samplesB === undefined) {
    return undefined;
  }
  const others = valuesByDocument(samplesB, metric, filter);
  const pairs = [...valuesByDocument(samplesA, metric, filter)].flatMap(([doc, a]) => {
    const b = others.get(doc);
    return b === undefined ? [] : [[a, b] as const];
  });
  if (pairs.length === 0) {
    return undefined;
  }
  const isRightOrWrong = pairs.flat().every((value) => value === 0 || value === 1);
  const { name, p, onlyA, onlyB } = isRightOrWrong ? mcNemar(pairs) : pairedT(pairs);
  return { test: name, p, documents: pairs.length, onlyA, onlyB };
}

function valuesByDocument(samples: readonly SampleLine[], metric: string, filter: string): Map<string, number> {
  return new Map(
    samples.flatMap((sample) => {
      const value = sample[metric];
      const isOne = sample.filter === filter && typeof value === "number";
      return isOne ? [[`${sample.doc_id}\n${sample.doc_hash}`, value]] : [];
    }),
  );
}

/** As if both had been measured on other documents. */
function testErrors(a: ResultsFile, b: ResultsFile, task: string, metric: string, filter: string): Tested {
  const of = ({ results }: ResultsFile, key: string) => results[task]?.[key];
  const [errorA, errorB] = [a, b].map((file) => of(file, `${metric}_stderr,${filter}`));
  const [valueA, valueB] = [a, b].map((file) => of(file, `${metric},${filter}`));
  if (![errorA, errorB, valueA, valueB].every((value) => typeof value === "number")) {
    return {};
  }
  const { name, p } = normalTest(Number(valueB) - Number(valueA), Number(errorA), Number(errorB));
  return { test: name, p };
}

function listCaveats(a: ResultsFile, b: ResultsFile, task: string): string[] {
  const differ = (what: string, first: unknown, second: unknown) =>
    first === second ? [] : [`${what}: ${String(first ?? notTold)} and ${String(second ?? notTold)}`];
  return [
    ...differ("shots", a.shots[task], b.shots[task]),
    ...differ("versions", versionOf(a, task), versionOf(b, task)),
    ...differ("rules", a.rules ?? "lm-eval", b.rules ?? "lm-eval"),
    ...differ("documents", a.results[task]?.sample_len, b.results[task]?.sample_len),
  ];
}

const notTold = "not told";

/** Numbers of one file may be texts of another. */
function versionOf({ versions }: ResultsFile, task: string): string | undefined {
  const version = versions[task];
  return version === undefined ? undefined : String(version);
}
