// The parameters that all dialects of text share, one row each: name in a body, option of the library, bounds.

import { listSamplingParameters, type SamplingOptions } from "../../engine/request.js";
import type { Tokenizer } from "../../engine/tokenizer.js";
import { GrammarError } from "../../grammar/error.js";
import { Grammar } from "../../grammar/grammar.js";
import type { JsonSchema } from "../../grammar/schema.js";
import { BitnetError } from "../../system/errors.js";
import type { ServerContext } from "../context.js";
import { ApiError, invalid, unsupported } from "../errors.js";
import { describe, type Fields, type NumberRange } from "../fields.js";
import type { GrammarRequest, TextRequest } from "../request.js";
import { readAdapters } from "./adapters.js";

type NumberOption = Exclude<
  keyof SamplingOptions,
  "drySequenceBreakers" | "samplers" | "logitBias" | "seed" | "logprobs" | "postSamplingProbs"
>;

export interface SamplingField {
  /** The first is OpenAI's or llama.cpp's name. */
  names: readonly string[];
  option: NumberOption;
  /** Narrower than what the core takes: what a client may ask for. */
  range: NumberRange;
  integer?: boolean;
}

const penalty: NumberRange = { min: -10, max: 10 };
const share: NumberRange = { min: 0, max: 1 };
const count: NumberRange = { min: 0, max: 2 ** 31 - 1 };
const lastTokens: NumberRange = { min: -1, max: 2 ** 31 - 1 };

export const samplingFields: readonly SamplingField[] = [
  { names: ["temperature"], option: "temperature", range: { min: 0, max: 100 } },
  { names: ["top_p"], option: "topP", range: share },
  { names: ["top_k"], option: "topK", range: { min: -1, max: 2 ** 31 - 1 }, integer: true },
  { names: ["min_p"], option: "minP", range: share },
  { names: ["typical_p", "typ_p"], option: "typicalP", range: share },
  { names: ["top_n_sigma"], option: "topNSigma", range: { min: -1, max: 1e6 } },
  { names: ["xtc_probability"], option: "xtcProbability", range: share },
  { names: ["xtc_threshold"], option: "xtcThreshold", range: share },
  { names: ["repeat_penalty", "repetition_penalty"], option: "repeatPenalty", range: { min: 1e-3, max: 1e3 } },
  { names: ["repeat_last_n"], option: "repeatLastN", range: lastTokens, integer: true },
  { names: ["presence_penalty"], option: "presencePenalty", range: penalty },
  { names: ["frequency_penalty"], option: "frequencyPenalty", range: penalty },
  { names: ["dry_multiplier"], option: "dryMultiplier", range: { min: 0, max: 1e6 } },
  { names: ["dry_base"], option: "dryBase", range: { min: 1, max: 1e6 } },
  { names: ["dry_allowed_length"], option: "dryAllowedLength", range: count, integer: true },
  { names: ["dry_penalty_last_n"], option: "dryPenaltyLastN", range: lastTokens, integer: true },
  { names: ["dynatemp_range"], option: "dynatempRange", range: { min: 0, max: 1e6 } },
  { names: ["dynatemp_exponent"], option: "dynatempExponent", range: { min: 0, max: 1e6 } },
];

const maxStops = 16;
const maxStopBytes = 256;
const maxBiases = 1024;
/** From here on a bias forbids a token. */
const banBias = -100;

/** Sampling as the body asks for it; what it does not say is left out. */
export function readSampling(body: Fields, tokenizer: Tokenizer): SamplingOptions {
  const options: SamplingOptions = {};
  for (const { names, option, range, integer } of samplingFields) {
    const name = body.firstOf(names);
    const value = integer ? body.integer(name, range) : body.number(name, range);
    if (value !== undefined) {
      options[option] = option === "topK" ? Math.max(value, 0) : value; // -1 is off, as in vLLM
    }
  }
  const breakers = readTexts(body, "dry_sequence_breakers", { max: 64, maxBytes: 40 });
  const seed = readSeed(body);
  const logitBias = readLogitBias(body, tokenizer);
  checkSamplers(body);
  refuseMirostat(body);
  return {
    ...options,
    ...(breakers === undefined ? {} : { drySequenceBreakers: breakers }),
    ...(seed === undefined ? {} : { seed }),
    ...(logitBias === undefined ? {} : { logitBias }),
  };
}

/** Every parameter of sampling under its name in bodies: as asked for, else the server's, else the default. */
export function describeSampling(defaults: SamplingOptions, asked: SamplingOptions = {}): Record<string, unknown> {
  const rows = listSamplingParameters();
  const valueFor = (option: keyof SamplingOptions) =>
    asked[option] ?? defaults[option] ?? rows.find(({ name }) => name === option)?.standard;
  return {
    ...Object.fromEntries(samplingFields.map(({ names: [name = ""], option }) => [name, valueFor(option)])),
    dry_sequence_breakers: valueFor("drySequenceBreakers"),
    samplers: valueFor("samplers"),
    mirostat: 0,
  };
}

/** Any integer; -1 and nothing are random. */
function readSeed(body: Fields): number | undefined {
  const seed = body.integer("seed", { min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER });
  return seed === undefined || seed === -1 ? undefined : Math.abs(seed);
}

/** The chain has one order here; another one would give other answers. */
function checkSamplers(body: Fields): void {
  const samplers = body.list("samplers", { max: 16 });
  const standard = listSamplingParameters().find(({ name }) => name === "samplers")?.standard as string[] | undefined;
  const known = new Map(standard?.map((name, i) => [name, i]));
  let last = -1;
  for (const name of samplers ?? []) {
    const place = known.get(name === "typical_p" ? "typ_p" : String(name));
    if (place === undefined || place <= last) {
      throw unsupported("samplers", `expected a part of ${standard?.join(", ")}, in this order`);
    }
    last = place;
  }
}

function refuseMirostat(body: Fields): void {
  if ((body.number("mirostat", { min: 0, max: 2 }) ?? 0) > 0) {
    throw unsupported("mirostat", "it is not there; use min_p or top_p");
  }
  body.ignore("mirostat_tau", "mirostat_eta");
}

/** {id: bias}, or [[id or text, bias], ...] as in llama.cpp's server. The key "text" stands for all tokens of that text. */
function readLogitBias(body: Fields, tokenizer: Tokenizer): Map<number, number> | undefined {
  const given = body.value("logit_bias");
  if (given === undefined) {
    return undefined;
  }
  const entries = Array.isArray(given) ? given : Object.entries(body.plain("logit_bias") ?? {});
  if (entries.length > maxBiases) {
    throw invalid("logit_bias", `expected at most ${maxBiases} entries, got ${entries.length}`);
  }
  const biases = new Map<number, number>();
  for (const entry of entries) {
    const [key, bias] = Array.isArray(entry) && entry.length === 2 ? entry : [undefined, undefined];
    for (const id of tokensOfKey(key, tokenizer)) {
      biases.set(id, readBias(bias));
    }
  }
  return biases;
}

function tokensOfKey(key: unknown, tokenizer: Tokenizer): Iterable<number> {
  const id = typeof key === "string" && /^\d+$/.test(key) ? Number(key) : key;
  if (typeof id === "number") {
    if (!Number.isInteger(id) || id < 0 || id >= tokenizer.info.vocabSize) {
      throw invalid(
        "logit_bias",
        `${id} is not a token id: expected an integer from 0 to ${tokenizer.info.vocabSize - 1}`,
      );
    }
    return [id];
  }
  if (typeof id !== "string") {
    throw invalid("logit_bias", `expected token ids or texts with a number each, got ${describe(key)}`);
  }
  return tokenizer.encode(id, { addSpecial: false });
}

function readBias(bias: unknown): number {
  if (bias === false || (typeof bias === "number" && bias <= banBias)) {
    return Number.NEGATIVE_INFINITY;
  }
  if (typeof bias !== "number" || !Number.isFinite(bias) || bias > -banBias) {
    throw invalid("logit_bias", `expected numbers up to ${-banBias} or false, got ${describe(bias)}`);
  }
  return bias;
}

/** A text or a list of texts. */
export function readStop(body: Fields, name = "stop"): string[] {
  if (typeof body.value(name) === "string") {
    const stop = body.text(name) ?? "";
    checkBytes(body, name, stop, maxStopBytes);
    return stop === "" ? [] : [stop];
  }
  return (readTexts(body, name, { max: maxStops, maxBytes: maxStopBytes }) ?? []).filter((stop) => stop !== "");
}

export function readTexts(body: Fields, name: string, { max = 1024, maxBytes = 2 ** 20 } = {}): string[] | undefined {
  return body.list(name, { max })?.map((text, i) => {
    if (typeof text !== "string") {
      throw invalid(`${body.pathOf(name)}[${i}]`, `expected a string, got ${describe(text)}`);
    }
    checkBytes(body, name, text, maxBytes);
    return text;
  });
}

function checkBytes(body: Fields, name: string, text: string, most: number): void {
  if (Buffer.byteLength(text) > most) {
    throw invalid(body.pathOf(name), `expected at most ${most} bytes, got ${Buffer.byteLength(text)}`);
  }
}

/** Of the names that dialects have for it; undefined: to the end of the context. -1 is that, too. */
export function readMaxTokens(body: Fields, names: readonly string[], standard?: number): number | undefined {
  const given = body.integer(body.firstOf(names), { min: -2, max: 2 ** 31 - 1 }) ?? standard;
  return given === undefined || given < 0 ? undefined : given;
}

const serviceTiers = ["auto", "default", "flex", "priority", "scale", "standard_only"] as const;

/** What is the same for every dialect, and says how a request is run. */
export function readRunning(
  context: ServerContext,
  body: Fields,
): Pick<TextRequest, "adapters" | "ignoreEos" | "background" | "cacheSalt" | "cachePrompt" | "wantsProgress"> {
  return {
    ...readAdapters(context, body),
    ignoreEos: body.boolean("ignore_eos") ?? false,
    background: body.choice("service_tier", serviceTiers) === "flex",
    cacheSalt: body.text("cache_salt", { maxLength: 256 }) ?? "",
    cachePrompt: body.boolean("cache_prompt") ?? true,
    wantsProgress: body.boolean("return_progress") ?? false,
  };
}

export function readChoices(body: Fields, most: number): number {
  return body.integer("n", { min: 1, max: most }) ?? 1;
}

/** What the answer must be: `response_format`, `json_schema`, `grammar`, `structured_outputs` and their older names. */
export function readGrammar(body: Fields): GrammarRequest | undefined {
  const found = [...readFormat(body.object("response_format")), ...readStructured(body), ...readOwnGrammars(body)];
  if (found.length > 1) {
    throw invalid(
      found[1]?.param ?? "grammar",
      `expected one way to say what the answer must be, not also ${found[0]?.param}`,
    );
  }
  return found[0]?.grammar;
}

export interface FoundGrammar {
  param: string;
  grammar: GrammarRequest;
}

/** {type: text | json_object | json_schema}, with the schema within or beside the type. */
export function readFormat(format: Fields | undefined): FoundGrammar[] {
  switch (format?.choice("type", ["text", "json_object", "json_schema"])) {
    case "json_object": {
      const schema = format.value("schema") ?? { type: "object" };
      return [schemaGrammar(format.pathOf("schema"), schema)];
    }
    case "json_schema": {
      const holder = format.object("json_schema") ?? format;
      holder.ignore("name", "description");
      const strict = holder.boolean("strict") ?? true;
      const schema = holder.value("schema") ?? format.value("schema");
      if (schema === undefined) {
        throw invalid(holder.pathOf("schema"), "expected a JSON schema, got nothing");
      }
      return [schemaGrammar(holder.pathOf("schema"), schema, strict)];
    }
    default:
      return [];
  }
}

function readStructured(body: Fields): FoundGrammar[] {
  const structured = body.object("structured_outputs");
  if (structured === undefined) {
    return [];
  }
  const json = structured.value("json");
  const regex = structured.text("regex");
  const choice = readTexts(structured, "choice");
  const grammar = structured.text("grammar");
  return [
    ...(json === undefined ? [] : [schemaGrammar("structured_outputs.json", parseIfText(json))]),
    ...(regex === undefined ? [] : [grammarOf("structured_outputs.regex", regex, () => Grammar.fromRegexAsync(regex))]),
    ...(choice === undefined
      ? []
      : [grammarOf("structured_outputs.choice", choice, () => Grammar.fromChoicesAsync(choice))]),
    ...(grammar === undefined ? [] : [ownGrammar("structured_outputs.grammar", grammar)]),
  ];
}

function readOwnGrammars(body: Fields): FoundGrammar[] {
  const schema = body.value("json_schema");
  const grammar = body.text("grammar");
  return [
    ...(schema === undefined ? [] : [schemaGrammar("json_schema", parseIfText(schema))]),
    ...(grammar === undefined || grammar === "" ? [] : [ownGrammar("grammar", grammar)]),
  ];
}

function parseIfText(schema: unknown): unknown {
  if (typeof schema !== "string") {
    return schema;
  }
  try {
    return JSON.parse(schema);
  } catch {
    return schema; // the compiler says what is wrong
  }
}

/** Without `strict`, keywords that no grammar can hold to are left out where that is possible, and named in a header. */
export function schemaGrammar(param: string, schema: unknown, strict = true): FoundGrammar {
  if (typeof schema !== "boolean" && (typeof schema !== "object" || schema === null || Array.isArray(schema))) {
    throw invalid(param, `expected a JSON schema, got ${describe(schema)}`, "invalid_json_schema");
  }
  const given = schema as JsonSchema; // the compiler checks the rest
  const source = strict ? schema : { strict, schema };
  return grammarOf(param, source, () => Grammar.fromJsonSchemaAsync(given, { strict }), "invalid_json_schema");
}

function ownGrammar(param: string, source: string): FoundGrammar {
  return grammarOf(param, source, () => Grammar.fromGbnfAsync(source));
}

function grammarOf(
  param: string,
  source: unknown,
  compile: () => Promise<Grammar>,
  code = "invalid_grammar",
): FoundGrammar {
  return {
    param,
    grammar: {
      source: typeof source === "string" ? source : JSON.stringify(source),
      compile: () => compile().catch((error: unknown) => Promise.reject(describeProblem(param, code, error))),
    },
  };
}

/** What is wrong with a grammar, as an answer that names its field, and of a schema the keyword. */
function describeProblem(param: string, code: string, error: unknown): unknown {
  if (!(error instanceof BitnetError) || (error.code !== "USAGE" && error.code !== "UNSUPPORTED")) {
    return error;
  }
  const hint = error.hint === undefined ? "" : ` (${error.hint})`;
  const problem = error instanceof GrammarError ? error.problem : undefined;
  return new ApiError("invalid_request_error", `${param}: ${error.message}${hint}`, {
    ...{ code, param, cause: error },
    ...(problem === undefined ? {} : { fields: { keyword: problem.keyword, pointer: problem.pointer } }),
  });
}
