// How much a client may ask for: exact sliding windows, in memory and shared through Redis, and lengths of prompts.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LogEntry } from "../../src/serve/log.js";
import { RateLog } from "../../src/serve/rate-log.js";
import { SharedRates } from "../../src/serve/shared-rates.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const chat = { messages: [{ role: "user", content: "Hello" }], max_tokens: 4, ignore_eos: true };

describe("the log of requests", () => {
  test("lets no more than the limit into any 60 s, also across the edge of a minute", () => {
    let now = 0;
    const log = new RateLog(() => now);
    const limits = { requests: 10, tokens: 0 };
    const passed: number[] = [];
    for (; now < 300_000; now += 1700) {
      if (log.take("a", limits).refused === undefined) {
        passed.push(now);
      }
    }
    for (const begin of passed) {
      expect(passed.filter((time) => time >= begin && time < begin + 60_000).length).toBeLessThanOrEqual(10);
    }
    expect(passed.length).toBeGreaterThanOrEqual(50); // and all that it may
  });

  test("says when to come back: then it lets the request in, and not a moment before", () => {
    let now = 0;
    const log = new RateLog(() => now);
    const limits = { requests: 2, tokens: 0 };
    log.take("a", limits);
    now = 10_000;
    log.take("a", limits);
    now = 25_000;
    expect(log.take("a", limits).refused).toEqual({ by: "requests", retryMs: 35_000 });
    now = 59_999;
    expect(log.take("a", limits).refused).toBeDefined();
    now = 60_000;
    expect(log.take("a", limits)).toMatchObject({ refused: undefined, requests: { limit: 2, remaining: 0 } });
  });

  test("counts tokens of each client alone", () => {
    let now = 0;
    const log = new RateLog(() => now);
    const limits = { requests: 0, tokens: 100 };
    log.charge("a", 60);
    now = 30_000;
    log.charge("a", 60);
    expect(log.take("a", limits).refused).toEqual({ by: "tokens", retryMs: 30_000 });
    expect(log.take("b", limits)).toMatchObject({ refused: undefined, tokens: { remaining: 100, resetMs: 0 } });
    now = 60_000;
    expect(log.take("a", limits)).toMatchObject({ refused: undefined, tokens: { remaining: 40, resetMs: 30_000 } });
  });

  test("keeps no more than 10,000 clients, those that asked last", () => {
    const log = new RateLog(() => 0);
    const limits = { requests: 1, tokens: 0 };
    log.take("first", limits);
    for (let i = 0; i < 9_999; i++) {
      log.take(`client ${i}`, limits);
    }
    expect(log.take("first", limits).refused).toBeDefined();
    for (let i = 0; i < 10_000; i++) {
      log.take(`other ${i}`, limits);
    }
    expect(log.clients).toBe(10_000);
    expect(log.take("first", limits).refused).toBeUndefined();
  });
});

describe("a server with limits", () => {
  let server: TestServer;
  const folder = mkdtempSync(join(tmpdir(), "bitnet-limits-"));

  beforeAll(async () => {
    const apiKeyFile = join(folder, "keys");
    writeFileSync(apiKeyFile, "one rpm=2\nmany rpm=0 tpm=30\nusual\n");
    server = await startTestServer({ apiKeyFile, requestsPerMinute: 3, maxInputChars: 40, maxInputTokens: 60 });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  const ask = (key: string, body: unknown = chat) =>
    server.post("/v1/chat/completions", body, { headers: { authorization: `Bearer ${key}` } });

  test("answers 429 with the time to wait, by the key's limit or its own, and not for reading", async () => {
    const first = await ask("one");
    expect(first.headers.get("x-ratelimit-limit-requests")).toBe("2");
    expect(first.headers.get("x-ratelimit-remaining-requests")).toBe("1");
    expect(first.headers.get("x-ratelimit-reset-requests")).toMatch(/^\d+\.\d{3}s$/);
    expect((await ask("one")).status).toBe(200);
    const refused = await ask("one");
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(Number(refused.headers.get("retry-after-ms"))).toBeLessThanOrEqual(60_000);
    expect(await refused.json()).toMatchObject({ error: { type: "rate_limit_error", code: "rate_limit_exceeded" } });
    expect((await server.get("/version", { headers: { authorization: "Bearer one" } })).status).toBe(200);
    expect((await ask("usual")).headers.get("x-ratelimit-limit-requests")).toBe("3");
  });

  test("counts the tokens of prompts and answers", async () => {
    const { usage } = (await (await ask("many")).json()) as { usage: { total_tokens: number } };
    const second = await ask("many");
    expect(Number(second.headers.get("x-ratelimit-remaining-tokens"))).toBe(Math.max(0, 30 - usage.total_tokens));
    let status = second.status;
    for (let i = 0; i < 30 && status === 200; i++) {
      status = (await ask("many")).status;
    }
    expect(status).toBe(429);
  });

  test("does not count the lines of a batch again, which was let in as a whole; nobody outside can look like one", async () => {
    const client = { id: "batch", salt: "", weight: 1, scopes: new Set(["chat"] as const), requestsPerMinute: 1 };
    for (let i = 0; i < 3; i++) {
      const asked = { method: "POST", url: "/v1/chat/completions", body: chat, client } as const;
      expect((await server.server.context.handle(asked)).status).toBe(200);
    }
    await Promise.all([ask("one"), ask("one")]); // all that it may
    const headers = { authorization: "Bearer one", "x-bitnet-inside": "true" };
    expect((await server.post("/v1/chat/completions", chat, { headers })).status).toBe(429);
  });

  test("refuses prompts that are too long, with the field and both lengths", async () => {
    const long = { ...chat, messages: [{ role: "user", content: "a".repeat(41) }] };
    const answer = await ask("usual", long);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({
      error: { code: "invalid_value", param: "messages", message: expect.stringContaining("40 characters, got 41") },
    });
  });
});

test("with truncateInput a long prompt loses its beginning", async () => {
  await using server = await startTestServer({ maxInputChars: 12, truncateInput: true });
  const messages = [
    { role: "user", content: "first" },
    { role: "assistant", content: "second" },
  ];
  const long = await server.ask("/v1/chat/completions", {
    ...chat,
    messages: [...messages, { role: "user", content: "and then Hello, friend" }],
  });
  const short = await server.ask("/v1/chat/completions", {
    ...chat,
    messages: [{ role: "user", content: "ello, friend" }],
  });
  expect(long.choices[0].message.content).toBe(short.choices[0].message.content);
  expect(long.usage.prompt_tokens).toBe(short.usage.prompt_tokens);
});

const redisServer = "/usr/bin/redis-server";

describe.skipIf(!existsSync(redisServer))(`limits that servers share (needs ${redisServer})`, () => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-redis-"));
  let port: number;
  let stop: () => Promise<void>;

  beforeAll(async () => {
    port = await freePort();
    stop = await startRedis(port, folder);
  });
  afterAll(async () => {
    await stop();
    rmSync(folder, { recursive: true });
  });

  test("are one limit, sliding as in memory; when Redis is away, each server has its share and says so once", async () => {
    const log: LogEntry[] = [];
    const url = `redis://127.0.0.1:${port}`;
    const one = await SharedRates.open({ url, log: (entry) => log.push(entry) });
    const two = await SharedRates.open({ url, log: () => {} });
    const limits = { requests: 5, tokens: 50 };
    const verdicts = [];
    for (let i = 0; i < 7; i++) {
      verdicts.push(await (i % 2 === 0 ? one : two).take("client", limits));
    }
    expect(verdicts.map(({ refused }) => refused?.by)).toEqual([...Array(5).fill(undefined), "requests", "requests"]);
    expect(verdicts.map(({ requests }) => requests.remaining)).toEqual([4, 3, 2, 1, 0, 0, 0]);
    expect(verdicts[6]?.refused?.retryMs).toBeGreaterThan(0);
    expect(verdicts[6]?.refused?.retryMs).toBeLessThanOrEqual(60_000);
    expect((await two.take("other", limits)).refused).toBeUndefined();

    one.charge("other", 49);
    await expect.poll(async () => (await two.take("other", { requests: 0, tokens: 50 })).tokens.remaining).toBe(1);
    two.charge("other", 1);
    await expect.poll(async () => (await one.take("other", { requests: 0, tokens: 50 })).refused?.by).toBe("tokens");

    await stop();
    const alone = [];
    for (let i = 0; i < 4; i++) {
      alone.push((await one.take("newcomer", { requests: 4, tokens: 0 })).refused?.by);
    }
    expect(alone).toEqual([undefined, undefined, "requests", "requests"]); // half of it: there were two servers
    expect(log.filter(({ level }) => level === "warn")).toHaveLength(1);

    stop = await startRedis(port, folder);
    await expect.poll(async () => (await one.take("late", limits)) && log.at(-1)?.message).toContain("back");
    await one.close();
    await two.close();
  });
});

test("an address that is none of Redis' is a usage error", async () => {
  await expect(SharedRates.open({ url: "127.0.0.1:6379", log: () => {} })).rejects.toThrow("redis://");
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Resolves when it takes connections; what it resolves with ends it. */
async function startRedis(port: number, folder: string): Promise<() => Promise<void>> {
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder];
  const process = spawn(redisServer, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => process.once("exit", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    process.stdout.on("data", (data) => String(data).includes("Ready to accept") && resolve());
    process.once("exit", (code) => reject(new Error(`redis-server ended with ${code}`)));
  });
  return async () => {
    process.kill("SIGKILL");
    await ended;
  };
}
