// The mean loss of documents as inference computes it: what a user of a file gets.

import type { AdapterUse } from "../engine/adapter.js";
import type { Model } from "../engine/model.js";
import { throwIfAborted } from "../system/errors.js";
import type { Documents } from "./data/documents.js";
import { ignoredLabel } from "./data/render.js";

export interface LossOptions {
  adapters?: readonly AdapterUse[];
  signal?: AbortSignal;
  onProgress?: (done: number) => void; // documents
}

const atOnce = 8; // documents, whose tokens share the steps of the engine; no result depends on it

/** In nats per token that is learned. The sum is in the order of the documents. */
export async function meanLoss(model: Model, documents: Documents, options: LossOptions = {}): Promise<number> {
  const { adapters = [], signal, onProgress } = options;
  let [sum, labels, done] = [0, 0, 0];
  while (done < documents.count) {
    throwIfAborted(signal);
    const group = Array.from({ length: Math.min(atOnce, documents.count - done) }, (_, i) => done + i);
    const parts = await Promise.all(group.map((i) => lossOf(model, documents.read(i), adapters, signal)));
    for (const part of parts) {
      sum += part.sum;
      labels += part.labels;
    }
    done += group.length;
    onProgress?.(done);
  }
  return sum / labels;
}

async function lossOf(
  model: Model,
  { ids, labels }: ReturnType<Documents["read"]>,
  adapters: readonly AdapterUse[],
  signal: AbortSignal | undefined,
): Promise<{ sum: number; labels: number }> {
  const session = model.createSession({ contextSize: ids.length, adapters, sharePrompts: false });
  try {
    const { logprobs } = await session.score(ids, { signal });
    const learned = [...labels.keys()].filter((t) => t > 0 && labels[t] !== ignoredLabel);
    return { sum: learned.reduce((sum, t) => sum - (logprobs[t - 1] ?? 0), 0), labels: learned.length };
  } finally {
    session.close();
  }
}
