// A request: its options, from the core's table for sampling, and the checks of everything that can be wrong with one.

import { randomInt } from "node:crypto";
import { Grammar } from "../grammar/grammar.js";
import type { JsonSchema } from "../grammar/schema.js";
import {
  loadAddon,
  type NativeGenerateRequest,
  type NativeSampling,
  type NativeSamplingParameter,
} from "../native/addon.js";
import { BitnetError, converting } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { checkTokens, type Tokenizer } from "./tokenizer.js";

export type Prompt = string | Int32Array | readonly number[];

export type SamplingParameter = NativeSamplingParameter;

/**
 * Each parameter's bounds and default are in docs/sampling.md and `listSamplingParameters()`. The default of `seed` is
 * random; the result tells which it was.
 */
export interface SamplingOptions extends Omit<NativeSampling, "logitBias"> {
  /** Added to the logits of these token ids; -Infinity forbids one. */
  logitBias?: ReadonlyMap<number, number> | Readonly<Record<number, number>>;
}

/** Options of generated tokens. */
export interface TokenOptions extends SamplingOptions {
  /** Default: -1, until the context is full. */
  maxTokens?: number;
  /** Never choose an end-of-generation token. Default: false. */
  ignoreEos?: boolean;
  /** What is generated is a text of this grammar: GBNF as llama.cpp has it, or one that is compiled. */
  grammar?: string | Grammar;
  /** The same for JSON that a schema accepts. Not beside `grammar`. */
  schema?: JsonSchema;
  /** With either of them: tokens at the end of the prompt that are the beginning of that text. Default: none. */
  begun?: readonly number[];
  /** Firing it makes the generation throw ABORTED. The session stays usable. */
  signal?: AbortSignal;
  /** Called once when its turn has come: how many tokens of the prompt are known already. */
  onStart?: (start: { reused: number }) => void;
  /**
   * Called while a prompt is evaluated that takes more than one step: how many of its tokens are known, those of the
   * cache included, and how many there are.
   */
  onPrompt?: (known: number, total: number) => void;
  /** Whether the prompt takes keys and values that are known. Results are the same. Default: true. */
  cachePrompt?: boolean;
  /** For a prompt that is text: add BOS as the model wants it. Default: true. */
  addSpecial?: boolean;
  /** For a prompt that is text: read the names of control tokens as those tokens. Default: false. */
  parseSpecial?: boolean;
}

/** Options of generated text. */
export interface GenerateOptions extends TokenOptions {
  /** Texts that end the generation; they are not part of the output. */
  stop?: readonly string[];
}

export interface ScoreOptions extends Pick<TokenOptions, "signal" | "addSpecial" | "parseSpecial"> {
  /** Place of the first token to score; the first of all follows nothing and has no score. Default: 1. */
  from?: number;
  /** How many of the likeliest tokens are told for every position, at most 20. Default: 0. */
  top?: number;
}

export type DistributionOptions = Omit<ScoreOptions, "top">;

const scoreOptions: OptionNames<ScoreOptions> = {
  from: true,
  top: true,
  signal: true,
  addSpecial: true,
  parseSpecial: true,
};

// The sampling options have their names from the core's table.
type RequestOptionNames<Options> = OptionNames<Omit<Options, SamplingParameter["name"]>>;

const tokenOptions: RequestOptionNames<TokenOptions> = {
  maxTokens: true,
  ignoreEos: true,
  grammar: true,
  schema: true,
  begun: true,
  signal: true,
  onStart: true,
  onPrompt: true,
  cachePrompt: true,
  addSpecial: true,
  parseSpecial: true,
  logitBias: true,
};
const generateOptions: RequestOptionNames<GenerateOptions> = { ...tokenOptions, stop: true };

/** A checked prompt and checked options, ready for the native side. */
export interface GenerationPlan {
  tokens: Int32Array;
  maxTokens: number;
  sampling: NativeSampling & { seed: number };
  constraint: Pick<NativeGenerateRequest, "grammar" | "startsText" | "begun">;
  stop: readonly string[];
  anew: boolean;
  signal?: AbortSignal;
  onStart?: TokenOptions["onStart"];
  onPrompt?: TokenOptions["onPrompt"];
}

export interface Range {
  min: number;
  max: number;
  integer?: boolean;
}

/** As many likeliest tokens as OpenAI's interface tells. */
const maxScoreTop = 20;

/** Counts are int32 in the core. */
export const maxCount = 2 ** 31 - 1;

let parameters: readonly SamplingParameter[] | undefined;

/** Everything that sampling can be told, besides `logitBias`: name, kind, bounds, default, a line of help. */
export function listSamplingParameters(): readonly SamplingParameter[] {
  parameters ??= loadAddon().samplingParameters();
  return parameters;
}

/** USAGE for what is wrong with these options whatever the prompt and the model. */
export function checkTokenOptions(subject: string, options: TokenOptions): void {
  checkRequest(subject, options, tokenOptions);
}

/** The same for options of text. */
export function checkGenerateOptions(subject: string, options: GenerateOptions): void {
  checkRequest(subject, options, generateOptions);
  const { stop } = options;
  const isList = stop === undefined || Array.isArray(stop);
  if (!isList || stop?.some((text) => typeof text !== "string" || text === "")) {
    throw new BitnetError("USAGE", "stop: expected texts that are not empty");
  }
}

function checkRequest(subject: string, options: TokenOptions, names: Readonly<Record<string, true>>): void {
  const sampling = Object.fromEntries(listSamplingParameters().map(({ name }) => [name, true as const]));
  checkOptionNames(subject, options, { ...names, ...sampling });
  if (options.maxTokens !== undefined) {
    checkNumber("maxTokens", options.maxTokens, { min: -1, max: maxCount, integer: true });
  }
  checkSampling(options);
  readGrammar(options);
}

/** The grammar that options ask for. Throws USAGE. */
export function readGrammar({ grammar, schema }: Pick<TokenOptions, "grammar" | "schema">): Grammar | undefined {
  if (grammar !== undefined && schema !== undefined) {
    throw new BitnetError("USAGE", "grammar, schema: expected one of them, not both");
  }
  if (schema !== undefined) {
    return Grammar.fromJsonSchema(schema);
  }
  return typeof grammar === "string" ? Grammar.fromGbnf(grammar) : grammar;
}

/** The same with the automata made on another thread. */
export async function readGrammarAsync(
  options: Pick<TokenOptions, "grammar" | "schema">,
): Promise<Grammar | undefined> {
  const { grammar, schema } = options;
  if (schema === undefined && typeof grammar === "string") {
    return await Grammar.fromGbnfAsync(grammar);
  }
  return schema !== undefined && grammar === undefined
    ? await Grammar.fromJsonSchemaAsync(schema)
    : readGrammar(options);
}

/** USAGE naming the first sampling option that is out of its bounds. */
function checkSampling(options: SamplingOptions): void {
  converting(() => loadAddon().checkSampling(pickSampling(options)));
}

/** The sampling options among `options`, but for `logitBias`. */
function pickSampling(options: SamplingOptions): Omit<NativeSampling, "logitBias"> {
  const sampling: Omit<NativeSampling, "logitBias"> = {};
  for (const { name } of listSamplingParameters()) {
    Object.assign(sampling, { [name]: options[name] });
  }
  return sampling;
}

/** USAGE naming the option if `value` is outside `range`. */
export function checkNumber(name: string, value: unknown, range: Range): void {
  const ok =
    typeof value === "number" &&
    value >= range.min &&
    value <= range.max &&
    (range.integer !== true || Number.isInteger(value));
  if (!ok) {
    const kind = range.integer ? "an integer" : "a number";
    throw new BitnetError("USAGE", `${name}: expected ${kind} from ${range.min} to ${range.max}, got ${String(value)}`);
  }
}

/** Ids that can be a session's sequence: not empty, in the vocabulary, no longer than the context. */
export function checkPromptTokens(
  tokens: Int32Array | readonly number[],
  vocabSize: number,
  contextSize: number,
): Int32Array {
  if (tokens.length === 0) {
    throw new BitnetError("USAGE", "the prompt is empty: expected at least one token");
  }
  if (tokens.length > contextSize) {
    throw new BitnetError("USAGE", `the prompt has ${tokens.length} tokens, but the context holds ${contextSize}`, {
      hint: "shorten the prompt or use a larger context size",
    });
  }
  return checkTokens(tokens, vocabSize);
}

/** The tokens of a prompt and the place of the first to score; USAGE for what is wrong with them. */
export function planScore(
  tokenizer: Tokenizer,
  contextSize: number,
  prompt: Prompt,
  options: ScoreOptions,
): { tokens: Int32Array; from: number; top: number } {
  checkOptionNames("score", options, scoreOptions);
  return planScored("score", tokenizer, contextSize, prompt, options);
}

/** The same for whole distributions. */
export function planDistributions(
  tokenizer: Tokenizer,
  contextSize: number,
  prompt: Prompt,
  options: DistributionOptions,
): { tokens: Int32Array; from: number } {
  const { top: _, ...names } = scoreOptions;
  checkOptionNames("distributions", options, names);
  return planScored("distributions", tokenizer, contextSize, prompt, options);
}

function planScored(
  subject: string,
  tokenizer: Tokenizer,
  contextSize: number,
  prompt: Prompt,
  options: ScoreOptions,
): { tokens: Int32Array; from: number; top: number } {
  const tokens = checkPromptTokens(encodePrompt(tokenizer, prompt, options), tokenizer.info.vocabSize, contextSize);
  const { from = 1, top = 0 } = options;
  if (tokens.length < 2) {
    throw new BitnetError("USAGE", `${subject}: expected at least two tokens, as the first follows nothing`);
  }
  checkNumber("from", from, { min: 1, max: tokens.length - 1, integer: true });
  checkNumber("top", top, { min: 0, max: maxScoreTop, integer: true });
  return { tokens, from, top };
}

function encodePrompt(
  tokenizer: Tokenizer,
  prompt: Prompt,
  { addSpecial, parseSpecial }: Pick<TokenOptions, "addSpecial" | "parseSpecial">,
): Int32Array | readonly number[] {
  return typeof prompt === "string" ? tokenizer.encode(prompt, { addSpecial, parseSpecial }) : prompt;
}

/** What `prompt` and checked options ask for; USAGE for what does not fit this model and context. */
export function planGeneration(
  tokenizer: Tokenizer,
  contextSize: number,
  prompt: Prompt,
  options: GenerateOptions,
): GenerationPlan {
  const { maxTokens = -1, stop = [], signal, onStart, onPrompt, cachePrompt = true } = options;
  const tokens = checkPromptTokens(encodePrompt(tokenizer, prompt, options), tokenizer.info.vocabSize, contextSize);
  return {
    tokens,
    constraint: planConstraint(tokenizer, tokens, options),
    maxTokens: maxTokens === -1 ? Number.POSITIVE_INFINITY : maxTokens,
    sampling: {
      ...pickSampling(options),
      seed: options.seed ?? randomInt(2 ** 32),
      logitBias: toBiasPairs(tokenizer, options),
    },
    stop,
    anew: !cachePrompt,
    signal,
    onStart,
    onPrompt,
  };
}

function planConstraint(tokenizer: Tokenizer, tokens: Int32Array, options: TokenOptions): GenerationPlan["constraint"] {
  const grammar = readGrammar(options);
  if (grammar === undefined) {
    return {};
  }
  const { begun = [] } = options;
  const before = begun.length === 0 ? tokens : tokens.subarray(0, -begun.length);
  return {
    grammar: grammar.native,
    startsText: tokenizer.decode(before) === "",
    begun: Int32Array.from(begun),
  };
}

function toBiasPairs(tokenizer: Tokenizer, options: GenerateOptions): [number, number][] {
  const given = options.logitBias ?? {};
  const pairs: Iterable<readonly [number | string, number]> =
    given instanceof Map ? given : Object.entries(given as Record<number, number>);
  const bias = new Map<number, number>();
  for (const [key, value] of pairs) {
    const id = Number(key);
    checkTokens([id], tokenizer.info.vocabSize);
    if (Number.isNaN(value) || value === Number.POSITIVE_INFINITY) {
      throw new BitnetError("USAGE", `logitBias: ${value} for token ${id} is not a finite number or -Infinity`);
    }
    bias.set(id, value);
  }
  if (options.ignoreEos) {
    for (const id of tokenizer.info.eog) {
      bias.set(id, Number.NEGATIVE_INFINITY);
    }
  }
  return [...bias];
}
