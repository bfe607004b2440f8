// What --data names: files, or data sets on the hub.

import { existsSync } from "node:fs";
import { extname } from "node:path";
import { type LoadSplitOptions, loadSplit } from "../eval/data/load.js";
import { type DataSource, parseSource } from "../train/data/sources.js";

/** A data set on the hub: OWNER/NAME, OWNER/NAME/CONFIG, either with :SPLIT behind it. */
const hubName = /^([\w.-]+\/[\w.-]+)(?:\/([\w.-]+))?(?::([A-Za-z]\w*))?$/;

/**
 * The source that a value of --data is: FILE or FILE:WEIGHT; what is no file and has the form of a name on the hub is a data
 * set there, which is downloaded to the cache. Its rows are held in memory, within the limits of evaluation data.
 */
export async function openTrainingSource(text: string, options: LoadSplitOptions = {}): Promise<DataSource> {
  const source = parseSource(text);
  const [, id, config, split = "train"] = hubName.exec(source.name) ?? [];
  if (id === undefined || existsSync(source.name) || looksLikeFile(source.name)) {
    return source;
  }
  const { documents } = await loadSplit({ id, config }, split, options);
  return { ...source, rows: documents };
}

/** A path that somebody has mistyped is not asked for on the hub. */
function looksLikeFile(name: string): boolean {
  return [".jsonl", ".json", ".txt", ".gz", ".parquet", ".csv"].includes(extname(name).toLowerCase());
}
