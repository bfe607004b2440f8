// What prompts and answers may say.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ContentFilter } from "../../src/serve/filter.js";
import { filterOutput } from "../../src/serve/filter-output.js";
import { type FilterRule, FilterRules, strictRules } from "../../src/serve/filter-rules.js";
import type { TextEvent, TextRequest } from "../../src/serve/request.js";
import { root } from "../support/fixtures.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-filter-"));
afterAll(() => rmSync(folder, { recursive: true }));

function ruleFile(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

const request = { n: 1, sampling: {} } as TextRequest;

/** An answer that comes in these parts, after the filter. */
async function filtered(parts: readonly string[], rules: readonly FilterRule[], n = 1) {
  const met: string[] = [];
  async function* events(): AsyncGenerator<TextEvent> {
    yield { kind: "started", promptTokens: 3, cachedTokens: 0, queueMs: 0 };
    for (const [i, text] of parts.entries()) {
      for (let choice = 0; choice < n; choice++) {
        yield { kind: "delta", choice, pieces: [{ kind: "text", text }], tokens: [i], logprobs: [] };
      }
    }
    for (let choice = 0; choice < n; choice++) {
      const detail = { type: "eos", seed: 1, truncated: false } as const;
      yield { kind: "finish", choice, finish: "stop", detail };
    }
    const usage = { promptTokens: 3, cachedTokens: 0, completionTokens: parts.length * n, reasoningTokens: 0 };
    yield {
      kind: "end",
      usage,
      timings: { queueMs: 0, promptMs: 1, promptTokens: 3, generateMs: 1, generatedTokens: 1 },
    };
  }
  const checks = {
    ask: async (text: string) => ({ text }),
    note: (rule: string, action: string) => met.push(`${rule}=${action}`),
  };
  const told: TextEvent[] = [];
  for await (const event of filterOutput(events(), { ...request, n }, new FilterRules(rules, "test"), checks)) {
    told.push(event);
  }
  const deltas = told.filter((event) => event.kind === "delta");
  const texts = Array.from({ length: n }, (_, choice) =>
    deltas
      .filter((delta) => delta.choice === choice)
      .flatMap(({ pieces }) => pieces.map((piece) => ("text" in piece ? piece.text : "")))
      .join(""),
  );
  return { told, deltas, text: texts[0] ?? "", texts, met: [...new Set(met)] };
}

const letters = (text: string) => [...text];

describe("an answer", () => {
  const secret: FilterRule = { name: "secret", pattern: "(?i)secret-\\d+", on: "both", action: "redact" };
  const bomb: FilterRule = { name: "bomb", pattern: "\\bbomb\\b", on: "output", action: "block" };

  test("that no rule meets is told as it is, with its tokens, and its last 256 characters at the end", async () => {
    const text = "The quick brown fox. ".repeat(40);
    const { deltas, text: told, told: events } = await filtered(letters(text), [secret, bomb]);
    expect(told).toBe(text);
    expect(deltas.flatMap(({ tokens }) => tokens)).toEqual([...text].map((_, i) => i));
    expect(events.map(({ kind }) => kind).filter((kind) => kind !== "delta")).toEqual(["started", "finish", "end"]);
  });

  test("loses what is to be redacted, however it comes apart, and its tokens with it", async () => {
    const text = `${"x ".repeat(300)}The code is SECRET-12345, keep it. ${"y ".repeat(300)}`;
    const expected = text.replace("SECRET-12345", "[redacted]");
    for (const size of [1, 3, 7, 50, 2000]) {
      const parts = text.match(new RegExp(`.{1,${size}}`, "gs")) ?? [];
      const { text: told, deltas, met } = await filtered(parts, [secret]);
      expect(told).toBe(expected);
      expect(met).toEqual(["secret=redact"]);
      expect(
        deltas.some(({ pieces, tokens }) => JSON.stringify(pieces).includes("[redacted]") && tokens.length > 0),
      ).toBe(false);
    }
  });

  test("ends where a rule blocks it, with what came before and the reason", async () => {
    const before = "A story. ".repeat(100);
    const { text, told, met } = await filtered(letters(`${before}They built a bomb and more and more.`), [bomb]);
    expect(text).toBe(`${before}They built a `);
    expect(told.at(-2)).toMatchObject({ kind: "finish", finish: "content_filter", detail: { type: "filter" } });
    expect(told.at(-1)).toMatchObject({ kind: "end", usage: { promptTokens: 3 } });
    expect(met).toEqual(["bomb=block"]);
  });

  test("is not blocked by what only looks like a word of a rule at the border of what was told", async () => {
    const text = `${"a".repeat(300)}bomb ${"z ".repeat(400)}`;
    expect((await filtered(letters(text), [bomb])).text).toBe(text);
  });

  test("of several choices, each ends by itself", async () => {
    const { texts, told } = await filtered(letters("no bomb here"), [bomb], 3);
    expect(texts).toEqual(["no ", "no ", "no "]);
    expect(told.filter((event) => event.kind === "finish")).toHaveLength(3);
    expect(told.filter((event) => event.kind === "end")).toHaveLength(1);
  });
});

describe("rules", () => {
  test("take linear time, whatever the pattern", async () => {
    const bombs = ["(a*)*b", "(a|aa)+$", "(a|a?)+b", "(.*a){12}b"];
    const rules = bombs.map((pattern, i): FilterRule => ({ name: `r${i}`, pattern, on: "both", action: "flag" }));
    const path = ruleFile("bombs.json", rules);
    const text = "a".repeat(5000);
    expect(await new ContentFilter(path).judge(text, "input", "c", () => {})).toEqual({ text });
  });

  test.each([
    ["not json", "the rules cannot be read"],
    [{ a: 1 }, "expected a list"],
    [[{ name: "x" }], "rules[0]: pattern: expected a text"],
    [[{ name: "x y", pattern: "a" }], "rules[0]: name: expected 1 to 64 letters"],
    [[{ name: "x", pattern: "a", action: "shout" }], "rules[0]: action: expected block, flag or redact"],
    [[{ name: "x", pattern: "a", on: "all" }], "rules[0]: on: expected input, output or both"],
    [[{ name: "x", pattern: "a", colour: 1 }], '"colour" is not a field'],
    [[{ name: "x", pattern: "(?=a)" }], 'rule "x": pattern:'],
    [[{ name: "x", pattern: "(" }], 'rule "x": pattern:'],
    [[{ name: "x", pattern: "a".repeat(5000) }], "rules[0]: pattern: expected a text of 1 to 4096"],
  ])("%j are refused with their place", (content, message) => {
    expect(() => FilterRules.read(ruleFile("wrong.json", content))).toThrow(message);
  });

  test("find a match wherever it lies in a long text", async () => {
    const filter = new ContentFilter(ruleFile("needle.json", [{ name: "needle", pattern: "\\bneedle\\b" }]));
    for (const place of [0, 32_760, 32_768, 36_863, 65_534, 99_990]) {
      const text = `${" ".repeat(place)}needle${" ".repeat(100_000 - place)}`;
      expect([place, (await filter.judge(text, "input", "c", () => {})).blockedBy]).toEqual([place, "needle"]);
    }
    const inside = `${"a".repeat(32_768)}needle`;
    expect((await filter.judge(inside, "input", "c", () => {})).blockedBy).toBeUndefined();
  });

  test("of the example are the strict ones", () => {
    const example = JSON.parse(readFileSync(join(root, "examples", "filter.json"), "utf8"));
    expect(example.rules).toEqual(strictRules);
  });
});

describe("a server with a filter", () => {
  let server: TestServer;
  const modulePath = join(folder, "check.mjs");
  const path = join(folder, "server.json");

  beforeAll(async () => {
    writeFileSync(
      modulePath,
      `export async function check({ text, direction, client }) {
        if (!/^[0-9a-f]{16}$/.test(client)) throw new Error("no client");
        if (direction === "input" && text.includes("module-block")) return { action: "block", rule: "mine" };
        if (direction === "input" && text.includes("module-fail")) throw new Error("secret reason");
        return { action: "allow" };
      }`,
    );
    writeFileSync(path, JSON.stringify({ rules: strictRules }));
    server = await startTestServer({ contentFilter: path, contentFilterModule: modulePath });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const ask = (content: string, more: object = {}) =>
    server.post("/v1/chat/completions", { messages: [{ role: "user", content }], max_tokens: 6, ...more });

  test("refuses prompts, and names the rule in the header", async () => {
    for (const stream of [false, true]) {
      const answer = await ask("How do I KILL -9 a process?", { stream });
      expect(answer.status).toBe(400);
      expect(answer.headers.get("x-bitnet-filter")).toBe("violence=block");
      expect(await answer.json()).toMatchObject({ error: { code: "content_filter", param: "messages" } });
    }
    expect((await ask("The skills of a killjoy")).status).toBe(200);
  });

  test("takes markup out of prompts, and says so", async () => {
    const dirty = await ask('Hello<script type="x">\nsteal()</script> friend<iframe src="a">b</iframe>');
    const clean = await ask("Hello friend");
    expect(dirty.headers.get("x-bitnet-filter")).toBe("script=redact, iframe=redact");
    expect(clean.headers.get("x-bitnet-filter")).toBeNull();
    const contentOf = async (answer: Response) =>
      (await answer.json()) as { choices: { message: object }[]; usage: object };
    const [a, b] = [await contentOf(dirty), await contentOf(clean)];
    expect([a.choices[0]?.message, a.usage]).toEqual([b.choices[0]?.message, b.usage]);
  });

  test("asks the module, and answers nothing when that fails", async () => {
    const refused = await ask("please module-block this");
    expect(refused.status).toBe(400);
    expect(refused.headers.get("x-bitnet-filter")).toBe("mine=block");
    const failed = await ask("please module-fail this");
    expect(failed.status).toBe(500);
    expect(await failed.text()).not.toContain("secret reason");
  });

  test("ends an answer with content_filter, and takes new rules when told", async () => {
    const { choices } = await server.ask("/v1/chat/completions", {
      messages: [{ role: "user", content: "Hello" }],
      max_tokens: 24,
      ignore_eos: true,
    });
    const word = /[A-Za-z]{3,}/.exec(choices[0].message.content.slice(5))?.[0] ?? "";
    expect(word).not.toBe("");
    writeFileSync(path, JSON.stringify([{ name: "word", pattern: word, on: "output", action: "block" }]));
    await server.server.reload();
    const body = { messages: [{ role: "user", content: "Hello" }], max_tokens: 24, ignore_eos: true };
    const blocked = await server.ask("/v1/chat/completions", body);
    expect(blocked.choices[0].finish_reason).toBe("content_filter");
    expect(choices[0].message.content.startsWith(blocked.choices[0].message.content)).toBe(true);
    expect(blocked.choices[0].message.content).not.toContain(word);
    const events = await server.stream("/v1/chat/completions", body);
    expect(events.map(({ choices: [choice] }) => choice?.finish_reason).filter(Boolean)).toEqual(["content_filter"]);

    writeFileSync(path, "[{]");
    await server.server.reload();
    expect((await server.ask("/v1/chat/completions", body)).choices[0].finish_reason).toBe("content_filter");
    expect(server.log.at(-1)?.message).toContain("not reloaded");
  });
});
