// Generated text follows its grammar: texts and chats, the command line.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadModel, type Model } from "../../src/index.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";

let model: Model;

beforeAll(async () => {
  model = await loadModel(tinyModel);
});
afterAll(() => model.close());

const person = {
  type: "object",
  properties: { name: { type: "string", maxLength: 12 }, age: { type: "integer", minimum: 3, maximum: 99 } },
  required: ["name", "age"],
  additionalProperties: false,
};

describe("a generation", () => {
  test.each([0, 1, 2, 3])("with a schema gives valid JSON that ends by itself, seed %d", async (seed) => {
    await using session = model.createSession();
    const { text, finishReason } = await session.complete("Tom: ", {
      schema: person,
      seed,
      temperature: 1.5,
      maxTokens: 200,
    });
    const { name, age } = JSON.parse(text) as { name: string; age: number };
    expect([...name].length).toBeLessThanOrEqual(12);
    expect(age).toBeGreaterThanOrEqual(3);
    expect(age).toBeLessThanOrEqual(99);
    expect(finishReason).toBe("eog");
  });

  test("that chooses freely is not changed by a grammar that allows everything", async () => {
    await using session = model.createSession();
    const free = await session.complete("Once upon a time", { seed: 5, maxTokens: 60, topK: 0 });
    const held = await session.complete("Once upon a time", {
      seed: 5,
      maxTokens: 60,
      topK: 0,
      grammar: "root ::= .*",
    });
    expect(held.text).toBe(free.text);
  });

  test("may not end before its grammar does", async () => {
    await using session = model.createSession();
    const { text } = await session.complete("The end.", { grammar: 'root ::= [^#]{150} "#"', seed: 1, maxTokens: 400 });
    expect(text).toMatch(/^[^#]{150}#$/s);
  });

  test("that is cut off is the beginning of a text of its grammar", async () => {
    await using session = model.createSession();
    const { text, finishReason } = await session.complete("", {
      grammar: 'root ::= "a"{50}',
      maxTokens: 5,
      addSpecial: true,
    });
    expect(text).toMatch(/^a+$/);
    expect(finishReason).toBe("length");
  });

  test("tells log-probabilities as they are without the grammar", async () => {
    await using session = model.createSession();
    const free = await session.complete("Once upon a", { temperature: 0, maxTokens: 1, logprobs: 3 });
    expect(free.text).not.toContain("x");
    const pieces = [];
    for await (const piece of session.generate("Once upon a", { grammar: 'root ::= "x"', maxTokens: 1, logprobs: 3 })) {
      pieces.push(piece);
    }
    const before = [];
    for await (const piece of session.generate("Once upon a", { temperature: 0, maxTokens: 1, logprobs: 3 })) {
      before.push(piece);
    }
    expect(pieces[0]?.top).toEqual(before[0]?.top);
    expect(pieces[0]?.logprob).toBeLessThan(before[0]?.logprob ?? 0);
  });

  test.each([
    [{ grammar: "root ::= [" }, /grammar, line 1/],
    [{ schema: { format: "regex" } }, /\/format/],
    [{ grammar: 'root ::= "a"', schema: {} }, /one of them/],
  ])("with %j is refused", async (options, problem) => {
    await using session = model.createSession();
    await expect(session.complete("a", options)).rejects.toThrow(problem);
  });

  test("that cannot go on with any token fails alone", async () => {
    await using session = model.createSession();
    await using other = model.createSession();
    const begun = [...model.tokenizer.encode("x", { addSpecial: false })];
    const [failed, fine] = await Promise.allSettled([
      session.complete([...model.tokenizer.encode("a"), ...begun], { grammar: 'root ::= "y"', begun }),
      other.complete("Once", { seed: 1, maxTokens: 20 }),
    ]);
    expect(failed).toMatchObject({ status: "rejected", reason: { code: "USAGE" } });
    expect(fine.status).toBe("fulfilled");
  });
});

test("every answer of a chat follows it, also where old turns are forgotten on the way", async () => {
  await using chat = model.createChat({
    contextSize: 64,
    format: "bitnet",
    generate: { grammar: "root ::= ([a-y ]{5} [.]){20}", seed: 2 },
  });
  await chat.send("hello there, tell me a story").result;
  const { text, droppedTurns } = await chat.send("and another one, if you please").result;
  expect(text).toMatch(/^([a-y ]{5}[.])*[a-y ]{0,5}$/);
  expect(droppedTurns).toBeGreaterThan(0);
});

describe("bitnet run", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "bitnet-test-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test("takes a grammar and a schema, typed and from files", async () => {
    writeFileSync(join(folder, "g.gbnf"), 'root ::= "yes" | "no"\n');
    writeFileSync(join(folder, "s.json"), '{"enum": ["red", "green"]}');
    for (const [option, value, right] of [
      ["--grammar", 'root ::= "yes" | "no"', /^(yes|no)\n$/],
      ["--grammar-file", join(folder, "g.gbnf"), /^(yes|no)\n$/],
      ["-j", '{"type": "boolean"}', /^(true|false)\n$/],
      ["-jf", join(folder, "s.json"), /^"(red|green)"\n$/],
    ] as const) {
      const { status, stdout } = await runBitnet([
        "run",
        "-p",
        "Is it? ",
        "--no-display-prompt",
        "--quiet",
        option,
        value,
      ]);
      expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(right) });
    }
  });

  test("says what is wrong with one, and where", async () => {
    writeFileSync(join(folder, "bad.gbnf"), "root ::= (");
    const { status, stderr } = await runBitnet([
      "run",
      "-p",
      "a",
      "--quiet",
      "--grammar-file",
      join(folder, "bad.gbnf"),
    ]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/bad\.gbnf: grammar, line 1, column 11/);
    expect((await runBitnet(["run", "-p", "a", "--quiet", "-j", "{"])).stderr).toMatch(/the schema is not valid JSON/);
    expect((await runBitnet(["run", "-p", "a", "--quiet", "-j", "{}", "--grammar", "root ::= [a]"])).stderr).toMatch(
      /expected one of/,
    );
  });
});
