// A process that may do anything but take more than it is given: time and output are bounded here, the rest by how it is
// started.

import { spawn } from "node:child_process";
import { abortedError, throwIfAborted, toBitnetError } from "../../system/errors.js";

/** What of the output is kept, and all that of its end. */
const KEPT_BYTES = 64 * 1024;
const TAIL_BYTES = 256;

export interface ProcessLimits {
  /** From the start to SIGKILL. */
  wallMs: number;
  env: NodeJS.ProcessEnv;
  signal?: AbortSignal;
  /** Ends what killing the process does not end. */
  kill?: () => void;
}

export interface EndedProcess {
  /** null if a signal ended it. */
  exitCode: number | null;
  timedOut: boolean;
  /** The first 64 kB of each. */
  stdout: string;
  stderr: string;
  /** The last bytes of the standard output, however long it was. */
  tail: string;
}

/** Runs a command without input; ABORTED by the signal, NOT_FOUND if there is no such program. */
export function runBounded(command: readonly string[], limits: ProcessLimits): Promise<EndedProcess> {
  const { wallMs, env, signal, kill } = limits;
  throwIfAborted(signal);
  const [program = "", ...args] = command;
  return new Promise((resolve, reject) => {
    // A group of its own, so that all of it can be killed at once. Windows has none: there only containers run programs.
    const hasGroups = process.platform !== "win32";
    const child = spawn(program, args, {
      stdio: ["ignore", "pipe", "pipe"],
      detached: hasGroups,
      windowsHide: true,
      env,
    });
    const stdout = new KeptOutput();
    const stderr = new KeptOutput();
    let timedOut = false;
    const killGroup = () => {
      kill?.();
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
        process.kill(hasGroups ? -child.pid : child.pid, "SIGKILL");
      }
    };
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup();
    }, wallMs);
    signal?.addEventListener("abort", killGroup, { once: true });
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", killGroup);
    };
    child.stdout.on("data", (bytes: Buffer) => stdout.add(bytes));
    child.stderr.on("data", (bytes: Buffer) => stderr.add(bytes));
    child.on("error", (error) => {
      done();
      reject(toBitnetError(error));
    });
    child.on("close", (exitCode) => {
      done();
      if (signal?.aborted) {
        reject(abortedError(signal));
      } else {
        resolve({ exitCode, timedOut, stdout: stdout.head(), stderr: stderr.head(), tail: stdout.tail() });
      }
    });
  });
}

/** The beginning and the end of an output of any length. */
class KeptOutput {
  readonly #head: Buffer[] = [];
  #room = KEPT_BYTES;
  #tail = Buffer.alloc(0);

  add(bytes: Buffer): void {
    if (this.#room > 0) {
      const part = bytes.subarray(0, this.#room);
      this.#head.push(part);
      this.#room -= part.length;
    }
    this.#tail = Buffer.concat([this.#tail, bytes.subarray(-TAIL_BYTES)]).subarray(-TAIL_BYTES);
  }

  head(): string {
    return Buffer.concat(this.#head).toString();
  }

  tail(): string {
    return this.#tail.toString("latin1");
  }
}
