// Parquet files, read in a process of their own: no reader of them is made for files that want to do harm, where a few
// bytes can ask for any amount of memory or time. That process has limits of both and ends alone; parquet-process.ts is
// what it does.

import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import { abortedError, BitnetError, throwIfAborted } from "../../system/errors.js";
import { packageRoot } from "../../system/package.js";
import type { Budget } from "./limits.js";
import { withOrigin } from "./origin.js";
import type { Doc } from "./types.js";

/** What the process sends; it waits for an answer after each batch of rows. */
export type ParquetMessage =
  | { kind: "rows"; rows: Doc[]; bytes: number }
  | { kind: "end" }
  | { kind: "error"; message: string };

const heapMegabytes = 512;
const silenceMs = 300_000; // a row group of a million rows takes seconds

/** The rows in the order of the file. Binary columns are left out; dates are text, whole numbers numbers if they can be. */
export async function* readParquet(
  path: string,
  budget: Budget,
  signal?: AbortSignal,
): AsyncGenerator<Doc, void, undefined> {
  throwIfAborted(signal);
  const child = fork(join(packageRoot, "dist", "eval", "data", "parquet-process.js"), [path], {
    serialization: "advanced",
    execArgv: [`--max-old-space-size=${heapMegabytes}`],
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  const messages = receive(child, path, signal);
  try {
    for (let row = 1; ; ) {
      const message = await messages();
      if (message.kind === "error") {
        throw unreadableError(path, message.message);
      }
      if (message.kind === "end") {
        return;
      }
      const share = message.bytes / message.rows.length;
      for (const doc of message.rows) {
        budget.add(path, share);
        yield withOrigin(doc, { path, place: `row ${row++}` });
      }
      child.send("more");
    }
  } finally {
    child.kill("SIGKILL");
  }
}

function unreadableError(path: string, reason: string): BitnetError {
  return new BitnetError("BAD_FILE", `${path} cannot be read as Parquet: ${reason}`, {
    hint: "it may be cut off or damaged: get it again",
  });
}

/** A function that gives the next message; it throws when the process has ended, is silent for too long or `signal` fires. */
function receive(child: ChildProcess, path: string, signal?: AbortSignal): () => Promise<ParquetMessage> {
  const arrived: (ParquetMessage | BitnetError)[] = [];
  let wake = () => {};
  const add = (what: ParquetMessage | BitnetError) => {
    arrived.push(what);
    wake();
  };
  const limits = `more than ${heapMegabytes} MiB of memory`;
  child.on("message", (message: ParquetMessage) => add(message));
  child.once("error", (cause) => add(new BitnetError("INTERNAL", `${path}: no process to read it`, { cause })));
  child.once("exit", () => add(unreadableError(path, `its reader has ended; it may need ${limits}`)));
  const onAbort = () => add(abortedError(signal));
  signal?.addEventListener("abort", onAbort, { once: true });
  return async () => {
    const timer = setTimeout(() => add(unreadableError(path, `no row in ${silenceMs / 1000} s`)), silenceMs);
    while (arrived.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    clearTimeout(timer);
    const next = arrived.shift();
    if (next === undefined || next instanceof BitnetError || next.kind !== "rows") {
      signal?.removeEventListener("abort", onAbort);
    }
    if (next instanceof BitnetError) {
      throw next;
    }
    return next ?? { kind: "end" };
  };
}
