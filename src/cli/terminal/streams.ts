// The standard streams when they fail or are slow. stdout carries the result: without it the program has nothing to do.
// stderr carries notes: without it the result must still come.

import { once } from "node:events";
import { fstatSync, writeSync } from "node:fs";
import type { Writable } from "node:stream";
import { withContext } from "../../system/errors.js";
import { type OutputStream, reportError } from "./output.js";

type StandardStream = Writable & { fd?: number };

/** The reader of a pipe or a socket has left. */
const withoutReader = new Set(["EPIPE", "ECONNRESET"]);

/**
 * Ends the process when nobody can read the result: with 0 if the reader has seen enough (`| head`), else with an error
 * and 1. Failures of stderr are ignored, unless it is stdout's pipe (`2>&1 | head`).
 */
export function guardStreams(end: (status: number) => void): void {
  const { stdout, stderr } = process;
  writeFilesWhole(stdout);
  writeFilesWhole(stderr);
  let isEnding = false;
  stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (isEnding) {
      return;
    }
    isEnding = true;
    const isQuiet = withoutReader.has(error.code ?? "");
    if (!isQuiet) {
      reportError(withContext("cannot write the output", error), false);
    }
    end(isQuiet ? 0 : 1);
  });
  stderr.on("error", (error: NodeJS.ErrnoException) => {
    if (withoutReader.has(error.code ?? "") && areSame(stdout.fd, stderr.fd)) {
      end(0);
    }
  });
}

/**
 * Resolves when the reader of `stream` has taken what was written, so that a slow one keeps a text waiting instead of
 * filling the memory. An abort ends the waiting.
 */
export async function readerReady(stream: OutputStream = process.stdout, signal?: AbortSignal): Promise<void> {
  if ("writableNeedDrain" in stream && stream.writableNeedDrain && !signal?.aborted) {
    await once(stream, "drain", { signal }).catch((error: unknown) => {
      if (!signal?.aborted) {
        throw error;
      }
    });
  }
}

/**
 * A disk that becomes full takes the first part of what is written and says how much. Node's stream for files takes that
 * for everything; writing the rest gives the error.
 */
function writeFilesWhole(stream: StandardStream): void {
  const { fd } = stream;
  if (fd === undefined || !isRegularFile(fd)) {
    return;
  }
  stream._write = (chunk: Uint8Array, _encoding, callback) => {
    try {
      for (let done = 0; done < chunk.length; ) {
        done += writeSync(fd, chunk, done);
      }
    } catch (error) {
      callback(error as Error);
      return;
    }
    callback();
  };
}

function isRegularFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}

function areSame(one: number, other: number): boolean {
  try {
    const [a, b] = [fstatSync(one), fstatSync(other)];
    return a.dev === b.dev && a.ino === b.ino;
  } catch {
    return false;
  }
}
