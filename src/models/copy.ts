// A new name for a model in the folder of models.

import { constants, copyFile, link, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { openGguf } from "../gguf/gguf.js";
import { at } from "../system/at.js";
import { BitnetError, withContext } from "../system/errors.js";
import { makeFolder, writeThenRename } from "../system/files.js";
import { modelsFolder } from "../system/folders.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { weightTypeOf } from "./check.js";
import { copyProvenance } from "./provenance.js";

export interface CopyModelOptions {
  /** Default: the user's folder of models. */
  modelDir?: string;
}

const copyOptions: OptionNames<CopyModelOptions> = { modelDir: true };

export interface CopiedModel {
  path: string;
  /** Both names are of one file; else it is a copy, on another disk. */
  shared: boolean;
}

/** Gives the model at `source`, with all its parts, the name `name`. Throws USAGE if there is a model of that name and type. */
export async function copyModel(source: string, name: string, options: CopyModelOptions = {}): Promise<CopiedModel> {
  checkOptionNames("copyModel", options, copyOptions);
  if (!/^\w[\w.@-]{0,95}$/.test(name) || /\.(gguf|json)$/i.test(name) || name.endsWith(".")) {
    throw new BitnetError("USAGE", `${JSON.stringify(name)} cannot be the name of a model`, {
      hint: "expected letters, digits and . _ - @, such as my-model",
    });
  }
  const gguf = openGguf(source);
  const type = weightTypeOf(gguf).toLowerCase();
  const folder = join(options.modelDir ?? modelsFolder(), name);
  const paths = gguf.paths.map((part) => join(folder, `ggml-model-${type}${numberOf(part)}.gguf`));
  const [path = ""] = paths;
  if ((await stat(path).catch(() => undefined)) !== undefined) {
    throw new BitnetError("USAGE", `there is a model ${name}:${type} already`, { hint: `bitnet rm ${name}:${type}` });
  }
  try {
    await makeFolder(folder);
    let shared = true;
    for (const [i, part] of gguf.paths.entries()) {
      const file = await realpath(part);
      shared = (await writeThenRename(at(paths, i), (partial) => linkOrCopy(file, partial))) && shared;
    }
    await copyProvenance(source, path);
    return { path, shared };
  } catch (error) {
    throw withContext(`cannot write ${path}`, error);
  }
}

/** "-00001-of-00003" of a part, "" of a model in one file. */
function numberOf(path: string): string {
  return /(-\d{5}-of-\d{5})\.gguf$/i.exec(path)?.[1] ?? "";
}

async function linkOrCopy(source: string, target: string): Promise<boolean> {
  try {
    await link(source, target);
    return true;
  } catch {
    await copyFile(source, target, constants.COPYFILE_FICLONE);
    return false;
  }
}
