// The metadata and tensor list of a GGUF file on the hub, without downloading its weights.
//
// The beginning of the file goes into a temporary file that is then stretched to the full size without using disk
// space, so the one reader of the project reads it and still checks every tensor against the size of the file.

import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Gguf, openGguf } from "../gguf/gguf.js";
import { BitnetError } from "../system/errors.js";
import { makeTemporaryFolder } from "../system/folders.js";
import { sizeOf, snapshotPath } from "./cache.js";
import { type Hub, type HubRequest, requestOnce, retrying, TransientError } from "./http.js";
import type { Repository } from "./repository.js";

const firstBytes = 2 ** 20;
const mostBytes = 2 ** 28; // the largest vocabularies need some 16 MB

/** Opens `path` of the repository; from the cache if it is there. */
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
    return openGguf(cached);
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
          const bytes = await fetchRange(hub, repository, path, have, end, options.signal);
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
    const gguf = openGguf(path);
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
  path: string,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const encoded = path.split("/").map(encodeURIComponent).join("/");
  const url = `${hub.environment.endpoint}/${repository.name}/resolve/${repository.commit}/${encoded}`;
  const headers = { range: `bytes=${start}-${end - 1}` };
  const request: HubRequest = { repo: repository.name, subject: `${repository.name}/${path}`, signal, headers };
  return retrying(hub, request, async () => {
    const response = await requestOnce(hub, url, request);
    if (response.status !== 206) {
      await response.body?.cancel();
      throw new BitnetError("NETWORK", `${request.subject}: the server cannot send a part of a file`, {
        hint: "download it first",
      });
    }
    const bytes = new Uint8Array(
      await response.arrayBuffer().catch((cause) => {
        throw new TransientError("cut off", { cause });
      }),
    );
    if (bytes.length !== end - start) {
      throw new TransientError(`${bytes.length} bytes came where ${end - start} were asked for`);
    }
    return bytes;
  });
}
