// The metadata and tensor list of a GGUF file on the hub, without downloading its weights.
//
// The beginning of the file goes into a temporary file that is then stretched to the full size without using disk
// space, so the one reader of the project reads it and still checks every tensor against the size of the file.

import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Gguf, openGguf } from "../gguf/gguf.js";
import { BitnetError } from "../system/errors.js";
import { makeTemporaryFolder } from "../system/folders.js";
import { locateBody, readChunk } from "./answers.js";
import { sizeOf, snapshotPath } from "./cache.js";
import { contentsUrl, type Hub, type HubRequest, requestOnce } from "./http.js";
import type { Repository, RepositoryFile } from "./repository.js";
import { retrying, TransientError } from "./retry.js";

const firstBytes = 2 ** 20;
const mostBytes = 2 ** 28; // the largest vocabularies need some 16 MB

/** Opens `path` of the repository, of a model in several files that part alone; from the cache if it is there. */
export async function openRemoteGguf(
  hub: Hub,
  repository: Repository,
  path: string,
  options: { signal?: AbortSignal } = {},
): Promise<Gguf> {
  const file = repository.files.find((candidate) => candidate.path === path);
  if (file === undefined) {
    throw new BitnetError("NOT_FOUND", `${repository.name} holds no ${path}`);
  }
  const cached = snapshotPath(repository.paths, repository.commit, path);
  if ((await sizeOf(cached)) === file.size) {
    return openGguf(cached, { alone: true }); // as one of the hub: its other parts may not be here
  }
  const folder = await makeTemporaryFolder("bitnet-header-");
  try {
    const copy = join(folder, "header.gguf");
    const handle = await open(copy, "w");
    try {
      let isGguf = false;
      for (let have = 0, want = firstBytes; ; want *= 4) {
        const end = Math.min(want, file.size);
        if (end > have) {
          const bytes = await fetchRange(hub, repository, file, have, end, options.signal);
          await handle.write(bytes, 0, bytes.length, have);
          await handle.truncate(file.size);
          isGguf ||= new TextDecoder().decode(bytes.subarray(0, 4)) === "GGUF";
        }
        have = end;
        const gguf = tryOpen(copy, have, !isGguf || end === file.size || want >= mostBytes);
        if (gguf !== undefined) {
          return gguf; // it keeps the file mapped
        }
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw error instanceof BitnetError ? renamed(error, folder, `${repository.name}/${path}`) : error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The same error about the file that the user named. */
function renamed({ code, message, hint, cause }: BitnetError, folder: string, name: string): BitnetError {
  return new BitnetError(code, message.replaceAll(join(folder, "header.gguf"), name), { hint, cause });
}

/** The file, if the `have` bytes hold its whole header. Where they do not, zeros follow, which read as anything. */
function tryOpen(path: string, have: number, last: boolean): Gguf | undefined {
  try {
    const gguf = openGguf(path, { alone: true });
    return gguf.dataOffset <= have || last ? gguf : undefined;
  } catch (error) {
    if (last || !(error instanceof BitnetError)) {
      throw error;
    }
    return undefined;
  }
}

/** Bytes [start, end) of a file. */
async function fetchRange(
  hub: Hub,
  repository: Repository,
  file: RepositoryFile,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const url = contentsUrl(hub, repository.name, repository.commit, file.path);
  const subject = `${repository.name}/${file.path}`;
  const bytes = new Uint8Array(end - start);
  let position = start;
  const attempt = async () => {
    while (position < end) {
      const headers = { range: `bytes=${position}-${end - 1}` };
      const request: HubRequest = { repo: repository.name, subject, signal, headers, expectedStatus: 416 };
      const response = await requestOnce(hub, url, request);
      position += await readPart(response, bytes.subarray(position - start), position, file, hub.retry.stallMs);
    }
  };
  await retrying(hub, { subject, signal }, attempt, () => position);
  return bytes;
}

/**
 * Copies the bytes of the file from `position` on to `target`; returns how many came. A server without ranges sends the
 * whole file: what is in front of them is skipped, and what follows is not waited for.
 */
async function readPart(
  response: Response,
  target: Uint8Array,
  position: number,
  file: RepositoryFile,
  stallMs: number,
): Promise<number> {
  let filled = 0;
  try {
    const { start, end } = locateBody(response, position, file);
    const reader = response.body?.getReader();
    const wanted = Math.min(target.length, end - position);
    for (let at = start; filled < wanted; ) {
      const chunk = reader === undefined ? undefined : await readChunk(reader, stallMs);
      if (chunk === undefined) {
        throw new TransientError(`the connection was cut at byte ${at} of ${file.size}`);
      }
      const fresh = chunk.subarray(Math.max(0, position + filled - at)).subarray(0, wanted - filled);
      target.set(fresh, filled);
      filled += fresh.length;
      at += chunk.length;
    }
    await reader?.cancel().catch(() => {});
    return filled;
  } finally {
    if (response.body?.locked === false) {
      await response.body.cancel().catch(() => {});
    }
  }
}
