// What the files of sentence-transformers beside a checkpoint say: how texts become vectors, and what stands before them.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { BitnetError } from "../system/errors.js";
import { readJsonFile } from "../system/json.js";
import { readOptionalJson } from "./checkpoint.js";

/** Their names in a checkpoint. */
export const modulesFile = "modules.json";
export const poolingFile = "1_Pooling/config.json";
export const promptsFile = "config_sentence_transformers.json";

export interface TextPrompts {
  prompts: [name: string, text: string][];
  /** The one that sentence-transformers uses unasked. */
  standard?: string;
}

type Json = Record<string, unknown>;

// Names of pooling_mode, and of the booleans in its place -> pooling_type of GGUF; undefined: there is none.
const modes: { name: string; boolean: string; type?: number }[] = [
  { name: "mean", boolean: "pooling_mode_mean_tokens", type: 1 },
  { name: "cls", boolean: "pooling_mode_cls_token", type: 2 },
  { name: "lasttoken", boolean: "pooling_mode_lasttoken", type: 3 },
  { name: "max", boolean: "pooling_mode_max_tokens" },
  { name: "mean_sqrt_len_tokens", boolean: "pooling_mode_mean_sqrt_len_tokens" },
  { name: "weightedmean", boolean: "pooling_mode_weightedmean_tokens" },
];
// Vectors are brought to length 1 where they are used.
const knownModules = /\.(Transformer|Pooling|Normalize)$/;

const mostBytes = 2 ** 20;
const mostPrompts = 1000;
const longestName = 200;
const longestPrompt = 2 ** 16;

/** pooling_type of a model of text embeddings; the mean unless its files say otherwise. undefined: it is no such model. */
export async function readPooling(directory: string, hasHead: boolean): Promise<number | undefined> {
  const path = join(directory, poolingFile);
  const pooling = await readOptionalJson(path);
  const hasModules = existsSync(join(directory, modulesFile));
  if (pooling === undefined && hasHead && !hasModules) {
    return undefined;
  }
  await checkModules(directory);
  return pooling === undefined ? 1 : poolingType(pooling, path);
}

function poolingType(json: Json, path: string): number {
  const { pooling_mode: named } = json;
  const wanted = Array.isArray(named)
    ? named.map(String)
    : named === undefined || named === null
      ? []
      : [String(named)];
  const unknown = wanted.find((name) => !modes.some((mode) => mode.name === name));
  const chosen = modes.filter((mode) => (wanted.length > 0 ? wanted.includes(mode.name) : json[mode.boolean] === true));
  const [mode = modes[0]] = chosen;
  if (unknown !== undefined || chosen.length > 1 || mode?.type === undefined) {
    const what = unknown ?? chosen.map(({ name }) => name).join(" and ");
    throw new BitnetError("UNSUPPORTED", `${path}: pooling by ${what}; mean, cls or lasttoken alone is supported`);
  }
  return mode.type;
}

/** Refuses what changes the vectors after the pooling. */
async function checkModules(directory: string): Promise<void> {
  const path = join(directory, modulesFile);
  const list: unknown = existsSync(path) ? await readJsonFile(path, mostBytes) : [];
  for (const module of Array.isArray(list) ? (list as unknown[]) : []) {
    const { type } = (module ?? {}) as Json;
    if (typeof type === "string" && !knownModules.test(type)) {
      throw new BitnetError("UNSUPPORTED", `${path}: a module of type ${type}, which is not supported`);
    }
  }
}

/** undefined where there are none. */
export async function readPrompts(directory: string): Promise<TextPrompts | undefined> {
  const path = join(directory, promptsFile);
  const json = await readOptionalJson(path);
  const entries = Object.entries((json?.prompts ?? {}) as Json);
  if (json === undefined || entries.length === 0) {
    return undefined;
  }
  const prompts = entries.map(([name, text]): [string, string] => {
    const isGood =
      typeof text === "string" && text.length <= longestPrompt && name !== "" && name.length <= longestName;
    if (!isGood || entries.length > mostPrompts) {
      throw new BitnetError(
        "BAD_FILE",
        `${path}: expected at most ${mostPrompts} prompts, each a name and a text, of at most ${longestName} and ${longestPrompt} characters`,
      );
    }
    return [name, text];
  });
  const standard = json.default_prompt_name;
  return { prompts, standard: typeof standard === "string" ? standard : undefined };
}
