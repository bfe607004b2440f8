// How far the distributions of a model are from those of another one on the same text: Kullback-Leibler divergence and what
// goes with it, by llama.cpp's rules. The other one is a file of its distributions, or a model that runs beside.

import type { Model, Session } from "../engine/model.js";
import type { LogitBlock } from "../engine/score.js";
import type { CacheType } from "../native/addon.js";
import { BitnetError, throwIfAborted } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { BaseFile, rowsOf } from "./base-file.js";
import { type DivergenceStatistics, DivergenceSums, type Place } from "./divergence-sums.js";
import { type EvaluationSetting, settingOf } from "./perplexity.js";
import { type Normalizer, normalizerOf } from "./softmax.js";
import { encodeText, planWindows, type TextPlan, type Window } from "./windows.js";

interface CommonOptions {
  cacheType?: CacheType;
  /** How many places with the largest divergence are told. Default: 0. */
  top?: number;
  onStart?: (start: { chunks: number; scoredPerChunk: number }) => void;
  /** Called after each window. */
  onProgress?: (progress: { done: number; total: number; statistics: DivergenceStatistics }) => void;
  signal?: AbortSignal;
}

export interface DivergenceOptions extends CommonOptions {
  /** Windows at most. Default: all. */
  chunks?: number;
}

/** Another model that runs beside. */
export interface BaseModel {
  model: Model;
  text: string;
  /** Tokens of a window. Default: 512. */
  contextSize?: number;
  cacheType?: CacheType;
  parseSpecial?: boolean;
}

const divergenceOptions: OptionNames<DivergenceOptions> = {
  cacheType: true,
  chunks: true,
  top: true,
  onStart: true,
  onProgress: true,
  signal: true,
};

export interface DivergencePlace extends Place {
  chunk: number;
  /** Place of the target in its window. */
  place: number;
  /** The text before it, and the token itself. */
  before: string;
  target: string;
  /** What each model finds likeliest there. */
  baseLikeliest: string;
  likeliest: string;
}

export interface DivergenceResult extends Omit<EvaluationSetting, "textSha256">, DivergenceStatistics {
  /** Whether the base's own values are exact, not those that its file rounds. */
  isBaseExact: boolean;
  /** Scored tokens that lie on the floor of the file: their values for the base are too good. */
  floored: number;
  top: DivergencePlace[];
  seconds: number;
}

/**
 * `base`: the path of a file of distributions that `evaluatePerplexity` or llama.cpp has written, or another model.
 * Throws USAGE where the vocabularies differ.
 */
export async function evaluateDivergence(
  model: Model,
  base: string | BaseModel,
  options: DivergenceOptions = {},
): Promise<DivergenceResult> {
  checkOptionNames("evaluateDivergence", options, divergenceOptions);
  throwIfAborted(options.signal);
  if (typeof base === "string") {
    const file = await BaseFile.open(base);
    try {
      return await new Divergence(model, readPlan(model, file, options), options).run(new FileSource(file));
    } finally {
      await file.close();
    }
  }
  checkVocabulary(model, base.model);
  const { contextSize = 512, cacheType, parseSpecial } = base;
  const ids = await encodeText(base.model, base.text, { parseSpecial });
  const plan = planWindows(model, ids, { contextSize, chunks: options.chunks });
  await using session = base.model.createSession({ contextSize, cacheType, sharePrompts: false });
  return await new Divergence(model, plan, options).run(new ModelSource(session, options.signal));
}

function checkVocabulary({ tokenizer }: Model, other: Model): void {
  const [size, otherSize] = [tokenizer.info.vocabSize, other.tokenizer.info.vocabSize];
  const differing = size === otherSize ? firstDifference(tokenizer, other.tokenizer, size) : 0;
  if (differing !== undefined) {
    const how = size === otherSize ? `token ${differing} is another one` : `${size} tokens and ${otherSize}`;
    throw new BitnetError("USAGE", `the models have different vocabularies: ${how}`, {
      hint: "distributions can be compared where every token means the same: two files of one model",
    });
  }
}

function firstDifference(a: Model["tokenizer"], b: Model["tokenizer"], size: number): number | undefined {
  for (let id = 0; id < size; id++) {
    if (a.token(id) !== b.token(id)) {
      return id;
    }
  }
  return undefined;
}

/** The windows that a file is about. */
function readPlan(model: Model, file: BaseFile, { chunks = file.shape.chunks }: DivergenceOptions): TextPlan {
  const { contextSize, vocabSize } = file.shape;
  const own = model.tokenizer.info.vocabSize;
  if (vocabSize !== own) {
    throw new BitnetError("USAGE", `${file.path} is about a vocabulary of ${vocabSize} tokens, the model has ${own}`);
  }
  const count = Math.min(chunks < 1 ? file.shape.chunks : chunks, file.shape.chunks);
  const ids = file.ids.subarray(0, count * contextSize);
  const text = ids.length < 2 * contextSize ? twice(ids) : ids; // a file may hold a single window
  const plan = planWindows(model, text, { contextSize, chunks: count });
  return { ...plan, ids };
}

function twice(ids: Int32Array): Int32Array {
  const out = new Int32Array(2 * ids.length);
  out.set(ids);
  out.set(ids, ids.length);
  return out;
}

/** What the base says of one place. */
interface BaseDistribution {
  /** -log p of the target. */
  nll: number;
  /** The target lies on the floor of a file. */
  isFloored: boolean;
  likeliest: number;
  /** sum of b (log b - log q) over the tokens with log b > -16. */
  divergence(logits: Float32Array, normalizer: Normalizer): number;
}

/** Gives the distributions of a base, window after window, in blocks as the model's own. */
interface BaseSource {
  readonly isExact: boolean;
  begin(window: Window, index: number): void;
  /** Of `rows` places from `first` on. */
  block(first: number, rows: number): Promise<(row: number, target: number) => Promise<BaseDistribution>>;
  end(): Promise<void>;
}

/** Less likely tokens take no part, as in llama.cpp, whose files do not tell them apart. */
const leastLogprob = -16;

class FileSource implements BaseSource {
  readonly #file: BaseFile;
  #begin = 0;
  #from = 0;

  constructor(file: BaseFile) {
    this.#file = file;
  }

  get isExact(): boolean {
    return this.#file.nll !== undefined;
  }

  begin({ from }: Window, index: number): void {
    this.#begin = index * rowsOf(this.#file.shape);
    this.#from = from;
  }

  async block(first: number): Promise<(row: number, target: number) => Promise<BaseDistribution>> {
    return (row, target) => this.#read(this.#begin + first - this.#from + row, target);
  }

  async #read(index: number, target: number): Promise<BaseDistribution> {
    const { scale, floor, codes } = await this.#file.row(index);
    const code = codes[target] ?? 0;
    let likeliest = 0;
    for (let i = 1; i < codes.length; i++) {
      if ((codes[i] as number) > (codes[likeliest] as number)) {
        likeliest = i;
      }
    }
    return {
      nll: this.#file.nll?.[index] ?? -(scale * code + floor),
      isFloored: code === 0 && scale > 0,
      likeliest,
      divergence: (logits, { most, logSum }) => {
        let sum = 0;
        for (let i = 0; i < codes.length; i++) {
          const logprob = scale * (codes[i] as number) + floor;
          if (logprob > leastLogprob) {
            sum += Math.exp(logprob) * (logprob - ((logits[i] as number) - most - logSum));
          }
        }
        return sum;
      },
    };
  }

  async end(): Promise<void> {}
}

class ModelSource implements BaseSource {
  readonly isExact = true;
  readonly #session: Session;
  readonly #signal: AbortSignal | undefined;
  #blocks: AsyncGenerator<LogitBlock, unknown, undefined> | undefined;

  constructor(session: Session, signal: AbortSignal | undefined) {
    this.#session = session;
    this.#signal = signal;
  }

  begin({ ids, from }: Window): void {
    this.#blocks = this.#session.distributionBlocks(ids, { from, signal: this.#signal });
  }

  async block(first: number): Promise<(row: number, target: number) => Promise<BaseDistribution>> {
    const next = await this.#blocks?.next();
    if (next === undefined || next.done || next.value.first !== first) {
      throw new BitnetError("INTERNAL", `the base has no block at place ${first}`);
    }
    const { width, logits } = next.value;
    return async (row, target) => distributionOf(logits.subarray(row * width, (row + 1) * width), target);
  }

  async end(): Promise<void> {
    await this.#blocks?.return(undefined);
    this.#blocks = undefined;
  }
}

function distributionOf(own: Float32Array, target: number): BaseDistribution {
  const { most, logSum, likeliest } = normalizerOf(own);
  return {
    nll: -((own[target] ?? Number.NaN) - most - logSum),
    isFloored: false,
    likeliest,
    divergence: (logits, of) => {
      let sum = 0;
      for (let i = 0; i < own.length; i++) {
        const logprob = (own[i] as number) - most - logSum;
        if (logprob > leastLogprob) {
          sum += Math.exp(logprob) * (logprob - ((logits[i] as number) - of.most - of.logSum));
        }
      }
      return sum;
    },
  };
}

interface TopPlace extends Place {
  chunk: number;
  place: number;
  /** What each finds likeliest there. */
  baseLikeliest: number;
  likeliest: number;
}

class Divergence {
  readonly #model: Model;
  readonly #plan: TextPlan;
  readonly #options: DivergenceOptions;
  readonly #sums = new DivergenceSums();
  #top: TopPlace[] = [];
  #floored = 0;

  constructor(model: Model, plan: TextPlan, options: DivergenceOptions) {
    this.#model = model;
    this.#plan = plan;
    this.#options = options;
  }

  async run(base: BaseSource): Promise<DivergenceResult> {
    const { cacheType = "f16", onStart, onProgress } = this.#options;
    const { windows, scored, windowSize } = this.#plan;
    onStart?.({ chunks: windows.length, scoredPerChunk: scored });
    await using session = this.#model.createSession({ contextSize: windowSize, cacheType, sharePrompts: false });
    const started = performance.now();
    for (const [index, window] of windows.entries()) {
      await this.#compareWindow(session, base, window, index);
      onProgress?.({
        done: index + 1,
        total: windows.length,
        statistics: this.#sums.statistics({ percentiles: false }),
      });
    }
    const setting = { contextSize: windowSize, stride: 0, cacheType, plan: this.#plan };
    const { textSha256: _, ...known } = settingOf(this.#model, undefined, setting);
    return {
      ...known,
      ...this.#sums.statistics(),
      isBaseExact: base.isExact,
      floored: this.#floored,
      top: this.#top.map((entry) => this.#describe(entry)),
      seconds: (performance.now() - started) / 1000,
    };
  }

  async #compareWindow(session: Session, base: BaseSource, window: Window, chunk: number): Promise<void> {
    const { ids, text, from } = window;
    base.begin(window, chunk);
    try {
      await session.distributions(ids, { from, signal: this.#options.signal }, async (block) => {
        const read = await base.block(block.first, block.rows);
        for (let i = 0; i < block.rows; i++) {
          const place = block.first + i;
          const logits = block.logits.subarray(i * block.width, (i + 1) * block.width);
          this.#addPlace(await read(i, text[place] ?? -1), logits, { chunk, place, target: text[place] ?? -1 });
        }
      });
    } finally {
      await base.end();
    }
  }

  #addPlace(
    base: BaseDistribution,
    logits: Float32Array,
    { chunk, place, target }: { chunk: number; place: number; target: number },
  ): void {
    const normalizer = normalizerOf(logits);
    const { most, logSum, likeliest } = normalizer;
    const entry: Place = {
      divergence: base.divergence(logits, normalizer),
      nll: -((logits[target] ?? Number.NaN) - most - logSum),
      baseNll: base.nll,
      isSameTop: likeliest === base.likeliest,
    };
    this.#floored += base.isFloored ? 1 : 0;
    this.#sums.add(entry);
    const { top = 0 } = this.#options;
    const least = this.#top[top - 1]?.divergence ?? Number.NEGATIVE_INFINITY;
    if (top > 0 && entry.divergence > least) {
      this.#top.push({ ...entry, chunk, place, baseLikeliest: base.likeliest, likeliest });
      this.#top.sort((a, b) => b.divergence - a.divergence);
      this.#top = this.#top.slice(0, top);
    }
  }

  #describe(place: TopPlace): DivergencePlace {
    const { tokenizer } = this.#model;
    const text = this.#plan.windows[place.chunk]?.text ?? new Int32Array();
    const name = (id: number) => tokenizer.piece(id, { special: true });
    return {
      ...place,
      before: tokenizer.decode(text.subarray(Math.max(0, place.place - contextTokens), place.place), { special: true }),
      target: name(text[place.place] ?? 0),
      baseLikeliest: name(place.baseLikeliest),
      likeliest: name(place.likeliest),
    };
  }
}

/** Tokens before a place that are shown with it. */
const contextTokens = 12;
