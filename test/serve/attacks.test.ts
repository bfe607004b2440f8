// What somebody tries who wants the server to fall: none of it ends the server or keeps others waiting.

import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "../support/serve.js";

let server: TestServer;
let port: number;

beforeAll(async () => {
  server = await startTestServer({ queueSize: 2, parallel: 1, connectionsPerAddress: 0 });
  port = Number(new URL(server.url).port);
});
afterAll(() => server[Symbol.asyncDispose]());

const path = "/v1/chat/completions";
const messages = [{ role: "user", content: "Hello" }];
const hello = { messages, max_tokens: 3 };

async function expectAlive(): Promise<void> {
  expect((await server.post(path, hello)).status).toBe(200);
}

/** Numbers that repeat: a linear congruential generator. */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe("bodies", () => {
  test("a thousand wrong ones get a thousand answers, all of them 4xx, with nothing of the inside", async () => {
    const random = createRandom(1);
    const good = JSON.stringify({ ...hello, temperature: 0.5, stop: ["x"], stream: false });
    const values = ["null", "-1", "1e999", '"x"', "[]", "{}", "true", '"\\ud800"', "[[[]]]", '{"a":{}}'];
    const names = [
      "messages",
      "temperature",
      "max_tokens",
      "stop",
      "n",
      "seed",
      "tools",
      "response_format",
      "logit_bias",
    ];
    const bodies = Array.from({ length: 1000 }, (_, i) => {
      switch (i % 4) {
        case 0: // cut off
          return good.slice(0, 1 + random(good.length - 2));
        case 1: // a byte changed into one that ends JSON
          return `${good.slice(0, random(good.length))}\u0001${good.slice(random(good.length))}`;
        case 2: // a field of the wrong kind, and no messages
          return `{"${names[random(names.length)]}":${values[random(values.length)]}}`;
        default: // messages of the wrong kind
          return `{"messages":[{"role":"user","content":[${values[random(values.length)]}]}]}`;
      }
    });
    const statuses = new Map<number, number>();
    const work = async () => {
      for (let body = bodies.pop(); body !== undefined; body = bodies.pop()) {
        const answer = await server.post(path, body);
        const text = await answer.text();
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
        expect([body, answer.status >= 400 && answer.status < 500]).toEqual([body, true]);
        expect(JSON.parse(text).error.message).toEqual(expect.any(String));
        expect(text).not.toMatch(/node_modules|\/src\/|\/dist\/|at Object|\.ts:/);
      }
    };
    await Promise.all(Array.from({ length: 8 }, work));
    expect([...statuses.values()].reduce((sum, count) => sum + count)).toBe(1000);
    await expectAlive();
  });

  test("bombs of brackets, of names and of size are refused before they are parsed", async () => {
    const bombs: [string, number][] = [
      ["[".repeat(4 * 2 ** 20), 400],
      [`${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`, 400],
      [`{"messages":"${"a".repeat(8 * 2 ** 20)}"}`, 413],
      [`{"__proto__":{"polluted":true},"messages":[]}`, 400],
    ];
    for (const [body, status] of bombs) {
      expect((await server.post(path, body)).status).toBe(status);
    }
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    await expectAlive();
  });

  test("a schema whose pattern explodes elsewhere, and names of fields that steer, are answered", async () => {
    const pattern = "^(a+)+$";
    const schema = { type: "object", properties: { a: { type: "string", pattern } }, required: ["a"] };
    const asked = { ...hello, response_format: { type: "json_schema", json_schema: { name: "x", schema } } };
    expect([200, 400]).toContain((await server.post(path, asked)).status);
    const answer = await server.post(path, { ...hello, "x\r\nset-cookie: a=b": 1, constructor: 1, toString: 1 });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("set-cookie")).toBeNull();
    expect(answer.headers.get("x-bitnet-ignored")).toBe("constructor, toString");
  });

  test("an id of a request that would add a header is not taken", async () => {
    const raw = `GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a b\tc<script>\r\nConnection: close\r\n\r\n`;
    expect(await sendRaw(raw)).not.toContain("<script>");
  });
});

describe("connections", () => {
  test("that send half a request and then nothing keep nobody waiting", async () => {
    const half = await Promise.all(
      Array.from({ length: 100 }, () => openWith("POST /v1/chat/completions HTTP/1.1\r\nHo")),
    );
    await expectAlive();
    for (const socket of half) {
      socket.destroy();
    }
  });

  test("that ask and leave at once cost nothing that stays", async () => {
    const body = JSON.stringify({ messages, max_tokens: 1500, ignore_eos: true });
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    for (let i = 0; i < 20; i++) {
      (await openWith(head + body)).destroy();
    }
    const { admission } = server.server.context.service;
    await expect.poll(() => admission.running + admission.waiting).toBe(0);
    await expectAlive();
  });

  test("that do not read their stream are not written to without end, and end with their socket", async () => {
    const body = JSON.stringify({ messages, max_tokens: 1500, ignore_eos: true, stream: true });
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    const socket = await openWith(head + body);
    socket.pause();
    await expectAlive(); // after it, as one runs at a time
    socket.destroy();
    const { admission } = server.server.context.service;
    await expect.poll(() => admission.running + admission.waiting).toBe(0);
  });

  test("more than the queue holds get 503 with the time to wait, and a place that is free is taken at once", async () => {
    // A server of its own: what the others have asked and left may still reach theirs.
    await using full = await startTestServer({ queueSize: 2, parallel: 1 });
    const { admission } = full.server.context.service;
    const places = Array.from({ length: 3 }, () => admission.enter(new AbortController().signal)); // 1 may run, 2 wait
    for (let i = 0; i < 3; i++) {
      const answer = await full.post(path, hello);
      expect(answer.status).toBe(503);
      expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
      expect(await answer.json()).toMatchObject({ error: { type: "unavailable_error", code: "queue_full" } });
    }
    places.pop()?.end();
    expect((await full.post(path, hello)).status).toBe(200);
    for (const place of places) {
      place.end();
    }
  });
});

function openWith(text: string): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(text, () => resolve(socket)));
    socket.on("error", () => {});
  });
}

async function sendRaw(text: string): Promise<string> {
  const socket = await openWith(text);
  let received = "";
  for await (const data of socket) {
    received += data;
  }
  return received;
}
