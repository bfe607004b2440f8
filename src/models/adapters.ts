// Adapters of the hub: which files of a repository are one, and bringing them to this machine.

import { join } from "node:path";
import { configName, weightsName } from "../adapter/peft.js";
import { type DownloadProgress, downloadFiles } from "../hub/download.js";
import { openHub } from "../hub/http.js";
import { openRepository, parseRepositoryName, type Repository } from "../hub/repository.js";
import { BitnetError } from "../system/errors.js";

export interface FetchAdapterOptions {
  signal?: AbortSignal;
  onProgress?: (progress: DownloadProgress) => void;
}

/**
 * The adapter of a repository, "owner/name" or "owner/name@revision": PEFT's two files, else the one GGUF file. Returns its
 * folder or file. Throws NOT_FOUND for what is no such name or has no adapter.
 */
export async function fetchAdapter(text: string, options: FetchAdapterOptions = {}): Promise<string> {
  const name = parseRepositoryName(text);
  if (name === undefined) {
    throw new BitnetError("NOT_FOUND", `${text}: no such adapter`, {
      hint: "an adapter is a folder of PEFT, a .safetensors or .gguf file, or owner/name of the hub",
    });
  }
  const hub = await openHub();
  const repository = await openRepository(hub, name, { signal: options.signal });
  const files = chooseFiles(repository);
  const folder = await downloadFiles(hub, repository, { files, ...options });
  return files.length === 1 ? join(folder, files[0] ?? "") : folder;
}

function chooseFiles({ name, files }: Repository): string[] {
  const paths = files.map(({ path }) => path);
  if (paths.includes(configName) && paths.includes(weightsName)) {
    return [configName, weightsName];
  }
  const ggufs = paths.filter((path) => /\.gguf$/i.test(path));
  if (ggufs.length !== 1) {
    const there = ggufs.length === 0 ? `no ${weightsName} and no .gguf file` : `${ggufs.length} .gguf files`;
    throw new BitnetError("NOT_FOUND", `${name}: no adapter: the repository has ${there}`, {
      hint: "download the file that is meant, and give its path",
    });
  }
  return ggufs;
}
