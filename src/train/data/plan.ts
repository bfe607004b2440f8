// What an epoch consists of: which documents, in which order, cut and joined how, sharing which rows. All of it follows
// from the seed and the number of the epoch.

import { at } from "../../system/at.js";
import type { TrainRow } from "../core/trainable.js";
import type { Documents } from "./documents.js";
import { keyedShare, keyOf, permute } from "./keyed.js";
import { packRows } from "./pack.js";
import { ignoredLabel } from "./render.js";

/** Documents that are drawn alike. */
export interface DocumentGroup {
  documents: ArrayLike<number>;
  /** How often each is seen in an epoch. */
  weight: number;
}

export interface RowOptions {
  /** Tokens that a row may have. */
  length: number;
  /** Several documents in a row. */
  packing: boolean;
  /** Share of the rows that join documents to one, as long as a row is. Default: 0. */
  joinShare?: number;
}

/** One row for the core, and what it is made of. */
export interface TrainingRow extends TrainRow {
  /** Numbers of the documents, for messages. */
  sources: readonly number[];
}

/** Tokens `from` up to but not including `to` of a document. */
interface Piece {
  document: number;
  from: number;
  to: number;
}

/** What the core takes for one document: a piece, or several that were joined. */
type Unit = readonly Piece[];

/** What the keys of random decisions are for. */
const purposes = { order: 1, rows: 2, join: 3, group: 4 } as const;

export class EpochPlan {
  readonly #documents: Documents;
  readonly #units: readonly Unit[];
  readonly #rows: readonly (readonly number[])[];
  /** Rows are taken in this order: packing has put the longest documents of a window first. */
  readonly #key: number | undefined;

  constructor(documents: Documents, units: readonly Unit[], options: RowOptions, key?: number) {
    this.#documents = documents;
    this.#units = units;
    this.#rows = options.packing ? packRows(units.map(lengthOfUnit), options.length) : units.map((_, i) => [i]);
    this.#key = key;
  }

  get rowCount(): number {
    return this.#rows.length;
  }

  get tokenCount(): number {
    return this.#units.reduce((sum, unit) => sum + lengthOfUnit(unit), 0);
  }

  row(index: number): TrainingRow {
    const place = this.#key === undefined ? index : permute(index, this.rowCount, this.#key);
    const units = at(this.#rows, place).map((unit) => at(this.#units, unit));
    const length = units.reduce((sum, unit) => sum + lengthOfUnit(unit), 0);
    const row = {
      ids: new Int32Array(length),
      labels: new Int32Array(length),
      documents: new Int32Array(units.length),
    };
    let offset = 0;
    for (const [i, unit] of units.entries()) {
      row.documents[i] = offset;
      offset = this.#write(unit, row, offset);
    }
    return { ...row, sources: units.flatMap((unit) => unit.map(({ document }) => document)) };
  }

  #write(unit: Unit, { ids, labels }: Pick<TrainingRow, "ids" | "labels">, start: number): number {
    let offset = start;
    for (const { document, from, to } of unit) {
      const read = this.#documents.read(document, from, to);
      ids.set(read.ids, offset);
      labels.set(read.labels, offset);
      // Nothing comes before the first token of a document; that of a joined one follows the end of the last.
      labels[offset] = offset === start ? ignoredLabel : at(read.ids, 0);
      offset += read.ids.length;
    }
    return offset;
  }
}

/** An epoch of training. */
export function planEpoch(
  documents: Documents,
  groups: readonly DocumentGroup[],
  options: RowOptions,
  seed: number,
  epoch: number,
): EpochPlan {
  const order = orderDocuments(groups, seed, epoch);
  const pieces = cutPieces(documents, order, options.length);
  const { joinShare = 0 } = options;
  const joins = (place: number) => keyedShare(keyOf(seed, epoch, purposes.join), place) < joinShare;
  const units = joinShare > 0 ? joinPieces(pieces, options.length, joins) : pieces.map((piece) => [piece]);
  return new EpochPlan(documents, units, options, keyOf(seed, epoch, purposes.rows));
}

/** All of some documents in their order, for evaluation. */
export function planAll(documents: Documents, indices: ArrayLike<number>, options: RowOptions): EpochPlan {
  const pieces = cutPieces(documents, indices, options.length);
  return new EpochPlan(
    documents,
    pieces.map((piece) => [piece]),
    options,
  );
}

/**
 * The documents of an epoch, mixed. A group with a weight goes through its documents in an order of its own, and goes on
 * in the next epoch where it stopped.
 */
function orderDocuments(groups: readonly DocumentGroup[], seed: number, epoch: number): Uint32Array {
  const counts = groups.map(({ documents, weight }) => Math.round(documents.length * weight));
  const drawn = new Uint32Array(counts.reduce((sum, count) => sum + count, 0));
  let end = 0;
  for (const [group, { documents }] of groups.entries()) {
    const count = at(counts, group);
    for (let i = 0; i < count; i++) {
      const place = epoch * count + i;
      const key = keyOf(seed, purposes.group, group, Math.floor(place / documents.length));
      drawn[end++] = at(documents, permute(place % documents.length, documents.length, key));
    }
  }
  const key = keyOf(seed, epoch, purposes.order);
  return drawn.map((_, place) => at(drawn, permute(place, drawn.length, key)));
}

/**
 * Documents that are too long for a row go on in the next one. The last token of a window is the first one of the next:
 * so each token is learned once.
 */
function cutPieces(documents: Documents, order: ArrayLike<number>, length: number): Piece[] {
  const pieces: Piece[] = [];
  for (let i = 0; i < order.length; i++) {
    const document = at(order, i);
    const end = documents.lengthOf(document);
    for (let from = 0; from === 0 || from < end - 1; from += length - 1) {
      pieces.push({ document, from, to: Math.min(end, from + length) });
    }
  }
  return pieces;
}

/** Where `joins` says so, a piece is filled up to a whole row with those that follow it; what is too much is left out. */
function joinPieces(pieces: readonly Piece[], length: number, joins: (place: number) => boolean): Unit[] {
  const units: Unit[] = [];
  for (let next = 0; next < pieces.length; ) {
    const isJoined = joins(next);
    const unit = [at(pieces, next++)];
    for (let left = length - lengthOfUnit(unit); isJoined && left > 0 && next < pieces.length; next++) {
      const piece = at(pieces, next);
      const to = Math.min(piece.to, piece.from + left);
      unit.push({ ...piece, to });
      left -= to - piece.from;
    }
    units.push(unit);
  }
  return units;
}

function lengthOfUnit(unit: Unit): number {
  return unit.reduce((sum, { from, to }) => sum + to - from, 0);
}
