// Which documents share a row. A row is one stretch of the context; its documents do not see each other, so packing
// decides about nothing but how full rows are.

import { at } from "../../system/at.js";

/** Documents are packed within windows of so many, in the order of the epoch. */
export const packingWindow = 1000;

/**
 * Best fit, longest first: each document goes into the fullest row that has room for it, or opens a row. Among equals
 * the first one counts, documents as well as rows. Returns rows of indices into `lengths`, none of which may be above
 * `capacity`.
 */
export function packRows(lengths: ArrayLike<number>, capacity: number): number[][] {
  const rows: number[][] = [];
  for (let from = 0; from < lengths.length; from += packingWindow) {
    for (const row of packWindow(lengths, from, Math.min(from + packingWindow, lengths.length), capacity)) {
      rows.push(row);
    }
  }
  return rows;
}

function packWindow(lengths: ArrayLike<number>, from: number, to: number, capacity: number): number[][] {
  const order = Array.from({ length: to - from }, (_, i) => from + i);
  order.sort((a, b) => at(lengths, b) - at(lengths, a) || a - b);
  const rows: number[][] = [];
  const room: number[] = [];
  for (const index of order) {
    const length = at(lengths, index);
    let best = -1;
    for (let row = 0; row < room.length; row++) {
      const left = at(room, row);
      if (left >= length && (best < 0 || left < at(room, best))) {
        best = row;
      }
    }
    if (best < 0) {
      rows.push([index]);
      room.push(capacity - length);
    } else {
      at(rows, best).push(index);
      room[best] = at(room, best) - length;
    }
  }
  return rows;
}
