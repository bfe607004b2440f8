// Where things are kept between runs. The folders are those of the XDG conventions on every system, as Python's
// huggingface_hub has them, with which the cache of models is shared.

import { homedir } from "node:os";
import { join, resolve } from "node:path";

export type Variables = Readonly<Record<string, string | undefined>>;

/** Models made ready to run; relative to the current directory, as setup_env.py has it. */
export const modelsFolder = "models";

/** What can be found out again: $XDG_CACHE_HOME/bitnet, else ~/.cache/bitnet. */
export function cacheFolder(env: Variables = process.env): string {
  return resolve(userCache(env), "bitnet");
}

/** What the user typed: $XDG_STATE_HOME/bitnet, else ~/.bitnet. */
export function stateFolder(env: Variables = process.env): string {
  return env.XDG_STATE_HOME ? join(env.XDG_STATE_HOME, "bitnet") : join(homedir(), ".bitnet");
}

/** Downloads and the token of the hub: $HF_HOME, else $XDG_CACHE_HOME/huggingface, else ~/.cache/huggingface. */
export function hubFolder(env: Variables = process.env): string {
  return expandHome(env.HF_HOME || join(userCache(env), "huggingface"));
}

function userCache(env: Variables): string {
  return env.XDG_CACHE_HOME || join(homedir(), ".cache");
}

/** A path from a variable, where no shell has replaced the ~. */
export function expandHome(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}
