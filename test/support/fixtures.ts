// Where test data lies, and the helpers that compare with it.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
/** The model that has golden data of other programs: test/fixtures/tiny-bitnet. The bundled one may be another. */
export const tinyModel = join(root, "test", "fixtures", "tiny-bitnet", "tiny-bitnet.gguf");

const shared = process.env.BITNET_SHARED ?? join(root, "..", "shared");

/** A fixture of the repository or, for the larger ones, of the shared folder; undefined if neither has it. */
export function findFixture(folder: string, name: string): string | undefined {
  return [join(root, "test", "fixtures", folder, name), join(shared, "fixtures", folder, name)].find(existsSync);
}

export function readFixture(folder: string, name: string): Buffer {
  return readFileSync(findFixture(folder, name) ?? join(root, "test", "fixtures", folder, name));
}

export function readFloats(path: string): Float32Array {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** RMS of the difference over RMS of what is expected. NaN in either makes it NaN. */
export function relativeRms(actual: Float32Array | number[], expected: Float32Array | number[]): number {
  if (actual.length !== expected.length) {
    throw new Error(`lengths differ: ${actual.length} and ${expected.length}`);
  }
  let difference = 0;
  let size = 0;
  for (const [i, value] of expected.entries()) {
    difference += ((actual[i] ?? Number.NaN) - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(difference / size);
}

/** Index of the largest value. */
export function argmax(values: Float32Array): number {
  return values.reduce((best, value, i) => (value > (values[best] ?? -Infinity) ? i : best), 0);
}

export interface ProcessResult {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface ProcessOptions {
  input?: string;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Called once, with the first output on stdout. */
  onOutput?: (kill: (signal: NodeJS.Signals) => void, closeStdout: () => void) => void;
  /** Called with each whole line on stdout. */
  onLine?: (line: string, kill: (signal: NodeJS.Signals) => boolean) => void;
}

/** Runs bin/bitnet.js as a user would. Without `input`, stdin is empty. */
export function runBitnet(args: string[], options: ProcessOptions = {}): Promise<ProcessResult> {
  const child = spawn(process.execPath, [join(root, "bin", "bitnet.js"), ...args], {
    cwd: options.cwd,
    env: { ...process.env, BITNET_DEBUG: "", FORCE_COLOR: undefined, NO_COLOR: undefined, ...options.env },
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    if (stdout === "") {
      options.onOutput?.(
        (signal) => child.kill(signal),
        () => child.stdout.destroy(),
      );
    }
    const begun = stdout.lastIndexOf("\n") + 1; // of the line that was not whole
    stdout += text;
    for (const line of stdout
      .slice(begun, stdout.lastIndexOf("\n") + 1)
      .split("\n")
      .slice(0, -1)) {
      options.onLine?.(line, (signal) => child.kill(signal));
    }
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  child.stdin.on("error", () => {}); // a command that does not read its input may be gone before it is written
  child.stdin.end(options.input ?? "");
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, stdout, stderr }));
  });
}

/** Resolves when a file has bytes, or the process that is to write it has ended. */
export async function untilWritten(path: string, writer: ChildProcess): Promise<void> {
  const isWritten = () => (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0;
  while (writer.exitCode === null && writer.signalCode === null && !isWritten()) {
    await setTimeout(5);
  }
}
