// What a data set is to the rest: documents of a split, and where they came from.

/** One row of a data set, by its columns. */
export type Doc = Readonly<Record<string, unknown>>;

/** A data set of the Hugging Face hub. */
export interface DatasetSource {
  /** "allenai/ai2_arc". */
  id: string;
  /** One of its parts, such as "ARC-Challenge"; its only one if there is none here. */
  config?: string;
}

export interface DataSplit {
  documents: Doc[];
  /** The commit of the data set, where it came from the hub. */
  revision?: string;
  /** The file or the folder that was read. */
  path: string;
}
