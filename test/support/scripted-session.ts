// A session whose network says what it is told, with a small real vocabulary whose tokens carry their leading space
// (SPM) and that has a token for every byte.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Session } from "../../src/engine/model.js";
import { openTokenizer, type Tokenizer } from "../../src/engine/tokenizer.js";
import type { NativeSession } from "../../src/native/addon.js";
import { writeGguf } from "./write-gguf.js";

const texts = ["<unk>", "<s>", "</s>", "▁Once", "▁upon", "▁a", "▁time", ",", "▁", "e"];
const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
const tokens = [...texts, ...bytes];
const kinds = [2, 3, 3, ...texts.slice(3).map(() => 1), ...bytes.map(() => 6)];

export const idOf = (text: string) => tokens.indexOf(text);
export const byteId = (byte: number) => texts.length + byte;
export const bytesOf = (text: string) => [...Buffer.from(text)].map(byteId);

export function openSpmTokenizer(): Tokenizer {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-spm-"));
  try {
    const path = join(folder, "spm.gguf");
    writeGguf(path, {
      "general.architecture": "llama",
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.scores": Float32Array.from(tokens, (_, id) => -id),
      "tokenizer.ggml.token_type": Int32Array.from(kinds),
      "tokenizer.ggml.bos_token_id": 1,
      "tokenizer.ggml.eos_token_id": 2,
    });
    return openTokenizer(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Its network chooses `ids`, whatever the prompt, and then ends the text. */
export function scriptedSession(tokenizer: Tokenizer, ids: readonly number[], contextSize = 64): Session {
  let next = 0;
  let isAborted = false;
  const generate: NativeSession["generate"] = async (tokens, { maxTokens }, listen) => {
    isAborted = false;
    const room = contextSize - tokens.length + 1;
    const outcome = { reused: 0, evaluated: 0, queueMs: 0, promptMs: 0, generateMs: 0 };
    listen({ steps: [], queueMs: 0, reused: 0, evaluated: 0 });
    for (let count = 1; ; count++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (isAborted) {
        listen({ steps: [], error: Object.assign(new Error("stopped"), { code: "ABORTED" }) });
        return;
      }
      const id = ids[next++] ?? idOf("</s>");
      const limit = count === maxTokens ? "length" : count === room ? "context" : undefined;
      const finish = id === idOf("</s>") ? "eog" : limit;
      listen({ steps: [{ id }], done: finish === undefined ? undefined : { ...outcome, finish } });
      if (finish !== undefined) {
        return;
      }
    }
  };
  const native: NativeSession = {
    contextSize,
    kvBytes: 0,
    tokens: () => Int32Array.of(),
    prefill: async () => ({ reused: 0, evaluated: 0 }),
    generate,
    acknowledge: () => {},
    setWaiting: () => {},
    truncate: () => {},
    score: async () => ({
      logprobs: Float64Array.of(),
      likeliest: Uint8Array.of(),
      reused: 0,
      evaluated: 0,
    }),
    embed: async () => Float32Array.of(),
    keepHidden: async () => ({ reused: 0, evaluated: 0 }),
    logitsOf: async () => {},
    logits: () => Float32Array.of(),
    save: async () => ({ tokens: 0, bytes: 0 }),
    restore: async () => ({ tokens: 0, bytes: 0 }),
    timePass: async () => ({ prefill: 0, decode: 0, evaluated: 0 }),
    abort: () => {
      isAborted = true;
    },
    close: () => {},
  };
  return new Session(native, tokenizer);
}
