// What a document asks of the model, in tokens: continuations to score, texts to score, texts to write.

import { createHash } from "node:crypto";
import type { Tokenizer } from "../engine/tokenizer.js";
import { BitnetError } from "../system/errors.js";
import { stripRight } from "./python-text.js";

/** How texts are written; the keys are those of the engine. */
export interface WritingOptions {
  maxTokens: number;
  stop: readonly string[];
  temperature: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repeatPenalty?: number;
  seed?: number;
}

/** The log-likelihood of `continuation` after `context`. Requests that share a context share the array. */
export interface ScoreRequest {
  kind: "score";
  context: Int32Array;
  continuation: Int32Array;
  /** Tokens that did not fit. */
  cut: number;
}

/** The log-likelihood of all tokens of a text, in windows. */
export interface RollingRequest {
  kind: "rolling";
  windows: readonly Pick<ScoreRequest, "context" | "continuation">[];
  cut: 0;
}

export interface WriteRequest {
  kind: "write";
  context: Int32Array;
  options: WritingOptions;
  cut: number;
}

export type Request = ScoreRequest | RollingRequest | WriteRequest;

export interface Score {
  logLikelihood: number;
  /** Whether each of the tokens was the likeliest. */
  isGreedy: boolean;
}

export interface Writing {
  text: string;
  tokens: number;
  /** Cut by the limit of tokens or by the context, instead of ended by the model or a stop text. */
  isCut: boolean;
}

export type Outcome = Score | Writing;

/** Turns texts into requests that fit into so many tokens of context. */
export class RequestEncoder {
  readonly #tokenizer: Tokenizer;
  readonly #maxLength: number;
  readonly #parseSpecial: boolean;
  #last: { text: string; ids: Int32Array } = { text: "", ids: new Int32Array() };

  /** `parseSpecial`: prompts come from a chat template, which names control tokens. */
  constructor(tokenizer: Tokenizer, maxLength: number, parseSpecial: boolean) {
    this.#tokenizer = tokenizer;
    this.#maxLength = maxLength;
    this.#parseSpecial = parseSpecial;
  }

  /**
   * White space at the end of the context counts as the continuation's; context and continuation are tokenized as one and
   * cut where the tokens of the context alone end, also where a token goes across.
   */
  score(context: string, continuation: string): ScoreRequest {
    const bare = stripRight(context);
    const whole = this.#encode(context + continuation);
    const before = bare === "" ? this.#prefix() : this.#encodeContext(bare);
    const after = bare === "" ? this.#withoutBos(whole) : whole.slice(before.length);
    if (after.length === 0) {
      throw new BitnetError("BAD_FILE", `the choice ${JSON.stringify(continuation)} has no token of its own`);
    }
    return { kind: "score", ...this.#cut(before, after) };
  }

  /** All tokens, each once: a full window after BOS, then further ones that see as much as fits. */
  rolling(text: string): RollingRequest {
    const ids = this.#withoutBos(this.#encode(text));
    const length = this.#maxLength;
    const windows: Pick<ScoreRequest, "context" | "continuation">[] = [];
    for (let start = 0; start < ids.length; start += length) {
      const end = Math.min(start + length, ids.length);
      windows.push({
        context: start === 0 ? this.#prefix() : ids.slice(Math.max(end - length - 1, 0), start),
        continuation: ids.slice(start, end),
      });
    }
    return { kind: "rolling", windows, cut: 0 };
  }

  /** The end of the prompt, as much as leaves room for what is written. */
  write(prompt: string, options: WritingOptions): WriteRequest {
    const ids = prompt === "" ? this.#prefix() : this.#encode(prompt);
    const room = this.#maxLength - options.maxTokens;
    if (room < 1) {
      throw new BitnetError(
        "USAGE",
        `answers of ${options.maxTokens} tokens need a context of more, this one holds ${this.#maxLength}`,
        { hint: "give a larger context with -c, or --gen-kwargs max_gen_toks=N" },
      );
    }
    const cut = Math.max(ids.length - room, 0);
    return { kind: "write", context: ids.slice(cut), options, cut };
  }

  /** One token more than the context holds: the last is scored, and never read. */
  #cut(context: Int32Array, continuation: Int32Array): Omit<ScoreRequest, "kind"> {
    const most = this.#maxLength + 1;
    if (continuation.length > this.#maxLength) {
      throw new BitnetError(
        "USAGE",
        `a choice of ${continuation.length} tokens needs as large a context, this one holds ${this.#maxLength}`,
        { hint: `give a larger one with -c ${continuation.length}` },
      );
    }
    const cut = Math.max(context.length + continuation.length - most, 0);
    return { context: cut === 0 ? context : context.subarray(cut), continuation, cut };
  }

  #encode(text: string): Int32Array {
    return this.#tokenizer.encode(text, { addSpecial: true, parseSpecial: this.#parseSpecial });
  }

  /** The choices of a question follow one another. */
  #encodeContext(text: string): Int32Array {
    if (this.#last.text !== text) {
      this.#last = { text, ids: this.#encode(text) };
    }
    return this.#last.ids;
  }

  #withoutBos(ids: Int32Array): Int32Array {
    const { addBos, bos } = this.#tokenizer.info;
    return addBos && ids[0] === bos ? ids.subarray(1) : ids;
  }

  /** What stands before a text that nothing stands before. */
  #prefix(): Int32Array {
    const { bos, eos } = this.#tokenizer.info;
    if (bos < 0 && eos < 0) {
      throw new BitnetError("UNSUPPORTED", "the model has neither BOS nor EOS to stand before an empty context");
    }
    return Int32Array.of(bos >= 0 ? bos : eos);
  }
}

/** What tells a request from all others for the same model. */
export function keyOf(request: Request): string {
  const hash = createHash("sha256").update(request.kind);
  const add = (ids: Int32Array) => hash.update(`\n${ids.length}\n`).update(ids);
  switch (request.kind) {
    case "score":
      add(request.context);
      add(request.continuation);
      break;
    case "rolling":
      for (const { context, continuation } of request.windows) {
        add(context);
        add(continuation);
      }
      break;
    case "write":
      add(request.context);
      hash.update(JSON.stringify(Object.entries(request.options).sort(([a], [b]) => (a < b ? -1 : 1))));
  }
  return hash.digest("hex");
}

/** Tokens that it takes at most, where nothing is shared. */
export function tokensOf(request: Request): number {
  switch (request.kind) {
    case "score":
      return request.context.length + request.continuation.length;
    case "rolling":
      return request.windows.reduce((sum, { context, continuation }) => sum + context.length + continuation.length, 0);
    case "write":
      return request.context.length + request.options.maxTokens;
  }
}
