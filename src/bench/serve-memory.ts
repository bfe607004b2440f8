// What a server takes of memory: by its process, where that is ours, else as its metrics tell.

import { readFile } from "node:fs/promises";
import type { LoadClient } from "./serve-client.js";

export interface MemoryUse {
  /** Resident bytes before the first round of a test, after its last one, and the most that was seen. */
  before: number;
  after: number;
  most: number;
}

/** The use with one more look at it. */
export function addLook(use: MemoryUse | undefined, bytes: number | undefined): MemoryUse | undefined {
  if (bytes === undefined) {
    return use;
  }
  const { before = bytes, most = bytes } = use ?? {};
  return { before, after: bytes, most: Math.max(most, bytes) };
}

/** Resident bytes of a server; undefined where nothing tells. */
export async function readMemory(
  client: LoadClient,
  pid: number | undefined,
  signal: AbortSignal,
): Promise<number | undefined> {
  return pid === undefined ? await readMetric(client, signal) : await readResidentBytes(pid);
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
