// What a data set is to the rest: documents of a split, and where they came from.

export type { DatasetSource } from "../../hub/dataset.js";

/** One row of a data set, by its columns. */
export type Doc = Readonly<Record<string, unknown>>;

export interface DataSplit {
  documents: Doc[];
  /** The commit of the data set, where it came from the hub. */
  revision?: string;
  /** The file, or the folder of several, that was read. */
  path: string;
}
