// The record of what the bundled model must compute (models/README.md says where it comes from).

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { BitnetError, withContext } from "../system/errors.js";
import { packageRoot } from "../system/package.js";

export interface Golden {
  /** SHA-256 of the model's file. */
  sha256: string;
  prompt: string;
  ids: number[];
  /** After the prompt. */
  logits: Float32Array;
  /** The likeliest tokens, one after the other, and their text. */
  greedy: number[];
  text: string;
}

export const goldenPath = join(packageRoot, "models", "tiny-bitnet.golden.json");

export async function readGolden(path = goldenPath): Promise<Golden> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    const { code, message } = withContext(path, error);
    throw new BitnetError(code, message, { hint: "install the package again", cause: error });
  });
  try {
    const { model, logits, ...record } = JSON.parse(text) as Omit<Golden, "sha256" | "logits"> & {
      model: { sha256: string };
      logits: string;
    };
    const bytes = Buffer.from(logits, "base64");
    const values = Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
    return { ...record, sha256: model.sha256, logits: values };
  } catch (cause) {
    throw new BitnetError("BAD_FILE", `${path} is damaged`, { hint: "install the package again", cause });
  }
}
