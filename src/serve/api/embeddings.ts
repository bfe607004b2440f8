// POST /v1/embeddings as OpenAI has it, and /embedding and /embeddings as llama.cpp's server has them.

import type { Register, ServerContext } from "../context.js";
import { invalid } from "../errors.js";
import type { Fields } from "../fields.js";
import type { EmbedPrompt, RunContext, TextRequest, Timings } from "../request.js";
import { bodyOf, checkModel, contextOf, nameIgnored } from "./exchange.js";
import { readRunning } from "./parameters.js";
import { readPrompts } from "./prompts.js";

export const maxInputs = 2048;
const maxDimensions = 65536;
const largestNorm = 1000;
const euclidean = 2;

export const register: Register = (app, context) => {
  for (const [url, isNative] of [
    ["/v1/embeddings", false],
    ["/embedding", true],
    ["/embeddings", true],
  ] as const) {
    app.post(url, async (request, reply) => {
      const run = contextOf(request, reply);
      const body = bodyOf(request);
      const call = readEmbeddings(context, body, url, isNative);
      nameIgnored(reply, body);
      const embedded = await embed(context, call.request, run);
      return call.isNative ? writeNative(embedded, call) : writeOpenAi(context, embedded, call);
    });
  }
};

interface EmbeddingsCall {
  request: TextRequest<EmbedPrompt>;
  /** In llama.cpp's own shape: also a body with `content`. */
  isNative: boolean;
  isBase64: boolean;
}

/** Texts or token ids, and how the vectors are to be written. */
function readEmbeddings(context: ServerContext, body: Fields, route: string, isNativeRoute: boolean): EmbeddingsCall {
  checkModel(context, body.text("model"));
  const { background, adapters } = readRunning(context, body);
  const isBase64 = body.choice("encoding_format", ["float", "base64"]) === "base64";
  const dimensions = body.integer("dimensions", { min: 1, max: maxDimensions });
  const truncate = body.boolean("truncate");
  const normalize = body.integer("embd_normalize", { min: -1, max: largestNorm });
  const parseSpecial = body.boolean("parse_special");
  const name = body.firstOf(["input", "content", "prompt"]);
  const { prompts, isList } = readPrompts(body, name, { mixed: true, most: maxInputs });
  const inputs = prompts.map((parts, i) => ({ parts, path: isList ? `${name}[${i}]` : name }));
  for (const { parts, path } of inputs) {
    if (parts.every((part) => part.length === 0)) {
      throw invalid(path, "expected a text or token ids, got an empty text");
    }
  }
  body.ignore("user");
  const isNative = isNativeRoute || name === "content";
  return {
    isNative,
    isBase64,
    request: {
      ...embedRequest(route, background, {
        ...{
          kind: "embed",
          inputs,
          normalize: normalize ?? euclidean,
          ...(dimensions === undefined ? {} : { dimensions }),
        },
        ...{ truncate: truncate ?? context.options.truncateInput, parseSpecial: parseSpecial ?? false },
        needsOneVector: !isNative,
      }),
      adapters,
    },
  };
}

/** A request for vectors has nothing of what an answer is made of. */
export function embedRequest(route: string, background: boolean, prompt: EmbedPrompt): TextRequest<EmbedPrompt> {
  return {
    ...{ route, prompt, background, n: 1, sampling: {}, ignoreEos: false, stop: [] },
    ...{ cacheSalt: "", cachePrompt: false, wantsProgress: false },
  };
}

export interface Embedded {
  /** With the pooling "none" those of all tokens. */
  vectors: Float32Array[];
  dimensions: number;
  promptTokens: number;
  timings: Timings;
}

export async function embed(
  context: ServerContext,
  request: TextRequest<EmbedPrompt>,
  run: RunContext,
): Promise<Embedded> {
  const vectors: Float32Array[] = [];
  let dimensions = 0;
  for await (const event of context.run(request, run)) {
    if (event.kind === "vectors") {
      vectors.push(...event.vectors);
      dimensions = event.dimensions;
    } else if (event.kind === "end") {
      return { vectors, dimensions, promptTokens: event.usage.promptTokens, timings: event.timings };
    }
  }
  throw new Error("the request ended without a last event");
}

/** Float32, little-endian. */
function toBase64({ buffer, byteOffset, byteLength }: Float32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString("base64");
}

/** As few digits as tell one float32 from every other. */
export function numbersOf(vector: Float32Array): number[] {
  return Array.from(vector, (x) => Number(x.toPrecision(9)));
}

function writeOpenAi(
  context: ServerContext,
  { vectors, promptTokens }: Embedded,
  { isBase64 }: EmbeddingsCall,
): object {
  return {
    object: "list",
    model: context.modelId,
    data: vectors.map((vector, index) => ({
      object: "embedding",
      index,
      embedding: isBase64 ? toBase64(vector) : numbersOf(vector),
    })),
    usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
  };
}

/** A list of vectors for each input, which with a pooling is a list of one. */
function writeNative({ vectors, dimensions }: Embedded, { isBase64 }: EmbeddingsCall): object[] {
  return vectors.map((vector, index) => {
    const each = Array.from({ length: vector.length / dimensions }, (_, i) =>
      vector.subarray(i * dimensions, (i + 1) * dimensions),
    );
    return { index, embedding: each.map((one) => (isBase64 ? toBase64(one) : numbersOf(one))) };
  });
}
