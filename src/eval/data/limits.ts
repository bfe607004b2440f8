// What a data set may cost. The largest test that is in use has 18 000 rows, the largest set of examples 140 000.

import { BitnetError } from "../../system/errors.js";

/** Of one row as text. */
export const maxRowBytes = 16 * 2 ** 20;
/** Of all rows of a split as text; they are kept in memory. */
export const maxTextBytes = 2 ** 30;
export const maxRows = 2_000_000;
export const maxColumns = 2000;
/** Lists and records in each other; whoever writes them out again needs stack for each. */
export const maxNesting = 64;

/** Counts what the rows of one split add up to; throws BAD_FILE at the limit. */
export class Budget {
  #rows = 0;
  #bytes = 0;

  add(path: string, bytes: number): void {
    this.#rows++;
    this.#bytes += bytes;
    if (this.#rows > maxRows || this.#bytes > maxTextBytes) {
      const limit = this.#rows > maxRows ? `${maxRows} rows` : `${maxTextBytes / 2 ** 20} MiB of text`;
      throw new BitnetError("BAD_FILE", `${path} has more than ${limit}`, { hint: "cut it down to what is needed" });
    }
  }
}
