// Files of clients on the disk: requests and answers of batches. Names on the disk are made here; what a client calls a
// file is only ever text in its description.

import { createHash, randomBytes } from "node:crypto";
import { createReadStream, createWriteStream, type ReadStream, readdirSync, readFileSync, rmSync } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { toBitnetError, withContext } from "../system/errors.js";
import { makeFolderSync, replaceFile } from "../system/files.js";
import { ApiError } from "./errors.js";
import type { Client } from "./request.js";

/** A file as OpenAI's interface describes it. */
export interface StoredFile {
  id: string;
  object: "file";
  bytes: number;
  created_at: number;
  filename: string;
  purpose: "batch" | "batch_output";
  status: "processed";
}

interface Entry {
  owner: string;
  file: StoredFile;
}

export const mostFileBytes = 200e6;
/** Files of all clients together: their descriptions are in memory. */
const mostFiles = 10_000;
const idPattern = /^file-[0-9a-f]{32}$/;

/** Whose files and batches a client sees: those of its key; without keys everybody's. */
export function ownerOf({ id }: Client): string {
  return id.startsWith("address:") ? "" : createHash("sha256").update(`batches of ${id}`).digest("hex");
}

export function newId(prefix: string): string {
  return prefix + randomBytes(16).toString("hex");
}

export function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}

/** What a failure of the disk means for a client. */
export function toDiskError(error: unknown): unknown {
  return toBitnetError(error).code === "NO_SPACE"
    ? new ApiError("server_error", "the server's disk is full", { status: 507, code: "disk_full", shouldRetry: false })
    : error;
}

/** Descriptions of a folder, each a JSON file of its own. What cannot be read was never finished. */
export function readDescriptions<T>(folder: string, onEntry: (name: string, value: T) => void): void {
  makeFolderSync(folder, 0o700);
  for (const name of readdirSync(folder).filter((each) => each.endsWith(".json"))) {
    try {
      onEntry(name, JSON.parse(readFileSync(join(folder, name), "utf8")) as T);
    } catch {}
  }
}

export class FileStore {
  readonly #folder: string;
  readonly #entries = new Map<string, Entry>();

  /** Throws if the folder cannot be used. */
  constructor(folder: string) {
    this.#folder = folder;
    try {
      readDescriptions<Entry>(folder, (name, entry) => {
        if (name === `${entry.file.id}.json` && idPattern.test(entry.file.id)) {
          this.#entries.set(entry.file.id, entry);
        }
      });
    } catch (error) {
      throw withContext("--batch-dir", error);
    }
  }

  /** Deletes what a server that was killed has left: all but described files and those of `unfinished` ids. */
  sweep(unfinished: ReadonlySet<string>): void {
    for (const name of readdirSync(this.#folder)) {
      const id = /^(file-[0-9a-f]{32})\.jsonl/.exec(name)?.[1];
      if (id !== undefined && !this.#entries.has(id) && !unfinished.has(id)) {
        rmSync(join(this.#folder, name), { force: true });
      }
    }
  }

  pathOf(id: string): string {
    return join(this.#folder, `${id}.jsonl`);
  }

  /** Writes what comes. Throws 413 for more than `mostFileBytes`, 507 if the disk is full; then nothing is left. */
  async upload(owner: string, content: Readable & { truncated?: boolean }, filename: string): Promise<StoredFile> {
    if (this.#entries.size >= mostFiles) {
      throw new ApiError("rate_limit_error", `there are ${mostFiles} files already: delete some`, {
        code: "too_many_files",
      });
    }
    const id = newId("file-");
    const path = this.pathOf(id);
    try {
      await pipeline(content, createWriteStream(path, { mode: 0o600, flags: "wx" }));
      if (content.truncated) {
        throw new ApiError("invalid_request_error", `file: expected at most ${mostFileBytes / 1e6} MB`, {
          ...{ status: 413, code: "file_too_large", param: "file", shouldRetry: false },
        });
      }
      return await this.add(owner, id, filename, "batch");
    } catch (error) {
      await rm(path, { force: true });
      throw toDiskError(error);
    }
  }

  /** Describes what is at the id's path; from here on it is there for clients. */
  async add(owner: string, id: string, filename: string, purpose: StoredFile["purpose"]): Promise<StoredFile> {
    const { size } = await stat(this.pathOf(id));
    const file: StoredFile = {
      ...{ id, object: "file", bytes: size, created_at: nowSeconds(), filename: cleanName(filename), purpose },
      status: "processed",
    };
    await replaceFile(join(this.#folder, `${id}.json`), JSON.stringify({ owner, file }), 0o600);
    this.#entries.set(id, { owner, file });
    return file;
  }

  /** Throws 404 for what is not there, or somebody else's. */
  get(owner: string, id: string): StoredFile {
    const entry = idPattern.test(id) ? this.#entries.get(id) : undefined;
    if (entry === undefined || entry.owner !== owner) {
      throw new ApiError("not_found_error", "there is no such file", { code: "file_not_found", shouldRetry: false });
    }
    return entry.file;
  }

  /** Oldest first. */
  list(owner: string): StoredFile[] {
    return [...this.#entries.values()]
      .filter((entry) => entry.owner === owner)
      .map(({ file }) => file)
      .sort((a, b) => a.created_at - b.created_at || (a.id < b.id ? -1 : 1));
  }

  read(owner: string, id: string): ReadStream {
    return createReadStream(this.pathOf(this.get(owner, id).id));
  }

  async delete(owner: string, id: string): Promise<void> {
    this.get(owner, id);
    this.#entries.delete(id);
    await rm(join(this.#folder, `${id}.json`), { force: true });
    await rm(this.pathOf(id), { force: true });
  }
}

/** The last part of a name, in one line. */
function cleanName(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? "";
  return last.replace(/[\p{Cc}\p{Cf}]/gu, "").slice(0, 255) || "file.jsonl";
}
