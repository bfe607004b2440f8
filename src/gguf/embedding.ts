// What a GGUF file says of text embeddings: how they are pooled, and what may stand before texts.

import type { MetadataValue } from "./gguf.js";

/** Before the name of a prompt. */
export const promptKey = "bitnet.prompt.";
/** The name of the prompt that sentence-transformers uses unasked. */
export const defaultPromptKey = "bitnet.default_prompt";

export interface EmbeddingReport {
  pooling: string; // "none", "mean", "cls", "last", "rank" or a number that means nothing here
  dimensions: number;
  prompts: Record<string, string>;
  defaultPrompt?: string;
}

const poolingNames = ["none", "mean", "cls", "last", "rank"];

/** The prompts of a file by their names. */
export function promptsOf(metadata: Readonly<Record<string, MetadataValue>>): Map<string, string> {
  const prompts = new Map<string, string>();
  for (const [key, value] of Object.entries(metadata)) {
    if (key.startsWith(promptKey) && typeof value === "string") {
      prompts.set(key.slice(promptKey.length), value);
    }
  }
  return prompts;
}

/** undefined for a file that says nothing of embeddings. */
export function embeddingOf(metadata: Readonly<Record<string, MetadataValue>>): EmbeddingReport | undefined {
  const architecture = String(metadata["general.architecture"]);
  const [type, dimensions] = [metadata[`${architecture}.pooling_type`], metadata[`${architecture}.embedding_length`]];
  if (typeof type !== "number" || typeof dimensions !== "number") {
    return undefined;
  }
  const standard = metadata[defaultPromptKey];
  return {
    pooling: poolingNames[type] ?? String(type),
    dimensions,
    prompts: Object.fromEntries(promptsOf(metadata)),
    defaultPrompt: typeof standard === "string" ? standard : undefined,
  };
}
