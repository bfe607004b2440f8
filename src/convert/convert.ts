// A checkpoint directory or a GGUF file -> a GGUF file, one tensor at a time, verified after writing.

import { stat } from "node:fs/promises";
import { convertingAsync } from "../system/errors.js";
import { checkOptionNames } from "../system/options.js";
import { type ConvertOptions, convertOptions } from "./options.js";
import type { ConvertReport } from "./plan.js";
import { planCheckpoint } from "./plan-checkpoint.js";
import { planGguf } from "./plan-gguf.js";
import { parseTypes } from "./types.js";
import { writeModel } from "./write.js";

/** Converts; on any failure nothing is left under `outfile`. */
export async function convertCheckpoint(options: ConvertOptions): Promise<ConvertReport> {
  checkOptionNames("convertCheckpoint", options, convertOptions);
  const types = parseTypes(options);
  return convertingAsync(async () => {
    const isDirectory = (await stat(options.source)).isDirectory();
    const plan = isDirectory ? await planCheckpoint(options, types) : await planGguf(options, types);
    return writeModel(plan, options);
  });
}
