// Batches in the library: forms of lines, what goes on where, what is kept. Lines are answered by functions of the tests.

import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { BatchFaultsError } from "../../src/batch/check.js";
import { HashTable } from "../../src/batch/hash-table.js";
import { hashOfText } from "../../src/batch/request.js";
import { type BatchOptions, type BatchProgress, runBatch } from "../../src/batch/run.js";
import { type BatchCall, type BatchReply, type Send, sendTarget } from "../../src/batch/target.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-batch-"));
const at = (name: string) => join(folder, name);
const input = at("in.jsonl");
const output = at("out.jsonl");
const partial = `${output}.partial`;
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  for (const name of ["out.jsonl", "out.jsonl.partial", "errors.jsonl", "errors.jsonl.partial"]) {
    rmSync(at(name), { force: true });
  }
});

const chatLine = (id: string, more: object = {}) => ({
  custom_id: id,
  method: "POST",
  url: "/v1/chat/completions",
  body: { messages: [{ role: "user", content: id }] },
  ...more,
});

function writeLines(lines: readonly (object | string)[]): void {
  writeFileSync(input, lines.map((line) => `${typeof line === "string" ? line : JSON.stringify(line)}\n`).join(""));
}

interface OutputLine {
  id: string;
  custom_id: string;
  // biome-ignore lint/suspicious/noExplicitAny: any JSON, compared field by field
  response: any;
  error: { code: string; message: string } | null;
}

function readOutput(path = output): OutputLine[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line));
}

const idsOf = (path = output) => readOutput(path).map(({ custom_id }) => custom_id);

function good(call: BatchCall): BatchReply {
  return { status: 200, headers: {}, body: { model: "m", seed: (call.body as { seed?: number }).seed } };
}

/** Answers everything, and notes what was asked. */
function recorder(answer: (call: BatchCall, turn: number) => BatchReply | Promise<BatchReply> = good) {
  const calls: BatchCall[] = [];
  const send: Send = async (call) => {
    calls.push(call);
    return await answer(call, calls.length);
  };
  return { calls, send };
}

const customIdOf = ({ body }: BatchCall) => (body as { messages: { content: string }[] }).messages[0]?.content ?? "";

function run(send: Send, options: Partial<BatchOptions> = {}) {
  return runBatch({ input, output, target: sendTarget({ send, parallel: 2 }), ...options });
}

describe("lines", () => {
  test("are requests with an url, prompts with or without an id, or texts", async () => {
    const { calls, send } = recorder();
    writeLines([
      chatLine("a"),
      { id: 7, prompt: "One", max_tokens: 3 },
      "",
      { prompt: "Two" },
      { custom_id: "e", url: "/v1/embeddings", body: { input: "x" } },
    ]);
    await run(send, {
      seed: 1,
      defaults: { max_tokens: 200, temperature: 0.7 },
      target: sendTarget({ send, parallel: 1 }),
    });
    expect(idsOf()).toEqual(["a", "7", "req_2", "e"]);
    expect(calls.map(({ url }) => url)).toEqual([
      "/v1/chat/completions",
      "/v1/completions",
      "/v1/completions",
      "/v1/embeddings",
    ]);
    const [, one, , embedding] = calls.map(({ body }) => body);
    expect(one).toMatchObject({ prompt: "One", max_tokens: 3, temperature: 0.7, service_tier: "flex" });
    expect(embedding).toEqual({ input: "x" });
  });

  test("of text are prompts, or messages of a user", async () => {
    const { calls, send } = recorder();
    writeFileSync(input, "\ufeffFirst line\r\n\r\nSecond line");
    await run(send, { text: true, chat: true, defaults: { max_tokens: 5 }, target: sendTarget({ send, parallel: 1 }) });
    expect(calls.map(customIdOf)).toEqual(["First line", "Second line"]);
    expect(calls[0]?.body).toMatchObject({ max_tokens: 5 });
    expect(idsOf()).toEqual(["req_0", "req_1"]);
  });

  test("have the seed that they say, else one of their custom_id that is the same in every run", async () => {
    writeLines([chatLine("a"), chatLine("b"), chatLine("c", { body: { messages: [], seed: 5 } })]);
    const seeds = async (seed: number) => {
      const { calls, send } = recorder();
      await run(send, { seed, restart: true, target: sendTarget({ send, parallel: 1 }) });
      return calls.map(({ body }) => (body as { seed: number }).seed);
    };
    const first = await seeds(0);
    expect(first[0]).not.toBe(first[1]);
    expect(first[2]).toBe(5);
    expect(await seeds(0)).toEqual(first);
    expect((await seeds(1))[0]).not.toBe(first[0]);
  });

  test("are all checked before any is answered, and every fault is told with its line", async () => {
    const { calls, send } = recorder();
    writeLines([
      chatLine("a"),
      "{not json",
      chatLine("a"),
      chatLine("b", { url: "/v1/files" }),
      chatLine("c", { method: "GET" }),
      chatLine("d", { body: [] }),
      chatLine("e", { body: { stream: true } }),
      chatLine("", {}),
      `{"custom_id":"f","url":"/v1/completions","body":${"[".repeat(100)}${"]".repeat(100)}}`,
      { prompt: 3 },
      "[1]",
    ]);
    appendFileSync(input, Buffer.from([0x22, 0xff, 0x22, 0x0a]));
    const error = await run(send).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(BatchFaultsError);
    const { faults, faultCount } = error as BatchFaultsError;
    expect(faultCount).toBe(11);
    expect(faults.map(({ line, code }) => [line, code])).toEqual([
      [2, "invalid_json"],
      [3, "duplicate_custom_id"],
      [4, "invalid_url"],
      [5, "invalid_method"],
      [6, "invalid_body"],
      [7, "invalid_body"],
      [8, "invalid_custom_id"],
      [9, "invalid_json"],
      [10, "invalid_prompt"],
      [11, "invalid_json"],
      [12, "invalid_encoding"],
    ]);
    expect(faults[1]?.message).toContain("line 1");
    expect(calls).toEqual([]);
    expect(existsSync(partial)).toBe(false);
  });

  test("that are longer than any request are a fault, not a load on memory", async () => {
    writeFileSync(input, `${"x".repeat(9 * 2 ** 20)}\n${JSON.stringify(chatLine("a"))}\n`);
    await expect(run(recorder().send)).rejects.toMatchObject({ faults: [{ line: 1, code: "line_too_long" }] });
  });

  test("must be there", async () => {
    writeFileSync(input, "\n \n");
    await expect(run(recorder().send)).rejects.toMatchObject({ faults: [{ line: 0, code: "empty_file" }] });
  });
});

describe("answers", () => {
  test("are the same bytes in every run: times, random ids and what a cache had are left out", async () => {
    writeLines([chatLine("a")]);
    let turn = 0;
    const { send } = recorder(() => {
      turn++;
      const id = `call_${String(turn).repeat(24)}`;
      return {
        status: 200,
        headers: { "x-request-id": `r${turn}` },
        body: {
          id: `chatcmpl-${String(turn).repeat(24)}`,
          created: turn,
          timings: { prompt_ms: turn },
          choices: [{ message: { content: `{"id":"chatcmpl-${"9".repeat(24)}"}`, tool_calls: [{ id }] } }],
          usage: { prompt_tokens: 4, prompt_tokens_details: { cached_tokens: turn } },
        },
      };
    });
    await run(send);
    const first = readFileSync(output, "utf8");
    await run(send, { restart: true });
    expect(readFileSync(output, "utf8")).toBe(first);
    const [{ id, response }] = readOutput() as [OutputLine];
    expect(response.request_id).toBe(id);
    expect(response.body.created).toBe(0);
    expect(response.body.choices[0].message.content).toBe(`{"id":"chatcmpl-${"9".repeat(24)}"}`);
    expect(response.body.choices[0].message.tool_calls[0].id).toMatch(/^call_[0-9a-f]{32}_1$/);
    await run(send, { restart: true, raw: true });
    expect(readOutput()[0]?.response.body).toMatchObject({ created: 3, timings: { prompt_ms: 3 } });
  });

  test("stand in the order of the lines if that is asked for", async () => {
    const ids = Array.from({ length: 20 }, (_, i) => `r${i}`);
    writeLines(ids.map((id) => chatLine(id)));
    // Every second line is answered after the one that follows it.
    const waiting: (() => void)[] = [];
    const { send } = recorder(async (call, turn) => {
      if (turn % 2 === 1) {
        await new Promise<void>((resolve) => waiting.push(resolve));
      } else {
        setImmediate(() => waiting.shift()?.());
      }
      return good(call);
    });
    await run(send);
    expect(idsOf()).not.toEqual(ids);
    await run(send, { ordered: true });
    expect(idsOf()).toEqual(ids);
    expect(existsSync(partial)).toBe(false);
  });

  test("that failed are told apart: 429 and 5xx are sent again, others not", async () => {
    writeLines(["busy", "broken", "missing", "wrong", "useless", "later"].map((id) => chatLine(id)));
    const statuses: Record<string, number> = { busy: 429, broken: 500, missing: 501, wrong: 400, useless: 503 };
    const seen = new Map<string, number>();
    const { send } = recorder((call) => {
      const id = customIdOf(call);
      seen.set(id, (seen.get(id) ?? 0) + 1);
      const status = id === "later" && seen.get(id) === 1 ? 503 : (statuses[id] ?? 200);
      const headers: Record<string, string> = { "retry-after-ms": "0" };
      if (id === "useless") {
        headers["x-should-retry"] = "false";
      }
      return { status, headers, body: status === 200 ? {} : { error: { code: `c${status}`, message: "why" } } };
    });
    const summary = await run(send, { errors: at("errors.jsonl") });
    expect(Object.fromEntries(seen)).toEqual({ busy: 3, broken: 3, missing: 1, wrong: 1, useless: 1, later: 2 });
    expect(summary).toMatchObject({ total: 6, succeeded: 1, failed: 5, left: 0, retries: 5 });
    expect(summary.failures).toEqual({ c429: 1, c500: 1, c501: 1, c400: 1, c503: 1 });
    expect(idsOf()).toEqual(["later"]);
    const wrong = readOutput(at("errors.jsonl")).find(({ custom_id }) => custom_id === "wrong");
    expect(wrong).toMatchObject({ response: { status_code: 400 }, error: { code: "c400", message: "why" } });
  });

  test("without a file for errors stand beside the failures, which the next run tries again", async () => {
    writeLines([chatLine("a"), chatLine("b")]);
    const failing = recorder((call) =>
      customIdOf(call) === "b" ? { status: 400, headers: {}, body: {} } : good(call),
    );
    expect(await run(failing.send)).toMatchObject({ succeeded: 1, failed: 1 });
    expect(readOutput().map(({ error }) => error?.code)).toEqual(expect.arrayContaining([undefined, "http_400"]));
    const { calls, send } = recorder();
    expect(await run(send)).toMatchObject({ kept: 1, succeeded: 1, failed: 0 });
    expect(calls.map(customIdOf)).toEqual(["b"]);
    expect(idsOf().sort()).toEqual(["a", "b"]);
  });
});

describe("a run that goes on", () => {
  const ids = Array.from({ length: 30 }, (_, i) => `r${i}`);

  /** Answers some lines, then is stopped; resolves to what is left. */
  async function beginAndStop(count: number): Promise<void> {
    const stop = new AbortController();
    const { send } = recorder((call, turn) => {
      if (turn === count) {
        stop.abort();
      }
      return good(call);
    });
    const summary = await run(send, { signal: stop.signal });
    expect(summary.left).toBeGreaterThan(0);
    expect(summary.left + summary.succeeded).toBe(ids.length);
    expect(existsSync(output)).toBe(false);
  }

  test("does what is missing, drops a torn last line, and ends with the bytes of an undisturbed one", async () => {
    writeLines(ids.map((id) => chatLine(id)));
    await run(recorder().send, { ordered: true });
    const undisturbed = readFileSync(output, "utf8");
    rmSync(output);
    await beginAndStop(11);
    appendFileSync(partial, '{"id":"batch_req_00');
    const { calls, send } = recorder();
    const summary = await run(send, { ordered: true });
    expect(summary.kept).toBeGreaterThanOrEqual(11);
    expect(calls).toHaveLength(ids.length - summary.kept);
    expect(readFileSync(output, "utf8")).toBe(undisturbed);
  });

  test("takes a line without its end for torn, also where all of its text is there", async () => {
    writeLines(ids.map((id) => chatLine(id)));
    await beginAndStop(11);
    const kept = readFileSync(partial, "utf8");
    writeFileSync(partial, kept.slice(0, -1));
    const lineCount = kept.trimEnd().split("\n").length;
    expect(await run(recorder().send)).toMatchObject({ kept: lineCount - 1, left: 0 });
    expect(idsOf().sort()).toEqual([...ids].sort());
  });

  test("answers anew what has been changed meanwhile, and forgets what is gone", async () => {
    writeLines(ids.map((id) => chatLine(id)));
    await run(recorder().send);
    writeLines([
      ...ids
        .slice(1)
        .map((id) => chatLine(id, id === "r5" ? { body: { messages: [{ role: "user", content: "new" }] } } : {})),
    ]);
    const { calls, send } = recorder();
    expect(await run(send)).toMatchObject({ kept: 28, succeeded: 1 });
    expect(calls.map(customIdOf)).toEqual(["new"]);
    expect(idsOf().sort()).toEqual(ids.slice(1).sort());
  });

  test("starts nothing if all is there", async () => {
    writeLines([chatLine("a")]);
    await run(recorder().send);
    const summary = await run(recorder().send, {
      target: () => {
        throw new Error("not to be opened");
      },
    });
    expect(summary).toMatchObject({ kept: 1, succeeded: 0, left: 0 });
  });

  test("does not mix answers of two models", async () => {
    writeLines(ids.map((id) => chatLine(id)));
    await beginAndStop(5);
    const other = sendTarget({ send: recorder().send, parallel: 1, model: "other" });
    await expect(run(recorder().send, { target: other })).rejects.toThrow(/answers of m, not of other/);
    expect(await run(recorder().send, { target: other, restart: true })).toMatchObject({ kept: 0, left: 0 });
  });

  test("leaves a file alone that is no output", async () => {
    writeLines([chatLine("a")]);
    writeFileSync(output, "my thesis\n");
    await expect(run(recorder().send)).rejects.toThrow(/not the output of a batch/);
    expect(readFileSync(output, "utf8")).toBe("my thesis\n");
  });

  test("keeps what is answered when the server is gone", async () => {
    writeLines(ids.map((id) => chatLine(id)));
    const { send } = recorder((call, turn) => {
      if (turn > 10) {
        throw new Error("connection refused");
      }
      return good(call);
    });
    await expect(run(send, { target: sendTarget({ send, parallel: 2, tries: 1 }) })).rejects.toMatchObject({
      code: "NETWORK",
      hint: expect.stringContaining("run the same command again"),
    });
    expect(idsOf(partial)).toHaveLength(10);
    expect(await run(recorder().send)).toMatchObject({ kept: 10, succeeded: 20 });
  });

  test("never writes over its requests", async () => {
    writeLines([chatLine("a")]);
    const before = readFileSync(input, "utf8");
    for (const options of [{ output: input, restart: true }, { errors: input }, { errors: output }]) {
      await expect(run(recorder().send, options)).rejects.toThrow(/files of their own/);
    }
    expect(readFileSync(input, "utf8")).toBe(before);
  });

  test("refuses a pipe, which could be read once only", async () => {
    await expect(run(recorder().send, { input: "/dev/null" })).rejects.toThrow(/got a pipe or a device/);
  });

  test("is alone with its output", async () => {
    writeLines([chatLine("a")]);
    const { send } = recorder(async (call) => {
      await expect(run(recorder().send)).rejects.toThrow(/another process is writing/);
      return good(call);
    });
    expect(await run(send)).toMatchObject({ succeeded: 1 });
  });
});

describe("a run that is stopped", () => {
  test("begins no line, and lets those end that run", async () => {
    writeLines(["a", "b", "c", "d"].map((id) => chatLine(id)));
    const stop = new AbortController();
    const { calls, send } = recorder(async (call, turn) => {
      if (turn === 2) {
        stop.abort();
        await new Promise((resolve) => setImmediate(resolve));
      }
      return good(call);
    });
    expect(await run(send, { signal: stop.signal })).toMatchObject({ succeeded: 2, left: 2 });
    expect(calls).toHaveLength(2);
    expect(idsOf(partial).sort()).toEqual(["a", "b"]);
  });

  test("gives up those that take too long", async () => {
    writeLines([chatLine("a")]);
    const stop = new AbortController();
    const send: Send = ({ signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(new Error("given up")));
        stop.abort();
      });
    expect(await run(send, { signal: stop.signal, graceMs: 10 })).toMatchObject({ succeeded: 0, left: 1 });
  });

  test("may say of every other line why it has no answer", async () => {
    writeLines(["a", "b", "c", "d"].map((id) => chatLine(id)));
    const stop = new AbortController();
    const { send } = recorder((call) => {
      stop.abort();
      return good(call);
    });
    const summary = await run(send, {
      signal: stop.signal,
      errors: at("errors.jsonl"),
      leftover: () => ({ code: "batch_expired", message: "too late" }),
      target: sendTarget({ send, parallel: 1 }),
    });
    expect(summary).toMatchObject({ succeeded: 1, failed: 3, left: 0 });
    expect(idsOf()).toEqual(["a"]);
    expect(readOutput(at("errors.jsonl"))[0]).toMatchObject({ response: null, error: { code: "batch_expired" } });
  });
});

test("shards are disjoint, together everything, and their joined answers are gone on with", async () => {
  const ids = Array.from({ length: 23 }, (_, i) => `r${i}`);
  writeLines(ids.map((id) => chatLine(id)));
  let joined = "";
  for (const index of [0, 1, 2]) {
    await run(recorder().send, { shard: { index, count: 3 } });
    const answered = idsOf();
    expect([...answered].sort()).toEqual(ids.filter((_, i) => i % 3 === index).sort());
    joined += readFileSync(output, "utf8");
    rmSync(output);
  }
  writeFileSync(partial, joined);
  const { calls, send } = recorder();
  expect(await run(send, { ordered: true })).toMatchObject({ kept: 23, left: 0 });
  expect(calls).toEqual([]);
  expect(idsOf()).toEqual(ids);
});

test("only the lines that run are in memory, however many there are", async () => {
  writeLines(Array.from({ length: 5000 }, (_, i) => chatLine(`r${i}`)));
  let most = 0;
  const onProgress = ({ held }: BatchProgress) => {
    most = Math.max(most, held);
  };
  let running = 0;
  let mostRunning = 0;
  const { send } = recorder(async (call) => {
    mostRunning = Math.max(mostRunning, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    return good(call);
  });
  await run(send, { onProgress, target: sendTarget({ send, parallel: 4 }) });
  expect(mostRunning).toBe(4);
  expect(most).toBeLessThanOrEqual(4 + 1);
  expect(idsOf()).toHaveLength(5000);
});

test("tables of hashes hold what a Map holds", () => {
  const table = new HashTable(Float64Array);
  const map = new Map<string, number>();
  for (let i = 0; i < 20_000; i++) {
    const key = `key ${i % 15_000}`;
    const value = i * 2 ** 30;
    table.set(hashOfText(key), value);
    map.set(key, value);
  }
  table.set(Buffer.alloc(8), 1);
  expect(table.get(Buffer.alloc(8))).toBe(1);
  expect(table.size).toBe(map.size + 1);
  expect([...map].every(([key, value]) => table.get(hashOfText(key)) === value)).toBe(true);
  expect(table.get(hashOfText("another"))).toBeUndefined();
});
