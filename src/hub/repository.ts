// owner/name@revision to a commit and its files, from the hub or, offline, from the cache.

import type { ListFileEntry } from "@huggingface/hub";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import {
  checkRelativePath,
  listSnapshot,
  type RepositoryPaths,
  type RepositoryType,
  readRef,
  repositoryPaths,
} from "./cache.js";
import { type Hub, type HubRequest, requestHub } from "./http.js";

export interface RepositoryFile {
  /** With slashes. */
  path: string;
  size: number;
  /** How the contents are checked; also the name of the blob. Absent for a file of the cache. */
  hash?: { kind: "sha256" | "git-sha1"; hex: string };
}

export interface Repository {
  /** owner/name */
  name: string;
  /** Absent: a model. */
  type?: RepositoryType;
  /** As asked for: a branch, a tag or a commit. */
  revision: string;
  commit: string;
  files: RepositoryFile[];
  paths: RepositoryPaths;
  /** The listing comes from the cache: nothing else can be had. */
  fromCache: boolean;
}

export interface RepositoryName {
  name: string;
  revision: string;
  /** Default: a model. */
  type?: RepositoryType;
}

/** Where a repository lies on the hub, below its address. */
export function hubPathOf({ name, type }: Pick<RepositoryName, "name" | "type">): string {
  return type === "dataset" ? `datasets/${name}` : name;
}

const lookupAttempts = 4; // some five seconds: whoever has the files in the cache should not wait long for the hub
const maxFiles = 100_000; // no repository of a model comes near, nor one of a data set that is a test
const maxFileSize = 2 ** 45; // the same

/** Reads "owner/name" or "owner/name@revision"; undefined if `text` is no such name. */
export function parseRepositoryName(text: string): RepositoryName | undefined {
  const match = /^([\w][\w.-]*\/[\w][\w.-]*)(?:@(.+))?$/.exec(text);
  if (match === null) {
    return undefined;
  }
  const [name, revision = "main"] = [at(match, 1), match[2]];
  const bad = /\.\.|--/.test(name) || name.length > 96 || !/^[\w][\w./+-]*$/.test(revision) || revision.includes("..");
  return bad || /\/\/|\/$|\.lock$/.test(revision) ? undefined : { name, revision };
}

/** The same; throws USAGE. */
export function readRepositoryName(text: string): RepositoryName {
  const name = parseRepositoryName(text);
  if (name === undefined) {
    throw new BitnetError("USAGE", `"${text}" is not the name of a repository`, {
      hint: "expected owner/name or owner/name@revision, like microsoft/BitNet-b1.58-2B-4T",
    });
  }
  return name;
}

/** Of a model in several files, "name-00001-of-00003.gguf", all parts by the name of any; else the file alone. */
export function listParts(path: string): string[] {
  const match = /^(.*)-(\d{5})-of-(\d{5})(\.gguf)$/i.exec(path);
  const [, name = "", , count = "", end = ""] = match ?? [];
  const number = (i: number) => String(i + 1).padStart(5, "0");
  return match === null
    ? [path]
    : Array.from({ length: Number(count) }, (_, i) => `${name}-${number(i)}-of-${count}${end}`);
}

/** Finds the commit of a repository and its files. */
export async function openRepository(
  hub: Hub,
  wanted: RepositoryName,
  options: { signal?: AbortSignal } = {},
): Promise<Repository> {
  const { name, revision } = wanted;
  const cached = () => openCached(hub, wanted);
  if (hub.environment.offline) {
    const repository = await cached();
    if (repository === undefined) {
      throw new BitnetError("NOT_FOUND", `${name}@${revision} is not in the cache, and HF_HUB_OFFLINE is set`, {
        hint: `unset HF_HUB_OFFLINE to download it (cache: ${hub.environment.cacheDir ?? "none"})`,
      });
    }
    return repository;
  }
  try {
    return await openRemote(hub, wanted, options.signal);
  } catch (error) {
    // Out of reach is not refused: what has been downloaded before is still good.
    const unreachable = error instanceof BitnetError && error.cause !== undefined && error.code === "NETWORK";
    const repository = unreachable ? await cached() : undefined;
    if (repository === undefined) {
      throw error;
    }
    hub.onNote(`${error instanceof Error ? error.message : error}; using the files in the cache`);
    return repository;
  }
}

async function openRemote(hub: Hub, wanted: RepositoryName, signal: AbortSignal | undefined): Promise<Repository> {
  const { datasetInfo, listFiles, modelInfo } = await import("@huggingface/hub");
  const { name, revision, type = "model" } = wanted;
  const request: HubRequest = { repo: hubPathOf(wanted), subject: `${name}@${revision}`, signal };
  const { attempts, stallMs } = hub.retry;
  const timeout = hub.environment.lookupTimeoutMs ?? stallMs;
  const retry = { ...hub.retry, attempts: Math.min(attempts, lookupAttempts), stallMs: timeout };
  const common = { hubUrl: hub.environment.endpoint, fetch: asFetch({ ...hub, retry }, request) };
  const asked = { ...common, name, revision };
  const info = await reading<{ sha?: string }>(request, () =>
    type === "model"
      ? modelInfo({ ...asked, additionalFields: ["sha"] })
      : datasetInfo({ ...asked, additionalFields: ["sha"] }),
  );
  const commit = String(info.sha);
  if (!/^[0-9a-f]{40}$/.test(commit)) {
    throw unexpectedError(request, "it names no commit");
  }
  const files: RepositoryFile[] = [];
  await reading(request, async () => {
    for await (const entry of listFiles({ ...common, repo: { type, name }, revision: commit, recursive: true })) {
      if (entry.type === "file") {
        files.push(readEntry(entry, request));
      }
      if (files.length > maxFiles) {
        throw unexpectedError(request, `it lists more than ${maxFiles} files`);
      }
    }
  });
  const paths = repositoryPaths(hub.environment.cacheDir, name, type);
  return { name, type, revision, commit, files, paths, fromCache: false };
}

/** The hub library's requests, with our token, retries and errors. */
function asFetch(hub: Hub, request: HubRequest): typeof fetch {
  return (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = Object.fromEntries(new Headers(init?.headers));
    return requestHub(hub, atEndpoint(url, hub.environment.endpoint, request), { ...request, headers });
  };
}

/** The next page of a listing: some mirrors pass on the hub's own address of it. */
function atEndpoint({ href, host, pathname, search }: URL, endpoint: string, request: HubRequest): string {
  if (href.startsWith(`${endpoint}/`)) {
    return href;
  }
  const api = pathname.search(/\/api\/(models|datasets)\//);
  if (api < 0) {
    throw unexpectedError(request, `it goes on at ${host}`);
  }
  return `${endpoint}${pathname.slice(api)}${search}`;
}

async function reading<T>(request: HubRequest, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (error instanceof BitnetError) {
      throw error;
    }
    throw unexpectedError(request, "it cannot be read", error);
  }
}

function unexpectedError({ subject }: HubRequest, what: string, cause?: unknown): BitnetError {
  return new BitnetError("NETWORK", `${subject}: the answer of the hub is not what was expected: ${what}`, {
    hint: "check HF_ENDPOINT and the proxy: something else may have answered",
    cause: cause ?? what,
  });
}

function readEntry({ path, size, oid, lfs }: ListFileEntry, request: HubRequest): RepositoryFile {
  checkRelativePath(path);
  const hash = lfs === undefined ? { kind: "git-sha1" as const, hex: oid } : { kind: "sha256" as const, hex: lfs.oid };
  const length = hash.kind === "sha256" ? 64 : 40;
  const bytes = lfs?.size ?? size;
  const { hex } = hash;
  if (typeof hex !== "string" || hex.length !== length || /[^0-9a-f]/.test(hex)) {
    throw unexpectedError(request, `${path} has no checksum`);
  }
  if (!Number.isInteger(bytes) || bytes < 0 || bytes > maxFileSize) {
    throw unexpectedError(request, `${path} has no size`);
  }
  return { path, size: bytes, hash: { kind: hash.kind, hex } };
}

async function openCached(hub: Hub, { name, revision, type }: RepositoryName): Promise<Repository | undefined> {
  const paths = repositoryPaths(hub.environment.cacheDir, name, type);
  const commit = /^[0-9a-f]{40}$/.test(revision) ? revision : await readRef(paths, revision);
  const files = commit === undefined ? [] : await listSnapshot(paths, commit);
  if (commit === undefined || files.length === 0) {
    return undefined;
  }
  const listed = files.map(({ path, size }) => ({ path, size }));
  return { name, type, revision, commit, files: listed, paths, fromCache: true };
}
