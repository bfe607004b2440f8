// Vectors of the inputs of a request: tokenized and checked first, then computed a few at a time, so that others get their
// turns and a client that leaves costs little.

import type { AdapterUse } from "../engine/adapter.js";
import type { Model } from "../engine/model.js";
import type { Pooling } from "../native/addon.js";
import { ApiError, contextExceeded, invalid } from "./errors.js";
import type { EmbedInput, EmbedPrompt, RunContext, TextEvent, TextRequest } from "./request.js";

export interface EmbeddingSetup {
  /** Default: the file's. */
  pooling?: Pooling;
  contextSize: number;
  /** Tokens of an input at most; 0: as many as fit. */
  maxInputTokens: number;
}

/** Tokens and inputs of what is computed at once. */
const sliceTokens = 1024;
const sliceInputs = 64;

export class EmbeddingService {
  readonly #model: Model;
  readonly #setup: EmbeddingSetup;
  /** What the file says, or the operator. */
  readonly pooling: Pooling;

  constructor(model: Model, setup: EmbeddingSetup) {
    this.#model = model;
    this.#setup = setup;
    this.pooling = setup.pooling ?? model.info.pooling;
  }

  /** `start`: the request runs. Leaving the loop ends the work with the slice that is computed. */
  async *run(
    { prompt, background }: TextRequest<EmbedPrompt>,
    { client, signal, adapters }: RunContext & { adapters: readonly AdapterUse[] },
    start: () => void,
  ): AsyncGenerator<TextEvent, void, undefined> {
    const begunAt = performance.now();
    this.#check(prompt);
    const inputs = await this.#tokenize(prompt);
    const promptTokens = inputs.reduce((sum, ids) => sum + ids.length, 0);
    start();
    const queueMs = performance.now() - begunAt;
    yield { kind: "started", promptTokens, cachedTokens: 0, queueMs };
    for (const slice of slicesOf(inputs)) {
      const { vectors, tokens, dimensions } = await this.#model.embed(slice, {
        ...{ pooling: this.pooling, normalize: prompt.normalize, dimensions: prompt.dimensions, signal },
        ...{ client: client.id, weight: client.weight, background, adapters },
      });
      yield { kind: "vectors", vectors, tokens, dimensions };
    }
    yield {
      kind: "end",
      usage: { promptTokens, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0 },
      timings: {
        queueMs,
        promptMs: performance.now() - begunAt - queueMs,
        promptTokens,
        generateMs: 0,
        generatedTokens: 0,
      },
    };
  }

  #check({ dimensions = 1, needsOneVector, inputs }: EmbedPrompt): void {
    if (needsOneVector && this.pooling === "none") {
      const { path = "input" } = inputs[0] ?? {};
      throw invalid(path, "the server gives a vector for each token (--pooling none): POST /embeddings");
    }
    const { embeddingLength } = this.#model.info;
    if (dimensions > embeddingLength) {
      throw invalid("dimensions", `expected an integer from 1 to ${embeddingLength}, got ${dimensions}`);
    }
  }

  async #tokenize(prompt: EmbedPrompt): Promise<number[][]> {
    const encoded: number[][] = [];
    for (const input of prompt.inputs) {
      encoded.push(this.#fit(await this.#encode(input, prompt.parseSpecial), input, prompt.truncate));
    }
    return encoded;
  }

  /** Texts get what the model wants around them: BOS before the first part, EOS after the last. */
  async #encode({ parts, path }: EmbedInput, parseSpecial: boolean): Promise<number[]> {
    const { tokenizer } = this.#model;
    const { vocabSize } = tokenizer.info;
    const [only] = parts;
    if (parts.length === 1 && typeof only === "string") {
      return [...(await tokenizer.encodeAsync(only, { addSpecial: true, parseSpecial }))];
    }
    const ids: number[] = [];
    for (const part of parts) {
      for (const id of typeof part === "string"
        ? await tokenizer.encodeAsync(part, { addSpecial: false, parseSpecial })
        : part) {
        ids.push(id);
      }
    }
    const wrong = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (wrong !== undefined) {
      throw invalid(path, `${wrong} is not a token id: expected an integer from 0 to ${vocabSize - 1}`);
    }
    return ids;
  }

  /** What is cut keeps the token that ends a text. */
  #fit(ids: number[], { path }: EmbedInput, truncate: boolean): number[] {
    const { contextSize, maxInputTokens } = this.#setup;
    const most = maxInputTokens > 0 ? Math.min(maxInputTokens, contextSize) : contextSize;
    if (ids.length === 0) {
      throw invalid(path, "expected at least one token");
    }
    if (ids.length <= most) {
      return ids;
    }
    if (!truncate) {
      const { message, details } = contextExceeded(ids.length, most);
      throw new ApiError("exceed_context_size_error", `${path}: ${message}`, { ...details, param: path });
    }
    const { addEos, eos } = this.#model.tokenizer.info;
    return addEos && ids.at(-1) === eos ? [...ids.slice(0, most - 1), eos] : ids.slice(0, most);
  }
}

function* slicesOf(inputs: readonly number[][]): Generator<number[][]> {
  let slice: number[][] = [];
  let tokens = 0;
  for (const ids of inputs) {
    if (slice.length > 0 && (slice.length >= sliceInputs || tokens + ids.length > sliceTokens)) {
      yield slice;
      slice = [];
      tokens = 0;
    }
    slice.push(ids);
    tokens += ids.length;
  }
  if (slice.length > 0) {
    yield slice;
  }
}
