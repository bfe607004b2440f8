// Who may wait and for how long, and what becomes of those who leave.

import { describe, expect, test, vi } from "vitest";
import { startTestServer, type TestServer } from "../support/serve.js";

const path = "/v1/chat/completions";
const messages = [{ role: "user", content: "Tell me a story." }];
const endless = { messages, ignore_eos: true, max_tokens: 400 };

/** A stream whose first event has come: it runs, and takes a place until it is let go. */
async function occupy(
  server: TestServer,
  body: object = endless,
): Promise<{ leave: () => void; text: Promise<string> }> {
  const gone = new AbortController();
  const response = await server.post(path, { ...body, stream: true }, { signal: gone.signal });
  expect(response.status).toBe(200);
  return { leave: () => gone.abort(), text: response.text().catch(() => "left") };
}

/** Waits until the server's own count says so. */
async function until(isSo: () => boolean): Promise<void> {
  for (let tries = 0; !isSo(); tries++) {
    expect(tries).toBeLessThan(100_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Takes a place of the engine until it is let go: a text that nobody reads on. */
async function hold(server: TestServer): Promise<() => void> {
  const session = server.server.context.service.model.createSession({ contextSize: 512 });
  const tokens = session.generateTokens("Once upon a time", { maxTokens: 500, ignoreEos: true });
  await tokens.next();
  return () => session.close();
}

async function errorOf(response: Response): Promise<Record<string, unknown>> {
  return ((await response.json()) as { error: Record<string, unknown> }).error;
}

function admissionOf(server: TestServer) {
  return server.server.context.service.admission;
}

describe("the queue", () => {
  test("holds exactly as many as it is told to, and tells the next one when to come back", async () => {
    await using server = await startTestServer({ parallel: 1, queueSize: 2 });
    const release = await hold(server);
    // One that is to run next, and two that wait behind it.
    const waiting = [1, 2, 3].map(() => server.post(path, { messages }));
    await until(() => admissionOf(server).waiting === 3);
    const refused = await server.post(path, { messages });
    expect(refused.status).toBe(503);
    expect(await errorOf(refused)).toMatchObject({ type: "unavailable_error", code: "queue_full" });
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    expect(Number(refused.headers.get("retry-after-ms"))).toBeGreaterThanOrEqual(1000);
    release();
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(admissionOf(server).waiting).toBe(0);
  });

  test("has no place that work in the background takes from other work", async () => {
    await using server = await startTestServer({ parallel: 1, queueSize: 1 });
    const release = await hold(server);
    const post = (more: object = {}) => server.post(path, { messages, max_tokens: 4, ...more });
    const inBackground = { service_tier: "flex" };
    const waiting = [post(inBackground), post(inBackground)];
    await until(() => admissionOf(server).waiting === 2);
    expect((await post(inBackground)).status).toBe(503);
    waiting.push(post(), post());
    await until(() => admissionOf(server).waiting === 4);
    expect((await post()).status).toBe(503);
    expect((await post(inBackground)).status).toBe(503);
    release();
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await post(inBackground)).status).toBe(200);
  });

  test("gives up a request that waits too long", async () => {
    await using server = await startTestServer({ parallel: 1, queueTimeout: 0.05 });
    const release = await hold(server);
    const refused = await server.post(path, { messages });
    expect(refused.status).toBe(503);
    expect((await errorOf(refused)).code).toBe("queue_timeout");
    release();
  });

  test("never runs a request whose client has left", async () => {
    await using server = await startTestServer({ parallel: 1 });
    const { model } = server.server.context.service;
    const release = await hold(server);
    const { promptTokens } = model.stats();
    const gone = new AbortController();
    const waiting = server.post(path, { messages }, { signal: gone.signal });
    await until(() => admissionOf(server).waiting === 1);
    gone.abort();
    await expect(waiting).rejects.toThrow();
    await until(() => admissionOf(server).waiting === 0);
    release();
    await until(() => model.stats().running === 0);
    expect(model.stats().promptTokens).toBe(promptTokens);
  });
});

describe("a client that leaves", () => {
  test.each([true, false])("frees its place (stream: %s)", async (stream) => {
    await using server = await startTestServer({ parallel: 1 });
    const release = await hold(server);
    const gone = new AbortController();
    const leaving = server.post(path, { ...endless, stream }, { signal: gone.signal });
    await until(() => admissionOf(server).waiting === 1);
    release();
    gone.abort();
    await expect(leaving).rejects.toThrow();
    await until(() => admissionOf(server).running + admissionOf(server).waiting === 0);
    const next = await server.ask(path, { messages, max_tokens: 4 });
    expect(next.choices[0].message.content).not.toBe("");
  });

  test("ends nobody else", async () => {
    await using server = await startTestServer({ parallel: 4 });
    const alone = await server.ask(path, { messages, max_tokens: 60 });
    const others = await Promise.all([occupy(server), occupy(server)]);
    const answer = server.ask(path, { messages, max_tokens: 60 });
    for (const { leave } of others) {
      leave();
    }
    expect((await answer).choices).toEqual(alone.choices);
  });
});

describe("a request that is over", () => {
  // A signal holds a little of each other that it was joined with as long as it lives: what outlives requests would grow.
  test("has joined its signals with none that lives longer", async () => {
    await using server = await startTestServer();
    const join = vi.spyOn(AbortSignal, "any");
    const joined = async (body: object) => {
      join.mockClear();
      await (await server.post(path, body)).text();
      return new Set(join.mock.calls.flat(2));
    };
    const request = { messages, max_tokens: 2, n: 2 };
    const [first, second] = [await joined(request), await joined({ ...request, stream: true })];
    join.mockRestore();
    expect(first.size).toBeGreaterThan(0);
    expect([...second].filter((signal) => first.has(signal))).toEqual([]);
  });
});

describe("a request that takes too long", () => {
  test("gets 504", async () => {
    await using server = await startTestServer({ requestTimeout: 0.001 });
    const late = await server.post(path, endless);
    expect(late.status).toBe(504);
    expect(await errorOf(late)).toMatchObject({ type: "timeout_error", code: "request_timeout" });
  });
});

describe("a server that is told to end", () => {
  test("answers what is there, refuses what is new, and says at /health that it is going", async () => {
    const server = await startTestServer({ parallel: 1 });
    const release = await hold(server);
    const waiting = server.stream(path, { messages });
    await until(() => admissionOf(server).waiting === 1);
    const closed = server.server.close();
    const refused = await server.post(path, { messages });
    const health = await server.get("/health");
    const alive = await server.get("/livez");
    release();
    const events = await waiting;
    expect(events.at(-1).choices[0].finish_reason).toBe("stop");
    expect(refused.status).toBe(503);
    expect((await errorOf(refused)).code).toBe("draining");
    expect(health.status).toBe(503);
    expect(alive.status).toBe(200);
    await closed;
    await expect(server.get("/health")).rejects.toThrow();
  });

  test("ends what still runs when its time is over", async () => {
    const server = await startTestServer({ parallel: 1, drainTimeout: 0 });
    await hold(server);
    const waiting = server.post(path, { messages });
    await until(() => admissionOf(server).waiting === 1);
    await server.server.close();
    const answer = await waiting;
    expect(answer.status).toBe(503);
    expect((await errorOf(answer)).code).toBe("draining");
  });
});
