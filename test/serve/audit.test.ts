// What is written down about requests, and that nobody can write into it.

import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { formatLogEntry } from "../../src/serve/log.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-audit-"));
afterAll(() => rmSync(folder, { recursive: true }));

type Line = Record<string, unknown>;

function readLines(path: string): Line[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

/** The line about a request, once it is written. */
async function lineOf(path: string, id: string): Promise<Line> {
  const find = () => readLines(path).find(({ request_id }) => request_id === id);
  await expect.poll(find).toBeDefined();
  return find() as Line;
}

describe("the audit log", () => {
  let server: TestServer;
  const auditLog = join(folder, "audit.jsonl");
  const logFile = join(folder, "server.log");

  beforeAll(async () => {
    writeFileSync(auditLog, "", { mode: 0o644 });
    const secretFile = join(folder, "secret");
    writeFileSync(secretFile, "a secret of the operator\n");
    const contentFilter = join(folder, "rules.json");
    writeFileSync(contentFilter, JSON.stringify([{ name: "marked", pattern: "marked", on: "input", action: "flag" }]));
    server = await startTestServer({
      apiKeys: ["sk-one", "sk-two"],
      auditLog,
      logFile,
      logFormat: "json",
      secretFile,
      contentFilter,
    });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const ask = (id: string, key: string, body: object = {}) =>
    server.post(
      "/v1/chat/completions",
      { messages: [{ role: "user", content: "A marked word" }], max_tokens: 5, ignore_eos: true, ...body },
      { headers: { "x-request-id": id, "x-api-key": key } },
    );

  test("has a line for every answer, without keys, addresses or texts, for its owner alone", async () => {
    await ask("first", "sk-one");
    await (await ask("streamed", "sk-one", { stream: true })).text();
    await ask("refused", "sk-wrong");
    await ask("wrong", "sk-two", { temperature: "hot" });
    const first = await lineOf(auditLog, "first");
    expect(first).toMatchObject({
      ...{ method: "POST", route: "/v1/chat/completions", status: 200, code: null, finish: "length" },
      ...{ completion_tokens: 5, cached_tokens: 0, rule: "marked", model: "tiny-bitnet" },
    });
    expect(first.prompt_tokens).toBeGreaterThan(3);
    expect(first.client).toMatch(/^[0-9a-f]{16}$/);
    expect(await lineOf(auditLog, "streamed")).toMatchObject({ client: first.client, completion_tokens: 5 });
    expect(await lineOf(auditLog, "refused")).toMatchObject({ client: null, status: 401, code: "invalid_api_key" });
    const wrong = await lineOf(auditLog, "wrong");
    expect(wrong).toMatchObject({ status: 400, code: "invalid_value", finish: null });
    expect(wrong.client).not.toBe(first.client);
    expect(readFileSync(auditLog, "utf8")).not.toMatch(/sk-|127\.0\.0\.1|marked word/);
    expect(statSync(auditLog).mode & 0o777).toBe(0o600);
  });

  test("tells of clients that left, streamed or not", async () => {
    const gone = new AbortController();
    const body = { messages: [{ role: "user", content: "Hello" }], max_tokens: 1500, ignore_eos: true, stream: true };
    const headers = { "x-request-id": "left", "x-api-key": "sk-one" };
    const answer = await server.post("/v1/chat/completions", body, { headers, signal: gone.signal });
    await answer.body?.getReader().read();
    gone.abort();
    const { status, finish } = await lineOf(auditLog, "left");
    expect([status, finish]).toEqual([200, null]);
  });

  test("cannot be written into: an id with a line break is replaced, names with one are escaped", async () => {
    const before = readLines(auditLog).length;
    const headers = { "x-request-id": 'a","client":"forged', "x-api-key": "sk-one" };
    const answer = await server.post("/v1/chat/completions", { messages: [], "a\nb": 1 }, { headers });
    expect(answer.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    await server.get(`/v1/models/${encodeURIComponent('x\n{"time":"forged"}')}`, {
      headers: { "x-api-key": "sk-one" },
    });
    await expect.poll(() => readLines(auditLog).length).toBe(before + 2);
    expect(readFileSync(auditLog, "utf8")).not.toContain("forged");
  });

  test("and the server's log go on in new files after a rotation", async () => {
    await lineOf(logFile.replace("server.log", "audit.jsonl"), "first");
    renameSync(auditLog, `${auditLog}.1`);
    renameSync(logFile, `${logFile}.1`);
    await server.server.reload();
    await ask("rotated", "sk-one");
    expect(await lineOf(auditLog, "rotated")).toMatchObject({ status: 200 });
    await expect.poll(() => readLines(logFile).some(({ requestId }) => requestId === "rotated")).toBe(true);
    expect(readLines(`${auditLog}.1`).some(({ request_id }) => request_id === "rotated")).toBe(false);
    expect(readLines(`${logFile}.1`)[0]).toMatchObject({ level: expect.any(String), time: expect.any(String) });
  });
});

test("with auditContent the texts are there", async () => {
  const auditLog = join(folder, "content.jsonl");
  await using server = await startTestServer({ auditLog, auditContent: true });
  const headers = { "x-request-id": "content" };
  const messages = [{ role: "user", content: "Line one\nLine two" }];
  const answer = await server.ask("/v1/chat/completions", { messages, max_tokens: 5 }, { headers });
  const line = await lineOf(auditLog, "content");
  expect(line.input).toEqual([messages]);
  expect(line.output).toEqual([answer.choices[0].message.content]);
});

test("a file that cannot be written is told at the start", async () => {
  await expect(startTestServer({ auditLog: join(folder, "none", "audit.jsonl") })).rejects.toThrow("cannot be written");
});

test("an entry of the log is one line, whatever is in it", () => {
  const entry = {
    level: "warn",
    message: "a\nb\u001b[31m\u2028c",
    fields: { reason: "x\ny", none: undefined },
  } as const;
  const text = formatLogEntry(entry, "text");
  expect(text).toBe('warn: a\\u000ab\\u001b[31m\\u2028c reason="x\\ny"');
  const json = formatLogEntry(entry, "json", new Date(0));
  expect(json.includes("\n")).toBe(false);
  expect(JSON.parse(json)).toMatchObject({ time: "1970-01-01T00:00:00.000Z", level: "warn", reason: "x\ny" });
});
