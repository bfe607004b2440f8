// What a task asks of a model: its documents, their shots, and every request, before anything is computed.

import type { ChatFormat } from "../chat/format.js";
import type { Tokenizer } from "../engine/tokenizer.js";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import { locateError } from "./data/origin.js";
import type { DataSplit, Doc } from "./data/types.js";
import { askByLlamaRules, checkLlamaRules } from "./llama-rules.js";
import { delimiterOf, type PromptOptions, writeContexts } from "./prompt.js";
import { keyOf, type RequestEncoder, type WritingOptions } from "./requests.js";
import type { Asked, Sample } from "./samples.js";
import { ShotSampler } from "./shots.js";
import { defaultMaxTokens, type Task } from "./task.js";

/** Loads a split of the data of a task. */
export type SplitLoader = (task: Task, split: string) => Promise<DataSplit>;

export interface PlanOptions extends PromptOptions {
  /** How many shots, where the task leaves it open. */
  shots?: number;
  /** The first so many documents, or below 1 their share. */
  limit?: number;
  /** Places of documents, instead of `limit`. */
  samples?: readonly number[];
  seed: number;
  /** How texts are written, instead of what the task says. */
  writing: Partial<WritingOptions>;
  format?: ChatFormat;
  /** Whose rules of choices; with llama.cpp's, what tokenizes. */
  llamaRules?: { tokenizer: Tokenizer; maxLength: number };
}

export interface PlannedDoc {
  id: number;
  doc: Doc;
  target: Sample["target"];
  asked: readonly Asked[];
  /** Keys of the requests. */
  keys: readonly string[];
}

export interface TaskPlan {
  task: Task;
  shots: number;
  documents: PlannedDoc[];
  /** How many there are in the split. */
  original: number;
  revision?: string;
  path: string;
}

export async function planTask(
  task: Task,
  load: SplitLoader,
  encoder: RequestEncoder,
  options: PlanOptions,
): Promise<TaskPlan> {
  const split = await load(task, task.split);
  const documents = prepareAll(task, split);
  if (documents.length === 0) {
    throw new BitnetError("BAD_FILE", `${split.path} has no rows of ${task.name}`, {
      hint: task.part === undefined ? undefined : `they have ${task.part.value} in the column ${task.part.column}`,
    });
  }
  const shots = task.shotCount === 0 || task.kind === "rolling" ? 0 : (options.shots ?? task.shotCount ?? 0);
  if (options.llamaRules !== undefined) {
    checkLlamaRules(task, shots, options.format !== undefined);
  }
  const sampler = new ShotSampler(await loadPool(task, load, shots), task.shots, shots, options.seed);
  const places = choosePlaces(task, documents.length, options);
  const planned = places.map((id) => {
    const doc = at(documents, id);
    const drawn = sampler.draw(doc);
    return readRow(at(split.documents, id), () => planDoc(task, id, doc, drawn, encoder, options));
  });
  return { task, shots, documents: planned, original: documents.length, revision: split.revision, path: split.path };
}

async function loadPool(task: Task, load: SplitLoader, shots: number): Promise<readonly Doc[]> {
  const { from } = task.shots;
  if (shots === 0 || typeof from !== "string") {
    return typeof from === "string" ? [] : from;
  }
  return prepareAll(task, await load(task, from));
}

/** What `read` makes of a row; what is wrong with the row is told with its place in its file. */
function readRow<T>(raw: Doc, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw locateError(raw, error);
  }
}

function prepareAll(task: Task, { documents }: DataSplit): Doc[] {
  return documents.map((raw) => readRow(raw, () => task.prepare?.(raw) ?? raw));
}

function choosePlaces({ name }: Task, count: number, { limit, samples }: PlanOptions): number[] {
  if (samples !== undefined) {
    const wrong = samples.find((place) => place >= count);
    if (wrong !== undefined) {
      throw new BitnetError("USAGE", `${name}: there is no document ${wrong}, the last of ${count} is ${count - 1}`);
    }
    return [...new Set(samples)].sort((a, b) => a - b);
  }
  const most = limit === undefined ? count : limit < 1 ? Math.ceil(count * limit) : limit;
  return Array.from({ length: Math.min(most, count) }, (_, place) => place);
}

function planDoc(
  task: Task,
  id: number,
  doc: Doc,
  shots: readonly Doc[],
  encoder: RequestEncoder,
  options: PlanOptions,
): PlannedDoc {
  const asked = askModel(task, doc, shots, encoder, options);
  return { id, doc, target: targetOf(task, doc), asked, keys: asked.map(({ request }) => keyOf(request)) };
}

function askModel(task: Task, doc: Doc, shots: readonly Doc[], encoder: RequestEncoder, options: PlanOptions): Asked[] {
  const { llamaRules } = options;
  if (llamaRules !== undefined && (task.kind === "choices" || task.kind === "sentences")) {
    return askByLlamaRules(task, doc, llamaRules.tokenizer, llamaRules.maxLength);
  }
  if (task.kind === "rolling") {
    const text = task.text(doc);
    return [{ request: encoder.rolling(text), arguments: [text] }];
  }
  const contexts = writeContexts(task, doc, shots, options);
  const [context = ""] = contexts;
  const delimiter = delimiterOf(task, options);
  const score = (before: string, after: string): Asked => ({
    request: encoder.score(before, after),
    arguments: [before, after],
  });
  switch (task.kind) {
    case "choices":
      return task.choices(doc).map((choice) => score(context, delimiter + choice));
    case "sentences":
      return contexts.map((before) => score(before, delimiter + task.rest(doc)));
    case "continuation":
      return [score(context, task.target(doc))];
    case "generation":
      return [askForText(task.stops, task.maxTokens, context, encoder, options)];
  }
}

/** lm-eval's names, as samples tell them. */
function askForText(
  stops: readonly string[],
  maxTokens = defaultMaxTokens,
  context: string,
  encoder: RequestEncoder,
  { writing }: PlanOptions,
): Asked {
  const settings: WritingOptions = { stop: stops, maxTokens, temperature: 0, ...writing };
  const { stop, maxTokens: most, temperature } = settings;
  return {
    request: encoder.write(context, settings),
    arguments: [context, { until: stop, do_sample: temperature > 0, temperature, max_gen_toks: most }],
  };
}

function targetOf(task: Task, doc: Doc): Sample["target"] {
  switch (task.kind) {
    case "choices":
      return task.target?.(doc) ?? task.gold(doc);
    case "sentences":
      return task.rest(doc);
    case "rolling":
      return task.text(doc);
    default:
      return task.target(doc);
  }
}
