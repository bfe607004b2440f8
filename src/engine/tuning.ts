// What `bitnet tune` found for this machine: the file it is kept in, and what of it applies to a model. A missing or
// damaged file never stops a model from loading.

import { open, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { debuglog } from "node:util";
import { loadAddon, type NativeLoadOptions, type NativeTuning } from "../native/addon.js";
import { machineKey } from "../native/machine.js";
import { BitnetError, reasonOf } from "../system/errors.js";
import { makeFolder, replaceFile } from "../system/files.js";
import { cacheFolder, stateFolder } from "../system/folders.js";
import { withLock } from "../system/lock.js";

/** One machine's result. Only what differs from the defaults is there, so that better defaults are not held back. */
export interface TuningEntry {
  kernel?: string;
  threads?: number;
  parameters: NativeTuning;
  /** The kernel that the parameters were found with; with another one they do not apply. */
  tunedKernel: string;
  tunedAt: string; // ISO 8601
}

export interface AppliedTuning {
  /** The tuning file in use. */
  file: string;
  kernel?: string;
  threads?: number;
  parameters: NativeTuning;
}

interface TuningFile {
  format: typeof formatName;
  entries: Record<string, unknown>;
}

const formatName = "bitnet-tuning";
const fileName = "tuning.json";
const maxFileBytes = 2 ** 20;
const debug = debuglog("bitnet");

/** The tuning file of this user; undefined if BITNET_TUNING is "none", or if this user has no home folder. */
export function findTuningFile(env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (env.BITNET_TUNING) {
    return env.BITNET_TUNING === "none" ? undefined : resolve(env.BITNET_TUNING);
  }
  const folder = stateFolder(env);
  return folder === undefined ? undefined : join(folder, fileName);
}

/** Where it was kept before, among what cleaners of caches delete; read until there is one in the new place. */
function findEarlierFile(path: string): string | undefined {
  const [folder, cache] = [stateFolder(), cacheFolder()];
  const isDefault = folder !== undefined && resolve(path) === resolve(folder, fileName);
  return isDefault && cache !== undefined ? join(cache, fileName) : undefined;
}

/** This machine's entry, made safe to use; undefined if there is none. Throws if the file is damaged. */
export async function readTuning(path: string, key = machineKey()): Promise<TuningEntry | undefined> {
  const file = await readTuningFile(path);
  return file !== undefined && Object.hasOwn(file.entries, key) ? checkEntry(file.entries[key]) : undefined;
}

/** Adds or replaces this machine's entry. A damaged file is replaced. */
export async function saveTuning(path: string, entry: TuningEntry, key = machineKey()): Promise<void> {
  await changing(path, async () => {
    const file = await readTuningFile(path).catch(() => undefined);
    // A null prototype, so that a key can have any name.
    const entries = Object.assign(Object.create(null) as Record<string, unknown>, file?.entries, { [key]: entry });
    await writeTuningFile(path, entries);
  });
}

/** Deletes this machine's entry. False if there was none. Throws if the file is damaged. */
export async function resetTuning(path: string, key = machineKey()): Promise<boolean> {
  return changing(path, async () => {
    const file = await readTuningFile(path);
    if (file === undefined || !Object.hasOwn(file.entries, key)) {
      return false;
    }
    const { [key]: _, ...entries } = file.entries;
    await writeTuningFile(path, entries);
    return true;
  });
}

/** Between reading and writing no other process, which may be another machine on a shared disk, writes its entry. */
function changing<T>(path: string, body: () => Promise<T>): Promise<T> {
  return withLock(`${path}.lock`, {}, body);
}

async function readTuningFile(path: string): Promise<TuningFile | undefined> {
  const file = await readTuningFileAt(path);
  const earlier = file === undefined ? findEarlierFile(path) : undefined;
  return earlier === undefined ? file : readTuningFileAt(earlier);
}

async function readTuningFileAt(path: string): Promise<TuningFile | undefined> {
  const info = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") {
      return undefined;
    }
    throw error;
  });
  if (info === undefined) {
    return undefined;
  }
  if (!info.isFile() || info.size > maxFileBytes) {
    throw new BitnetError("BAD_FILE", `${path}: it is not a tuning file`);
  }
  const value = parseJson(await readText(path));
  if (!isObject(value) || value.format !== formatName || !isObject(value.entries)) {
    throw new BitnetError("BAD_FILE", `${path}: it is not a tuning file`);
  }
  return { format: formatName, entries: value.entries };
}

// Not readFile: the file may grow while it is read.
async function readText(path: string): Promise<string> {
  const file = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxFileBytes), 0, maxFileBytes, 0);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await file.close();
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

async function writeTuningFile(path: string, entries: Record<string, unknown>): Promise<void> {
  await makeFolder(dirname(path));
  await replaceFile(path, `${JSON.stringify({ format: formatName, entries } satisfies TuningFile, null, 2)}\n`);
}

/** Values out of range are brought into it; what is of the wrong kind, or unknown, is left out. */
function checkEntry(value: unknown): TuningEntry | undefined {
  if (!isObject(value) || !isObject(value.parameters)) {
    return undefined;
  }
  const { kernel, threads, parameters, tunedKernel, tunedAt } = value;
  return {
    kernel: typeof kernel === "string" && supportedKernels().includes(kernel) ? kernel : undefined,
    threads: clamp(threads, { least: 1, most: loadAddon().physicalCores(), step: 1 }),
    parameters: checkParameters(parameters),
    tunedKernel: typeof tunedKernel === "string" ? tunedKernel : "",
    tunedAt: typeof tunedAt === "string" ? tunedAt.slice(0, 64) : "",
  };
}

function checkParameters(values: Record<string, unknown>): NativeTuning {
  const parameters: NativeTuning = {};
  for (const bounds of loadAddon().tuningParameters()) {
    const value = Object.hasOwn(values, bounds.name) ? clamp(values[bounds.name], bounds) : undefined;
    if (value !== undefined) {
      parameters[bounds.name] = value;
    }
  }
  return parameters;
}

function clamp(value: unknown, { least, most, step }: { least: number; most: number; step: number }) {
  if (typeof value !== "number" || !Number.isFinite(value)) {
    return undefined;
  }
  return Math.min(most, Math.max(least, Math.round(value / step) * step));
}

/** Names of the kernels that this CPU can run, best first. */
export function supportedKernels(): string[] {
  return loadAddon()
    .kernels()
    .flatMap(({ name, supported }) => (supported ? [name] : []));
}

/** The kernel that a model gets without a tuning. */
export function chooseKernel(kernel: string | undefined, env: NodeJS.ProcessEnv = process.env): string | undefined {
  return kernel ?? (env.BITNET_KERNEL || undefined);
}

/**
 * Options for the core with what the tuning file says where they leave it open: `kernel` (also BITNET_KERNEL), `threads`
 * and `tuning` win. `applied` is undefined if the file has nothing to say.
 */
export async function applyTuning(
  options: NativeLoadOptions,
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ options: NativeLoadOptions; applied?: AppliedTuning }> {
  const file = findTuningFile(env);
  const entry = file === undefined || options.tuning !== undefined ? undefined : await tryReadTuning(file);
  if (file === undefined || entry === undefined) {
    return { options };
  }
  const wanted = chooseKernel(options.kernel, env);
  const isTuned = (wanted ?? entry.kernel ?? supportedKernels()[0]) === entry.tunedKernel;
  const applied: AppliedTuning = {
    file,
    kernel: wanted === undefined ? entry.kernel : undefined,
    threads: options.threads === undefined ? entry.threads : undefined,
    parameters: isTuned ? entry.parameters : {},
  };
  const { kernel, threads, parameters } = applied;
  if (kernel === undefined && threads === undefined && Object.keys(parameters).length === 0) {
    return { options };
  }
  return {
    options: {
      ...options,
      kernel: options.kernel ?? kernel,
      threads: options.threads ?? threads,
      tuning: parameters,
    },
    applied,
  };
}

async function tryReadTuning(path: string): Promise<TuningEntry | undefined> {
  try {
    return await readTuning(path);
  } catch (error) {
    debug("the tuning file is ignored: %s", error instanceof BitnetError ? error.message : reasonOf(error));
    return undefined;
  }
}

/** Threads of a model that is loaded without a number. */
export async function defaultThreads(env: NodeJS.ProcessEnv = process.env): Promise<number> {
  const { options } = await applyTuning({}, env);
  return options.threads ?? loadAddon().physicalCores();
}
