// What a server takes of memory: by its process, where that is ours, else as its metrics tell.

import { readFile } from "node:fs/promises";
import type { LoadClient } from "./serve-client.js";

export interface MemoryUse {
  /** Resident bytes before the first round, after the last one, and the most that was seen. */
  before: number;
  after: number;
  most: number;
}

/** Looks at a server's memory now and then. */
export class MemoryWatch {
  readonly #client: LoadClient;
  readonly #pid?: number;
  #use?: MemoryUse;

  constructor(client: LoadClient, pid?: number) {
    this.#client = client;
    this.#pid = pid;
  }

  /** Undefined where nothing tells. */
  get use(): MemoryUse | undefined {
    return this.#use;
  }

  async look(signal: AbortSignal): Promise<void> {
    const bytes = this.#pid === undefined ? await readMetric(this.#client, signal) : await readResidentBytes(this.#pid);
    if (bytes !== undefined) {
      const { before = bytes, most = bytes } = this.#use ?? {};
      this.#use = { before, after: bytes, most: Math.max(most, bytes) };
    }
  }
}

/** Of a process of this machine; only Linux tells. */
async function readResidentBytes(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

async function readMetric(client: LoadClient, signal: AbortSignal): Promise<number | undefined> {
  const answer = await client.fetch("/metrics", undefined, signal).catch(() => undefined);
  const value = answer?.isGood ? /^process_resident_memory_bytes(?:\{[^}\n]*\})? (\S+)/m.exec(answer.text)?.[1] : "";
  const bytes = Number(value || Number.NaN);
  return Number.isFinite(bytes) ? bytes : undefined;
}
