// Batches over a real Redis: workers are processes, one of which is killed in the middle.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { redisTarget } from "../../src/batch/redis-target.js";
import { startRedisWorker } from "../../src/batch/redis-worker.js";
import { runBatch } from "../../src/batch/run.js";
import { type BatchCall, type Send, sendTarget } from "../../src/batch/target.js";
import { writeRequests } from "../support/batch-requests.js";
import { root, runBitnet } from "../support/fixtures.js";

const executable = "/usr/bin/redis-server";
const isThere = existsSync(executable);
const title = isThere
  ? "over Redis"
  : `not tested: batches over Redis, as there is no ${executable} (Debian: apt-get install redis-server)`;

const folder = mkdtempSync(join(tmpdir(), "bitnet-redis-"));
const at = (name: string) => join(folder, name);

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** A Redis that listens; `more` are options of it. */
async function startRedis(port: number, ...more: string[]): Promise<ChildProcess> {
  const options = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--dir", folder];
  const redis = spawn(executable, [...options, ...more], { stdio: "ignore" });
  const client = new Redis(`redis://127.0.0.1:${port}`, { maxRetriesPerRequest: null });
  client.on("error", () => {}); // until it listens
  await client.ping();
  client.disconnect();
  return redis;
}

describe.skipIf(!isThere)(title, () => {
  let redis: ChildProcess;
  let url = "";
  beforeAll(async () => {
    const port = await freePort();
    url = `redis://127.0.0.1:${port}`;
    redis = await startRedis(port, "--appendonly", "no");
  });
  afterAll(() => {
    redis.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  });

  /** bitnet serve as a worker; resolves when it is ready. */
  async function startWorkerProcess(queue: string): Promise<ChildProcess> {
    const child = spawn(process.execPath, [
      ...[join(root, "bin", "bitnet.js"), "serve", "--port", "0", "--json", "--quiet", "--no-ui", "-np", "2"],
      ...["--redis-worker", url, "--redis-queue", queue, "--redis-lock", "2"],
    ]);
    await new Promise<void>((resolve, reject) => {
      child.stdout.once("data", () => resolve());
      child.once("exit", (code) => reject(new Error(`the worker ended with ${code}`)));
    });
    return child;
  }

  test("two workers, one of them killed in the middle: every line once, as without Redis", async () => {
    const input = writeRequests(at("killed.jsonl"), 120, { temperature: 1, max_tokens: 20, ignore_eos: true });
    const alone = await runBitnet(["batch", input, "-o", at("alone.jsonl"), "--ordered", "--quiet"]);
    expect(alone).toMatchObject({ status: 0, stderr: "" });
    const workers = [await startWorkerProcess("killed"), await startWorkerProcess("killed")];
    const redisClient = new Redis(url);
    const producer = runBitnet([
      ...["batch", input, "-o", at("many.jsonl"), "--ordered", "--json"],
      ...["--redis", url, "--redis-queue", "killed"],
    ]);
    // Both have jobs that are not done.
    while ((await redisClient.llen("bull:killed:active")) < 3) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    redisClient.disconnect();
    workers[0]?.kill("SIGKILL");
    const { status, stdout } = await producer;
    workers[1]?.kill("SIGTERM");
    expect(await new Promise((resolve) => workers[1]?.once("exit", resolve))).toBe(0);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ total: 120, succeeded: 120, failed: 0 });
    expect(readFileSync(at("many.jsonl"), "utf8")).toBe(readFileSync(at("alone.jsonl"), "utf8"));
  });

  const answer: Send = async ({ body }: BatchCall) => ({ status: 200, headers: {}, body: { seen: body } });

  test("a worker that ends gives back what it has not done, and keeps what it has", async () => {
    const input = writeRequests(at("ended.jsonl"), 16);
    const asked: string[] = [];
    const note = (call: BatchCall) => asked.push(call.headers["x-request-id"] ?? "");
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const first = await startRedisWorker({
      ...{ url, queue: "ended", parallel: 1 },
      send: async (call) => {
        note(call);
        if (asked.length === 5) {
          end();
          await new Promise((resolve) => setImmediate(resolve));
        }
        return await answer(call);
      },
    });
    const running = runBatch({
      ...{ input, output: at("ended-out.jsonl"), seed: 0 },
      target: () => redisTarget({ url, queue: "ended" }),
    });
    await ended;
    await first.close();
    const before = asked.length;
    expect(before).toBeLessThan(16);
    const second = await startRedisWorker({
      ...{ url, queue: "ended", parallel: 4 },
      send: async (call) => {
        note(call);
        return await answer(call);
      },
    });
    expect(await running).toMatchObject({ succeeded: 16, left: 0 });
    await second.close();
    expect(asked).toHaveLength(16);
    expect(new Set(asked).size).toBe(16);
  });

  test("nothing stays in Redis of a batch that is done", async () => {
    const worker = await startRedisWorker({ url, queue: "clean", parallel: 2, send: answer });
    const input = writeRequests(at("clean.jsonl"), 40);
    await runBatch({
      ...{ input, output: at("clean-out.jsonl"), seed: 0 },
      target: () => redisTarget({ url, queue: "clean" }),
    });
    await worker.close();
    const client = new Redis(url);
    const jobs = (await client.keys("bull:clean:*")).filter((key) => /:[0-9a-f]{32}/.test(key));
    client.disconnect();
    expect(jobs).toEqual([]);
    await runBatch({
      input,
      output: at("clean-alone.jsonl"),
      seed: 0,
      target: sendTarget({ send: answer, parallel: 1 }),
    });
    const sorted = (name: string) => readFileSync(at(name), "utf8").split("\n").sort();
    expect(sorted("clean-out.jsonl")).toEqual(sorted("clean-alone.jsonl"));
  });

  test.each([
    ["keeps its jobs", ["--appendonly", "yes", "--appendfsync", "always"]],
    ["has lost its jobs", ["--appendonly", "no"]],
  ])(
    "a Redis that is restarted in the middle and %s costs no line, and both sides say what they wait for",
    async (how, options) => {
      const port = await freePort();
      const queue = "restarted";
      const own = `redis://127.0.0.1:${port}`;
      let server = await startRedis(port, ...options, "--appenddirname", how.replaceAll(" ", "-"));
      const input = writeRequests(at("restarted.jsonl"), 64);
      const told: string[] = [];
      const onTrouble = (message: string) => told.push(message);
      let asked = 0;
      let restart = () => {};
      const isDue = new Promise<void>((resolve) => {
        restart = resolve;
      });
      let goOn = () => {};
      const isBack = new Promise<void>((resolve) => {
        goOn = resolve;
      });
      const worker = await startRedisWorker({
        ...{ url: own, queue, parallel: 4, lockSeconds: 2, onTrouble },
        send: async (call) => {
          asked++;
          if (asked === 24) {
            restart(); // some jobs are done, some run, some wait
          }
          if (asked >= 24) {
            await isBack;
          }
          return await answer(call);
        },
      });
      const output = at(`restarted-${how}.jsonl`);
      const running = runBatch({
        ...{ input, output, seed: 0, ordered: true, restart: true },
        target: () => redisTarget({ url: own, queue, onTrouble, lookSeconds: 1 }),
      });
      await isDue;
      server.kill("SIGKILL");
      await new Promise((resolve) => server.once("exit", resolve));
      server = await startRedis(port, ...options, "--appenddirname", how.replaceAll(" ", "-"));
      const answersAgain = () => told.filter((message) => /answers again/.test(message)).length;
      await expect.poll(answersAgain, { timeout: 60_000 }).toBe(2);
      goOn();
      expect(await running).toMatchObject({ succeeded: 64, failed: 0, left: 0 });
      await worker.close();
      server.kill("SIGKILL");
      const target = sendTarget({ send: answer, parallel: 1 });
      await runBatch({ input, output: at("restarted-alone.jsonl"), seed: 0, ordered: true, restart: true, target });
      expect(readFileSync(output, "utf8")).toBe(readFileSync(at("restarted-alone.jsonl"), "utf8"));
      const away = told.filter((message) => /(does not answer|closed the connection).*; trying again/.test(message));
      expect(away).toHaveLength(2);
    },
  );

  test("a stopped producer takes back what nobody has begun", async () => {
    const input = writeRequests(at("back.jsonl"), 64);
    const stop = new AbortController();
    const running = runBatch({
      ...{ input, output: at("back-out.jsonl"), signal: stop.signal },
      target: () => redisTarget({ url, queue: "back" }),
    });
    const client = new Redis(url);
    while ((await client.llen("bull:back:wait")) < 4) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    stop.abort();
    expect(await running).toMatchObject({ succeeded: 0, left: 64 });
    expect(await client.llen("bull:back:wait")).toBe(0);
    client.disconnect();
  });
});
