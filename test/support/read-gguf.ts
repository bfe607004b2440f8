// Metadata of GGUF files byte by byte, read without the library.

import { readGguf } from "./edit-gguf.js";

/** Every key in file order with what stands after it: the type and the value. */
export function readMetadataBytes(path: string): Map<string, Buffer> {
  return readGguf(path).metadata;
}
