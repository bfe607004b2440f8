// What tells data from all other data: what is trained of it.

import { createHash } from "node:crypto";
import { at } from "../../system/at.js";
import type { Documents } from "./documents.js";

/** SHA-256 of the token ids and labels of some documents, in their order, and of where each ends. */
export function fingerprint(documents: Documents, numbers: ArrayLike<number>): string {
  const hash = createHash("sha256");
  for (let i = 0; i < numbers.length; i++) {
    const { ids, labels } = documents.read(at(numbers, i));
    for (const values of [Int32Array.of(ids.length), ids, labels]) {
      hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
  }
  return hash.digest("hex");
}
