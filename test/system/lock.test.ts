// The lock that processes share.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { readlink } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { withLock } from "../../src/system/lock.js";

let folder: string;
let lock: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-lock-"));
  lock = join(folder, "locks", "blob.lock");
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const deadPid = 2 ** 22 + 1; // above every system's limit

async function leaveLock(pid: number, host?: string): Promise<void> {
  await withLock(lock, {}, async () => {}); // makes the folder
  const here = `${hostname()} ${await readlink("/proc/self/ns/pid").catch(() => "")}`;
  writeFileSync(lock, JSON.stringify({ id: "another", pid, host: host ?? here }));
}

test("holders take turns", async () => {
  let inside = 0;
  let most = 0;
  const holders = Array.from({ length: 8 }, () =>
    withLock(lock, {}, async () => {
      most = Math.max(most, ++inside);
      await delay(5);
      inside--;
    }),
  );
  await Promise.all(holders);
  expect({ inside, most }).toEqual({ inside: 0, most: 1 });
  expect(readdirSync(join(folder, "locks"))).toEqual([]);
});

test("a failure lets go of it", async () => {
  const failing = withLock(lock, {}, async () => {
    throw new Error("on purpose");
  });
  await expect(failing).rejects.toThrow("on purpose");
  expect(existsSync(lock)).toBe(false);
});

test("a holder that was killed is replaced at once, by one of several who wait", async () => {
  await leaveLock(deadPid);
  let inside = 0;
  const holders = Array.from({ length: 5 }, () =>
    withLock(lock, {}, async () => {
      expect(++inside).toBe(1);
      await delay(5);
      inside--;
    }),
  );
  await Promise.all(holders);
  expect(readdirSync(join(folder, "locks"))).toEqual([]);
});

test("a lock of this process's own number that it does not hold is one of an earlier life of a container", async () => {
  await leaveLock(process.pid);
  let waited = false;
  await withLock(lock, { onWait: () => (waited = true) }, async () => {});
  expect(waited).toBe(true);
  expect(existsSync(lock)).toBe(false);
});

test("a holder on another machine is waited for, until it has been silent for minutes", async () => {
  await leaveLock(deadPid, "another machine");
  let waits = 0;
  const onWait = () => {
    waits++;
    expect(readFileSync(lock, "utf8")).toContain("another machine");
    const old = new Date(Date.now() - 10 * 60_000);
    utimesSync(lock, old, old);
  };
  expect(await withLock(lock, { onWait }, async () => "held")).toBe("held");
  expect(waits).toBe(1);
});

test("a lock file cut off by a full disk counts by its age", async () => {
  await leaveLock(deadPid);
  writeFileSync(lock, "");
  const old = new Date(Date.now() - 10 * 60_000);
  utimesSync(lock, old, old);
  expect(await withLock(lock, {}, async () => "held")).toBe("held");
});

test("waiting ends with an abort and leaves the lock to its holder", async () => {
  await leaveLock(process.ppid);
  const controller = new AbortController();
  const onWait = () => setImmediate(() => controller.abort());
  await expect(withLock(lock, { signal: controller.signal, onWait }, async () => {})).rejects.toMatchObject({
    code: "ABORTED",
  });
  expect(readFileSync(lock, "utf8")).toContain("another");
  expect(readdirSync(join(folder, "locks"))).toEqual(["blob.lock"]);
});

test("a lock that cannot be made is told of its folder", async () => {
  const file = join(folder, "a file");
  writeFileSync(file, "");
  await expect(withLock(join(file, "x.lock"), {}, async () => {})).rejects.toThrow(`${file} cannot be written to`);
});
