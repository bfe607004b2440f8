// Where things are kept between runs. The folders are those of the XDG conventions on every system, as Python's
// huggingface_hub has them, with which the cache of models is shared. A user without a home (a bare number in a
// container, HOME unset) has none of the folders below it: they are undefined, and only what cannot do without one fails.

import { mkdtemp } from "node:fs/promises";
import { homedir, tmpdir, userInfo } from "node:os";
import { join, resolve, sep } from "node:path";
import { BitnetError, withContext } from "./errors.js";

export type Variables = Readonly<Record<string, string | undefined>>;

/** Models of the current folder, where bitnet.cpp's scripts put and look for them. */
export const localModelsFolder = "models";

/** Models made ready to run: $BITNET_MODELS, else $XDG_DATA_HOME/bitnet/models, else ~/.local/share/bitnet/models. */
export function findModelsFolder(env: Variables = process.env): string | undefined {
  if (env.BITNET_MODELS) {
    return resolve(expandHome(env.BITNET_MODELS));
  }
  const data = env.XDG_DATA_HOME || below(homeFolder(), ".local", "share");
  return data === undefined ? undefined : resolve(data, "bitnet", "models");
}

/** The same where a model is to be written. */
export function modelsFolder(env: Variables = process.env): string {
  const folder = findModelsFolder(env);
  if (folder === undefined) {
    throw new BitnetError("NOT_FOUND", "this user has no home folder to keep models in", {
      hint: "set BITNET_MODELS to a folder for models, or name one with -md DIR",
    });
  }
  return folder;
}

/** Where models are looked for: the user's folder, then that of the current folder. */
export function modelsFolders(env: Variables = process.env): string[] {
  const own = findModelsFolder(env);
  const local = resolve(localModelsFolder);
  return own === undefined || own === local ? [local] : [own, local];
}

/** What can be found out again: $XDG_CACHE_HOME/bitnet, else ~/.cache/bitnet. */
export function cacheFolder(env: Variables = process.env): string | undefined {
  const folder = below(userCache(env), "bitnet");
  return folder === undefined ? undefined : resolve(folder);
}

/** What the user typed, and what took long to find out: $XDG_STATE_HOME/bitnet, else ~/.bitnet. */
export function stateFolder(env: Variables = process.env): string | undefined {
  return env.XDG_STATE_HOME ? join(env.XDG_STATE_HOME, "bitnet") : below(homeFolder(), ".bitnet");
}

/** What the user has set down for good: $XDG_CONFIG_HOME/bitnet, else ~/.config/bitnet. */
export function configFolder(env: Variables = process.env): string | undefined {
  const folder = env.XDG_CONFIG_HOME || below(homeFolder(), ".config");
  return folder === undefined ? undefined : resolve(folder, "bitnet");
}

/** Downloads and the token of the hub: $HF_HOME, else $XDG_CACHE_HOME/huggingface, else ~/.cache/huggingface. */
export function hubFolder(env: Variables = process.env): string | undefined {
  return env.HF_HOME ? expandHome(env.HF_HOME) : below(userCache(env), "huggingface");
}

function userCache(env: Variables): string | undefined {
  return env.XDG_CACHE_HOME || below(homeFolder(), ".cache");
}

function below(folder: string | undefined, ...parts: string[]): string | undefined {
  return folder === undefined ? undefined : join(folder, ...parts);
}

/** Of this user; undefined if there is neither HOME nor an entry in the list of users. */
export function homeFolder(): string | undefined {
  // With an empty HOME, homedir() is empty.
  for (const find of [homedir, () => userInfo().homedir]) {
    try {
      const home = find();
      if (home !== "") {
        return home;
      }
    } catch {} // no such user
  }
  return undefined;
}

/** A path from a variable, where no shell has replaced the ~. */
export function expandHome(path: string): string {
  if (path !== "~" && !path.startsWith("~/") && !path.startsWith(`~${sep}`)) {
    return path;
  }
  const home = homeFolder();
  if (home === undefined) {
    throw new BitnetError("NOT_FOUND", `${path}: this user has no home folder`, { hint: "write the whole path" });
  }
  return join(home, path.slice(1));
}

/** The path as people write it: with ~ for the home folder. */
export function shortenHome(path: string): string {
  const home = homeFolder();
  const isBelow = home !== undefined && home !== "/" && (path === home || path.startsWith(join(home, "/")));
  return isBelow ? `~${path.slice(home.length)}` : path;
}

/** The variable that names the folder of temporary files. */
const temporary = process.platform === "win32" ? "TEMP" : "TMPDIR";

/** A new empty folder for temporary files, which the caller deletes. */
export async function makeTemporaryFolder(prefix: string, parent = tmpdir()): Promise<string> {
  try {
    return await mkdtemp(join(parent, prefix));
  } catch (error) {
    const { code, message } = withContext(`no temporary folder can be made in ${parent}`, error);
    throw new BitnetError(code, message, { hint: `set ${temporary} to a folder that can be written to`, cause: error });
  }
}
