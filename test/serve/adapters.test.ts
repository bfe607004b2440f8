// Adapters of a server: by number, by name, for all, and never for anybody else.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeTinyAdapter } from "../support/adapters.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-test-"));
const [one, two] = [writeTinyAdapter(join(folder, "one"), 256, 0.5), writeTinyAdapter(join(folder, "two"), 256, -0.7)];
afterAll(() => rmSync(folder, { recursive: true }));

const prompt = "Once upon a time there was a little";
const ask = async (server: TestServer, body: object = {}) => {
  const { content } = await server.ask<{ content: string }>("/completion", { prompt, n_predict: 24, ...body });
  return content;
};

describe("a server with adapters", () => {
  let server: TestServer;
  let base: string;
  beforeAll(async () => {
    server = await startTestServer({
      adapters: [{ path: one }, { path: two, name: "second", scale: 0.5 }],
      adaptersWait: true,
      responseCacheBytes: 2 ** 20,
      strictModel: true,
    });
    base = await ask(server);
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test("lists them with their numbers, names and scales", async () => {
    expect(await server.read("/lora-adapters")).toEqual([
      expect.objectContaining({ id: 0, path: "one", name: "one", scale: 0, ranks: [1] }),
      expect.objectContaining({ id: 1, path: "second", name: "second", scale: 0 }),
    ]);
  });

  test("gives a request those that it names, beside others, and nobody else", async () => {
    const lora = [[], [{ id: 0, scale: 1 }], [{ id: 1, scale: 2 }], [{ id: 0, scale: 0 }]];
    const alone: string[] = [];
    for (const adapters of lora) {
      alone.push(await ask(server, { lora: adapters, cache_prompt: false }));
    }
    expect(alone[0]).toBe(base);
    expect(alone[3]).toBe(base);
    expect(new Set(alone).size).toBe(3);
    const together = await Promise.all(
      [...lora, ...lora].map((adapters, i) => ask(server, { lora: adapters, seed: i, n_predict: 24 })),
    );
    expect(together).toEqual([...alone, ...alone]);
  });

  test("takes an adapter for a model of its name, with the scale of the command line", async () => {
    const { data } = await server.read("/v1/models");
    const [{ id }, ...others] = data as { id: string; parent?: string }[] as [{ id: string }, ...object[]];
    expect(others).toEqual([
      expect.objectContaining({ id: `${id}:one`, parent: id }),
      expect.objectContaining({ id: `${id}:second`, parent: id }),
    ]);
    const expected = await ask(server, { lora: [{ id: 1, scale: 0.5 }] });
    for (const model of ["second", `${id}:second`]) {
      const body = { model, prompt, max_tokens: 24 };
      const { choices } = await server.ask("/v1/completions", body);
      expect(choices[0].text).toBe(expected);
    }
    expect((await server.post("/v1/completions", { model: "third", prompt })).status).toBe(404);
  });

  test("changes what all others get, and answers that were kept are not those of another adapter", async () => {
    const adapted = await ask(server, { lora: [{ id: 0, scale: 1 }] });
    expect(await server.ask("/lora-adapters", [{ id: 0, scale: 1 }])).toEqual({ success: true });
    expect(await ask(server)).toBe(adapted);
    expect(await server.read("/lora-adapters")).toMatchObject([{ scale: 1 }, { scale: 0 }]);
    expect(await server.ask("/lora-adapters", [])).toEqual({ success: true });
    expect(await ask(server)).toBe(base);
  });

  test.each([
    [[{ id: 2, scale: 1 }], /lora\[0\]\.id.*0 to 1/],
    [[{ id: 0, scale: "1" }], /lora\[0\]\.scale/],
    [
      [
        { id: 0, scale: 1 },
        { id: 0, scale: 2 },
      ],
      /each adapter once/,
    ],
    ["all", /lora/],
  ])("refuses %j", async (lora, message) => {
    const response = await server.post("/completion", { prompt, lora });
    expect(response.status).toBe(400);
    expect(await response.text()).toMatch(message);
  });
});

test("changing the adapters of all needs the scope admin", async () => {
  const apiKeyFile = join(folder, "keys");
  writeFileSync(apiKeyFile, "of-a-client scope=chat\nof-the-operator scope=chat,admin\n");
  await using server = await startTestServer({ adapters: [{ path: one }], apiKeyFile });
  const as = (key: string) => ({ headers: { authorization: `Bearer ${key}` } });
  expect((await server.get("/lora-adapters", as("of-a-client"))).status).toBe(200);
  expect((await server.post("/lora-adapters", [], as("of-a-client"))).status).toBe(403);
  expect((await server.post("/lora-adapters", [], as("of-the-operator"))).status).toBe(200);
});

test("two adapters of one name, and one of another model, keep the server from starting", async () => {
  await expect(startTestServer({ adapters: [{ path: one }, { path: one }] })).rejects.toThrow(/two adapters.*"one"/);
  const other = writeTinyAdapter(join(folder, "other"), 128);
  await expect(startTestServer({ adapters: [{ path: other }] })).rejects.toThrow(/128 x 128; .* 256 x 256/);
});
