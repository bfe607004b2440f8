// A model in the memory of a server.

import { createHash } from "node:crypto";
import type { ChatFormat } from "../chat/format.js";
import type { Adapter } from "../engine/adapter.js";
import type { Model } from "../engine/model.js";
import { packageVersion } from "../system/package.js";
import { EmbeddingService } from "./embedding-service.js";
import type { ServeOptions } from "./options.js";
import { baseBytes, kvCacheBytes } from "./plan.js";
import { PromptMaker } from "./prompt.js";

/** Options with what was chosen for this machine where they say nothing. */
export type LoadedOptions = ServeOptions & { parallel: number; promptCacheBytes: number };

/** A model that was loaded for a server, and what is made of it. */
export class ServedModel {
  readonly model: Model;
  readonly format: ChatFormat;
  readonly contextSize: number;
  readonly prompts: PromptMaker;
  /** Of a model that computes vectors, and no texts. */
  readonly embeddings: EmbeddingService | undefined;
  /** In the order of their numbers. */
  readonly adapters: readonly Adapter[];
  /** Of all that decides what is computed: program, model and kernels. */
  readonly fingerprint: string;
  /** It takes that, with all keys and values that may be in use or kept. */
  readonly mostBytes: number;

  constructor(model: Model, format: ChatFormat, adapters: readonly Adapter[], options: LoadedOptions) {
    const { contextSize, systemPrompt, reasoningFormat, parallel, cacheType, promptCacheBytes } = options;
    const trained = model.info.contextLength;
    this.model = model;
    this.format = format;
    this.adapters = adapters;
    this.contextSize = contextSize === 0 ? trained : Math.min(contextSize, trained);
    this.prompts = new PromptMaker({
      ...{ tokenizer: model.tokenizer, format, systemPrompt },
      splitsThinking: reasoningFormat !== "none",
    });
    this.embeddings = model.info.embedsOnly
      ? new EmbeddingService(model, { ...options, contextSize: this.contextSize })
      : undefined;
    this.fingerprint = fingerprintOf(model);
    const inUse = options.kvBytes ?? parallel * kvCacheBytes(model.gguf, this.contextSize, cacheType);
    const ofAdapters = adapters.reduce((sum, { bytes }) => sum + bytes, 0);
    this.mostBytes = baseBytes(model.gguf) + ofAdapters + inUse + promptCacheBytes;
  }

  /** Evaluates and samples a little, so that the first request finds everything in place. */
  async warmUp(): Promise<void> {
    if (this.embeddings !== undefined) {
      await this.model.embed(["Hello"]);
      return;
    }
    this.model.shareBeginning(this.prompts.commonBeginning());
    await using session = this.model.createSession({ contextSize: Math.min(64, this.contextSize) });
    await session.generateTokens("Hello", { maxTokens: 10, temperature: 0 }).result;
  }
}

function fingerprintOf({ info, gguf }: Model): string {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([gguf.tensors(), info.name]));
  return `bitnet-${packageVersion()}-${hash.digest("hex").slice(0, 8)}-${info.kernel}`;
}
