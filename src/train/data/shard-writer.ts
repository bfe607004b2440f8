// Writing shards: each file appears when it is whole.

import { type FileHandle, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { BitnetError, convertingAsync } from "../../system/errors.js";
import { flushDirectory, partialPath, replaceFile } from "../../system/files.js";
import { hashFiles } from "../../system/hash-files.js";
import { stringifyJson } from "../../system/write-json.js";
import { headerBytes, maxShardTokens, type ShardWidth, widthFor, writeHeader } from "./shard-format.js";

export interface ShardWriterOptions {
  folder: string;
  /** What the files are called before their number: train, eval. */
  name: string;
  vocabSize: number;
  /** A file is ended by the document that reaches it. Default: 100 million. */
  shardTokens?: number;
  /** What more NAME.json says. */
  description?: Readonly<Record<string, unknown>>;
}

const usualShardTokens = 100_000_000;
const bufferTokens = 2 ** 18;

interface OpenShard {
  path: string;
  partial: string;
  file: FileHandle;
  /** Where documents begin; the last one is where the next begins. */
  offsets: number[];
}

/** Takes documents one by one. End it with `finish` or `abandon`. */
export class ShardWriter {
  readonly #options: ShardWriterOptions;
  readonly #width: ShardWidth;
  readonly #buffer: Uint16Array | Uint32Array;
  #used = 0;
  #open: OpenShard | undefined;
  readonly #paths: string[] = [];

  constructor(options: ShardWriterOptions) {
    const { shardTokens = usualShardTokens } = options;
    if (!(shardTokens >= 1 && shardTokens <= 2 ** 31)) {
      throw new BitnetError("USAGE", `tokens of a shard: expected 1 to 2^31, got ${shardTokens}`);
    }
    this.#options = options;
    this.#width = widthFor(options.vocabSize);
    this.#buffer = this.#width.bytes === 2 ? new Uint16Array(bufferTokens) : new Uint32Array(bufferTokens);
  }

  async add(ids: Int32Array): Promise<void> {
    const { vocabSize, shardTokens = usualShardTokens } = this.#options;
    const wrong = ids.find((id) => id < 0 || id >= vocabSize);
    if (wrong !== undefined) {
      throw new BitnetError("INTERNAL", `token ${wrong} is not in a vocabulary of ${vocabSize}`);
    }
    this.#open ??= await this.#begin();
    const { offsets } = this.#open;
    const end = (offsets.at(-1) ?? 0) + ids.length;
    if (end > maxShardTokens) {
      throw new BitnetError("UNSUPPORTED", `a document of ${ids.length} tokens is too long for a shard`);
    }
    for (let from = 0; from < ids.length; ) {
      const count = Math.min(ids.length - from, bufferTokens - this.#used);
      this.#buffer.set(ids.subarray(from, from + count), this.#used);
      this.#used += count;
      from += count;
      if (this.#used === bufferTokens) {
        await this.#flush(this.#open.file);
      }
    }
    offsets.push(end);
    if (end >= shardTokens) {
      await this.#end(this.#open);
    }
  }

  /** The paths of the files. Those that an earlier run has left beyond them are deleted. */
  async finish(): Promise<string[]> {
    if (this.#open !== undefined) {
      await this.#end(this.#open);
    }
    const { folder, name } = this.#options;
    for (const file of await readdir(folder).catch(() => [])) {
      const [, number] = new RegExp(`^${name}-(\\d{5})\\.(?:bin|idx|json)$`).exec(file) ?? [];
      if (number !== undefined && Number(number) >= this.#paths.length) {
        await rm(join(folder, file), { force: true });
      }
    }
    return this.#paths;
  }

  /** Deletes what is not whole. */
  async abandon(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    await open?.file.close().catch(() => {});
    if (open !== undefined) {
      await rm(open.partial, { force: true }).catch(() => {});
    }
  }

  async #begin(): Promise<OpenShard> {
    const { folder, name } = this.#options;
    return convertingAsync(async () => {
      await mkdir(folder, { recursive: true });
      const path = join(folder, `${name}-${String(this.#paths.length).padStart(5, "0")}.bin`);
      const partial = partialPath(path);
      const file = await open(partial, "w");
      await file.write(Buffer.alloc(headerBytes));
      this.#used = 0;
      return { path, partial, file, offsets: [0] };
    });
  }

  async #flush(file: FileHandle): Promise<void> {
    const { buffer } = this.#buffer;
    await convertingAsync(() => file.writeFile(Buffer.from(buffer, 0, this.#used * this.#width.bytes)));
    this.#used = 0;
  }

  async #end({ path, partial, file, offsets }: OpenShard): Promise<void> {
    const tokens = offsets.at(-1) ?? 0;
    await this.#flush(file);
    await convertingAsync(async () => {
      await file.write(writeHeader(this.#width, tokens), 0, headerBytes, 0);
      await file.sync();
      await file.close();
      const stem = path.slice(0, -".bin".length);
      await replaceFile(`${stem}.idx`, new Uint8Array(Uint32Array.from(offsets).buffer));
      const sha256 = await hashFiles([partial]);
      const { vocabSize, description = {} } = this.#options;
      const about = { tokens, documents: offsets.length - 1, vocabSize, sha256, ...description };
      await replaceFile(`${stem}.json`, `${stringifyJson(about, 2)}\n`);
      await rename(partial, path);
      await flushDirectory(this.#options.folder);
    });
    this.#open = undefined;
    this.#paths.push(path);
  }
}
