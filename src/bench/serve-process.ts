// A `bitnet serve` of our own on a free port, for as long as it is measured.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { BitnetError, throwIfAborted } from "../system/errors.js";
import { packageRoot } from "../system/package.js";

const mostShown = 4096; // characters of its output that an error may quote
const pollMs = 100;
const patienceMs = 10_000; // that it has to drain; then it is killed

export interface ServerProcess {
  url: string;
  pid: number;
  stop(): Promise<void>;
}

/** Starts the server and waits until it is ready. Throws UNSUPPORTED if it ends before, with what it said. */
export async function startServer(options: readonly string[], signal: AbortSignal): Promise<ServerProcess> {
  const file = join(packageRoot, "bin", "bitnet.js");
  const place = ["--host", "127.0.0.1", "--port", "0", "--json"];
  // All load comes from one address, as behind a proxy: the bound on connections of one address is not what is measured.
  const child = spawn(process.execPath, [file, "serve", "--trust-proxy", "1", ...options, ...place], {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true, // a Ctrl-C is for us: what is measured ends in order
  });
  const stop = () => stopProcess(child);
  try {
    const url = await findAddress(child, signal);
    await waitUntilReady(child, url, signal);
    return { url, pid: child.pid ?? 0, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (isRunning(child)) {
    const ended = once(child, "close");
    child.kill("SIGTERM");
    const killer = setTimeout(() => child.kill("SIGKILL"), patienceMs);
    await ended;
    clearTimeout(killer);
  }
}

/** The address that it prints. What it prints later is read and forgotten, so that it never waits for us. */
function findAddress(child: ChildProcess, signal: AbortSignal): Promise<string> {
  let said = "";
  return new Promise((resolve, reject) => {
    const read = (piece: string) => {
      said = (said + piece).slice(-mostShown);
      const [address] = /http:\/\/127\.0\.0\.1:\d+(?=\D)/.exec(said) ?? [];
      if (address !== undefined) {
        resolve(address);
      }
    };
    child.stdout?.setEncoding("utf8").on("data", read);
    child.stderr?.setEncoding("utf8").on("data", read);
    child.on("error", reject);
    child.on("close", () => reject(endedError(said)));
    signal.addEventListener("abort", () => reject(new BitnetError("ABORTED", "stopped before the end")), {
      once: true,
    });
  });
}

function endedError(said: string): BitnetError {
  const lines = said.trim().split("\n");
  const line = lines.findLast((text) => text.startsWith("error: "))?.slice("error: ".length) ?? lines.at(-1);
  return new BitnetError("UNSUPPORTED", `the server ended before it was ready: ${line || "it said nothing"}`);
}

async function waitUntilReady(child: ChildProcess, url: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    throwIfAborted(signal);
    const answer = await fetch(`${url}/readyz`, { signal }).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.ok) {
      return;
    }
    if (!isRunning(child)) {
      throw new BitnetError("UNSUPPORTED", "the server ended while it loaded the model");
    }
    await delay(pollMs, undefined, { signal }).catch(() => {});
  }
}
