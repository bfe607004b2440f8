// The model's file: whether it is one, whether it is whole, whether its weights can be those of a model, and whether it
// is the file that was published.

import { open, realpath } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { loadModel, type Model } from "../engine/model.js";
import { type Gguf, openGguf, type TensorStatistics } from "../gguf/gguf.js";
import { bundledModel } from "../models/bundled.js";
import { weightTypeOf } from "../models/check.js";
import { readLocalDownload, readProvenance } from "../models/provenance.js";
import { BitnetError, throwIfAborted } from "../system/errors.js";
import { requireFile } from "../system/files.js";
import { hashFiles } from "../system/hash-files.js";
import { type Advice, adviceOf, type Context, type Finding, findingOf } from "./check.js";
import { readGolden } from "./golden.js";

export interface ModelFacts {
  path: string;
  bytes: number;
  name: string | null;
  architecture: string;
  weightType: string;
  parameters: number;
  layers: number | null;
  contextLength: number | null;
  /** Where it came from, as far as that is written down: "microsoft/BitNet-b1.58-2B-4T-gguf". */
  source: string | null;
  hash: HashFacts;
  /** undefined: not read. */
  weights: WeightFacts | null;
  /** How likely the model finds plain English. null: not computed. */
  english: EnglishFacts | null;
  /** Why it does not load; null: it does, or was not tried. */
  loadProblem: Advice | null;
}

export interface HashFacts {
  /** "unknown": nobody has written down which one it should be. "unread": it is known, and was not compared. */
  result: "same" | "other" | "unknown" | "unread";
  expectedSha256: string | null;
  /** Who says so. */
  from: string | null;
}

export interface WeightFacts {
  tensors: number;
  /** Shares of the ternary weights. */
  minus: number;
  zero: number;
  plus: number;
  badRows: number;
  constantRows: number;
  /** Tensors whose bytes mean nothing here. */
  unread: number;
  /** Names of tensors that are not like those of a model, and why; the first ones. */
  unlikely: { tensor: string; why: string }[];
}

export interface EnglishFacts {
  /** Mean negative logarithm of the probability of a token. */
  nats: number;
  /** What guessing gives. */
  chanceNats: number;
}

export async function checkModel(context: Context): Promise<Finding<ModelFacts>> {
  const { native, model, modelProblem, signal } = context;
  if (modelProblem !== undefined) {
    return findingOf<ModelFacts>(null, [adviceOf(modelProblem)]);
  }
  if (native instanceof Error) {
    return findingOf<ModelFacts>(null, await adviseWithout(model));
  }
  try {
    const gguf = openGguf(model);
    gguf.checkModel();
    const facts = await describe(gguf, context);
    return findingOf(facts, adviseModel(facts));
  } catch (error) {
    throwIfAborted(signal);
    return findingOf<ModelFacts>(null, [adviceOf(await explain(error, model))]);
  }
}

/** Without the native part only the first bytes are looked at. */
async function adviseWithout(path: string): Promise<Advice[]> {
  try {
    return (await readBeginning(path, 4)) === "GGUF"
      ? []
      : [{ status: "problem", what: `${path} does not begin as a GGUF file does`, next: "bitnet list shows models" }];
  } catch (error) {
    return [adviceOf(error)];
  }
}

async function readBeginning(path: string, length: number): Promise<string> {
  await requireFile(path);
  await using file = await open(path);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
  return buffer.toString("latin1", 0, bytesRead);
}

/** What foreign files are taken for models. */
const foreign: readonly [beginning: RegExp, what: string, hint: string][] = [
  [/^ggml|^lmgg|^tjgg|^fmgg/, "an old GGML file", "get the model as GGUF"],
  [/^PK/, "a zip file, perhaps weights of PyTorch", "bitnet convert DIR makes a GGUF file of a checkpoint"],
  [/^[\s\S]{8}\{/, "a safetensors file", "bitnet convert DIR makes a GGUF file of a checkpoint"],
  [/^<(!DOC|html|\?xml)/i, "a web page: the download got that in the place of the file", "download it again"],
  [/^version https:\/\/git-lfs/, "a pointer of Git LFS, not the file itself", "git lfs pull, or bitnet pull"],
  [/^\{/, "a JSON file", "bitnet convert DIR makes a GGUF file of a checkpoint"],
];

async function explain(error: unknown, path: string): Promise<unknown> {
  try {
    const text = await readBeginning(path, 64);
    const found = foreign.find(([beginning]) => beginning.test(text));
    return text.startsWith("GGUF") || found === undefined
      ? withHint(error)
      : new BitnetError("BAD_FILE", `${path} is ${found[1]}`, { hint: found[2], cause: error });
  } catch {
    return error;
  }
}

function withHint(error: unknown): unknown {
  return error instanceof BitnetError && error.code === "BAD_FILE" && error.hint === undefined
    ? new BitnetError("BAD_FILE", error.message, {
        hint: "it is damaged or was not downloaded to its end: bitnet rm it and get it again",
        cause: error,
      })
    : error;
}

async function describe(gguf: Gguf, context: Context): Promise<ModelFacts> {
  const { quick, signal, onStep } = context;
  const metadata = gguf.metadata();
  const architecture = String(metadata["general.architecture"] ?? "");
  const number = (key: string) => {
    const value = metadata[`${architecture}.${key}`];
    return typeof value === "number" ? value : null;
  };
  const provenance = await readProvenance(gguf.path);
  const expected = await findExpectedHash(gguf, provenance);
  return {
    path: gguf.path,
    bytes: gguf.fileSize,
    name: typeof metadata["general.name"] === "string" ? metadata["general.name"] : null,
    architecture,
    weightType: weightTypeOf(gguf),
    parameters: gguf.tensors().reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0),
    layers: number("block_count"),
    contextLength: number("context_length"),
    source: provenance?.repository ?? (gguf.path === bundledModel.path ? "this package" : null),
    hash: await compareHash(gguf, expected, context),
    weights: quick ? null : await examine(gguf, signal, onStep),
    ...(quick ? { english: null, loadProblem: null } : await tryEnglish(gguf.path, context)),
  };
}

type Computed = Pick<ModelFacts, "english" | "loadProblem">;

async function tryEnglish(path: string, context: Context): Promise<Computed> {
  try {
    return { english: await scoreEnglish(path, context), loadProblem: null };
  } catch (error) {
    throwIfAborted(context.signal);
    return { english: null, loadProblem: adviceOf(withHint(error)) };
  }
}

interface ExpectedHash {
  sha256: string;
  from: string;
}

type Provenance = Awaited<ReturnType<typeof readProvenance>>;

/** As the hub said it at the download, by whoever did that; of the bundled model, as the package says it. */
async function findExpectedHash(gguf: Gguf, provenance: Provenance): Promise<ExpectedHash | undefined> {
  const { path, paths } = gguf;
  if (paths.length > 1) {
    return undefined;
  }
  if (path === bundledModel.path) {
    const golden = await readGolden().catch(() => undefined); // that it is missing is told by the check of correctness
    return golden && { sha256: golden.sha256, from: "this package" };
  }
  const [only, ...others] = provenance?.made === "published" ? provenance.source.files : [];
  const known = /^sha256:([0-9a-f]{64})$/.exec(only?.hash ?? "")?.[1];
  if (known !== undefined && others.length === 0) {
    return { sha256: known, from: provenance?.source.repository ?? "the hub" };
  }
  const local = (await readLocalDownload(path))?.sha256;
  if (local !== undefined) {
    return { sha256: local, from: "the hub, as hf download noted it" };
  }
  const blob = await realpath(path).catch(() => path); // the cache of the hub calls large files by their hash
  const isBlob = /^[0-9a-f]{64}$/.test(basename(blob)) && basename(dirname(blob)) === "blobs";
  return isBlob ? { sha256: basename(blob), from: "the hub, whose cache it lies in" } : undefined;
}

const smallFile = 2 ** 25; // bytes; is read also where no time is to be taken

async function compareHash(
  gguf: Gguf,
  expected: ExpectedHash | undefined,
  { quick, signal, onStep }: Context,
): Promise<HashFacts> {
  const known = { expectedSha256: expected?.sha256 ?? null, from: expected?.from ?? null };
  if (expected === undefined) {
    return { result: "unknown", ...known };
  }
  if (quick && gguf.fileSize > smallFile) {
    return { result: "unread", ...known };
  }
  onStep("Comparing the file's SHA-256");
  const found = await hashFiles([gguf.path], signal);
  return { result: found === expected.sha256 ? "same" : "other", ...known };
}

async function examine(gguf: Gguf, signal: AbortSignal | undefined, onStep: Context["onStep"]): Promise<WeightFacts> {
  onStep("Reading the weights");
  const sums = { minus: 0, zero: 0, plus: 0, badRows: 0, constantRows: 0, unread: 0 };
  const unlikely: WeightFacts["unlikely"] = [];
  const tensors = gguf.tensors();
  for (const [index, { name, shape }] of tensors.entries()) {
    throwIfAborted(signal);
    const found = await gguf.examineTensor(index);
    sums.unread += found.readable ? 0 : 1;
    sums.badRows += found.badRows;
    sums.constantRows += found.ternary && (shape[0] ?? 0) >= leastColumns ? found.constantRows : 0;
    if (found.ternary) {
      sums.minus += found.minus;
      sums.zero += found.zero;
      sums.plus += found.plus;
    }
    const rows = shape.slice(1).reduce((product, n) => product * n, 1);
    const why = whyUnlikely(found, rows, shape[0] ?? 0);
    if (why !== undefined && unlikely.length < mostNamed) {
      unlikely.push({ tensor: name, why });
    }
  }
  const all = Math.max(1, sums.minus + sums.zero + sums.plus);
  const shares = { minus: sums.minus / all, zero: sums.zero / all, plus: sums.plus / all };
  return { tensors: tensors.length, ...sums, ...shares, unlikely };
}

const mostNamed = 5;
const leastColumns = 64; // fewer are equal by chance
const leastWeights = 4096; // fewer say nothing of shares

/** Bounds that no trained or random ternary model comes near; what breaks them is damage or a file of something else. */
export function whyUnlikely(found: TensorStatistics, rows: number, cols: number): string | undefined {
  if (!found.readable) {
    return undefined;
  }
  if (found.badRows > 0) {
    return `${found.badRows} of ${rows} rows ${found.badRows === 1 ? "holds" : "hold"} values that no weight has`;
  }
  if (!found.ternary) {
    return whyUnlikelyFloats(found, rows);
  }
  const { minus, zero, plus, constantRows, leastScale, mostScale } = found;
  const all = minus + zero + plus;
  if (constantRows > 0 && cols >= leastColumns) {
    return `${constantRows} of ${rows} rows ${constantRows === 1 ? "is" : "are"} -1 or +1 throughout, as where a file was never written`;
  }
  if (all >= leastWeights && Math.abs(minus - plus) > 0.2 * all) {
    return `${percent(minus / all)} of the weights are -1 and ${percent(plus / all)} are +1`;
  }
  if (all >= leastWeights && (zero < 0.02 * all || zero > 0.98 * all)) {
    return `${percent(zero / all)} of the weights are 0`;
  }
  return mostScale > 1e3 || (mostScale > 0 && leastScale > 0 && mostScale > 1e5 * leastScale)
    ? `its scales go from ${leastScale.toPrecision(2)} to ${mostScale.toPrecision(2)}`
    : undefined;
}

function whyUnlikelyFloats({ rms, constantRows }: Extract<TensorStatistics, { ternary: false }>, rows: number) {
  if (rms === 0) {
    return "all of it is 0";
  }
  if (rms > 1e4) {
    return `its values are of the size ${rms.toPrecision(2)}`;
  }
  // Rows of tokens that never occur in training may be zero.
  return rows > 1 && constantRows > 0.5 * rows ? `${constantRows} of ${rows} rows are 0` : undefined;
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}

const english = "Once upon a time there was a little girl. She liked to play with her dog in the park.";

/** null for a model that predicts nothing. */
async function scoreEnglish(path: string, { threads, signal, onStep }: Context): Promise<EnglishFacts | null> {
  onStep("Loading the model");
  await using model: Model = await loadModel(path, { ...(threads !== undefined && { threads }), signal });
  if (model.info.embedsOnly) {
    return null;
  }
  await using session = model.createSession({ contextSize: Math.min(256, model.info.contextLength) });
  const { logprobs } = await session.score(english, { signal });
  const nats = -logprobs.reduce((sum, value) => sum + value, 0) / logprobs.length;
  return { nats, chanceNats: Math.log(model.info.vocabSize) };
}

function adviseModel({ hash, weights, english: found, path, loadProblem }: ModelFacts): Advice[] {
  const advice: Advice[] = loadProblem === null ? [] : [loadProblem];
  const again = "get it again: bitnet rm, then bitnet pull";
  if (hash.result === "other") {
    const what = `${path} is damaged or was changed: its SHA-256 is not the one that ${hash.from} has`;
    advice.push({ status: "problem", what, next: again });
  }
  if (loadProblem === null && weights !== null && weights.badRows + weights.constantRows > 0) {
    advice.push({ status: "problem", what: describeUnlikely("damaged weights", weights), next: again });
  } else if (loadProblem === null && weights !== null && weights.unlikely.length > 0) {
    advice.push({ status: "warning", what: describeUnlikely("unlikely weights", weights), next: again });
  }
  if (found !== null && !(found.nats <= 0.9 * found.chanceNats)) {
    const what = Number.isFinite(found.nats)
      ? "the model finds plain English hardly likelier than chance: weights that are random, damaged or read wrongly"
      : "what the model computes is not finite";
    const next = `right for a model of bitnet dummy; else ${again}`;
    advice.push({ status: Number.isFinite(found.nats) ? "warning" : "problem", what, next });
  }
  const isSound = advice.length === 0;
  if (hash.result === "unknown" && isSound) {
    const what =
      "no SHA-256 of this file is written down: a weight that was changed to another possible one is not seen";
    advice.push({ status: "note", what });
  }
  return advice;
}

function describeUnlikely(what: string, { unlikely }: WeightFacts): string {
  const [first] = unlikely;
  const more = unlikely.length > 1 ? ", and others" : "";
  return `${what}: ${first?.tensor ?? ""}: ${first?.why ?? ""}${more}`;
}
