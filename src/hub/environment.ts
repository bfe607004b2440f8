// What the environment says about the hub: the same variables, files and defaults as Python's huggingface_hub.

import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { BitnetError } from "../system/errors.js";
import { expandHome, hubFolder, type Variables } from "../system/folders.js";

export interface HubEnvironment {
  /** Without a slash at its end. Default: https://huggingface.co */
  endpoint: string;
  /** Never to be printed. */
  token?: string;
  /** Where the token came from, for messages: "HF_TOKEN" or a path. */
  tokenSource?: string;
  /** Holds one folder per repository: models--owner--name, datasets--owner--name. Undefined: this user has no home folder to keep it in. */
  cacheDir: string | undefined;
  /** Nothing but the cache is to be used. */
  offline: boolean;
  /** Without a byte for so long, a download counts as cut. Default: 60000. */
  downloadTimeoutMs?: number;
  /** The same for the questions about a repository. Default: that of downloads. */
  lookupTimeoutMs?: number;
}

export async function readHubEnvironment(env: Variables = process.env): Promise<HubEnvironment> {
  const home = hubFolder(env);
  return {
    endpoint: readEndpoint(env),
    cacheDir: findCache(env, home),
    offline: isOn(env.HF_HUB_OFFLINE) || isOn(env.TRANSFORMERS_OFFLINE),
    ...readTimeouts(env),
    ...(await readToken(env, home)),
  };
}

function readTimeouts(env: Variables): Pick<HubEnvironment, "downloadTimeoutMs" | "lookupTimeoutMs"> {
  const downloadTimeoutMs = readSeconds(env, "HF_HUB_DOWNLOAD_TIMEOUT");
  const lookupTimeoutMs = readSeconds(env, "HF_HUB_ETAG_TIMEOUT");
  return { ...(downloadTimeoutMs && { downloadTimeoutMs }), ...(lookupTimeoutMs && { lookupTimeoutMs }) };
}

const maxTimeoutSeconds = 24 * 3600;

function readSeconds(env: Variables, name: string): number | undefined {
  const text = env[name]?.trim();
  if (!text) {
    return undefined;
  }
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= maxTimeoutSeconds)) {
    throw new BitnetError(
      "USAGE",
      `${name}: expected a number of seconds, up to ${maxTimeoutSeconds}, but got ${text}`,
    );
  }
  return seconds * 1000;
}

function findCache(env: Variables, home: string | undefined): string | undefined {
  const named = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || (home === undefined ? undefined : join(home, "hub"));
  return named === undefined ? undefined : resolve(expandHome(named));
}

/** The cache, where something is to be written to it. */
export function requireCache({ cacheDir }: HubEnvironment): string {
  if (cacheDir === undefined) {
    throw new BitnetError("NOT_FOUND", "this user has no home folder to keep downloads in", {
      hint: "set HF_HOME to a folder for them",
    });
  }
  return cacheDir;
}

function readEndpoint(env: Variables): string {
  const text = env.HF_ENDPOINT || "https://huggingface.co";
  const hint = "set HF_ENDPOINT to an address like https://huggingface.co, or unset it";
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new BitnetError("USAGE", "HF_ENDPOINT is not an address", { hint }); // not quoted: it may hold a password
  }
  if (!/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") {
    throw new BitnetError("USAGE", "HF_ENDPOINT must be an http or https address without a user name", { hint });
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

async function readToken(env: Variables, home: string | undefined): Promise<{ token?: string; tokenSource?: string }> {
  if (isOn(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) {
    return {};
  }
  for (const name of ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
    const token = env[name]?.trim();
    if (token) {
      return { token: checkedToken(token, name), tokenSource: name };
    }
  }
  const named = env.HF_TOKEN_PATH || (home === undefined ? undefined : join(home, "token"));
  if (named === undefined) {
    return {};
  }
  const path = expandHome(named);
  const token = (await readFile(path, "utf8").catch(() => "")).trim();
  return token === "" ? {} : { token: checkedToken(token, path), tokenSource: path };
}

// A header cannot hold other characters, and the error of fetch would quote them.
function checkedToken(token: string, source: string): string {
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new BitnetError("USAGE", `the token in ${source} holds characters that no token has`, {
      hint: "copy it again from https://huggingface.co/settings/tokens",
    });
  }
  return token;
}

function isOn(value: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(value ?? "");
}
