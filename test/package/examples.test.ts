import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { stopEarly } from "../../examples/abort.js";
import { answerAll } from "../../examples/batch.js";
import { talk } from "../../examples/chat.js";
import { tellStory } from "../../examples/generate.js";
import { describeAnimal } from "../../examples/json.js";
import { continueAll } from "../../examples/parallel.js";
import { listNext, rateText } from "../../examples/perplexity.js";
import { ask } from "../../examples/tools.js";
import { root, tinyModel } from "../support/fixtures.js";
import { startTestServer } from "../support/serve.js";

test("examples/generate.ts tells a story, completes a sentence and stops when told", async () => {
  let text = "";
  await tellStory(tinyModel, (piece) => {
    text += piece;
  });
  expect(text).toMatch(
    /^Once upon a time, there was .*\n\n .*\((stop|length|eog), \d+ tokens reused\)\n.*\n\(stopped\)\n$/s,
  );
});

test("examples/chat.ts holds a conversation in which a turn costs only its new tokens", async () => {
  let text = "";
  await talk(tinyModel, ["Tell me about a dog.", "And then?"], (piece) => {
    text += piece;
  });
  expect(text).toMatch(/^> Tell me about a dog\.\n.+> And then\?\n.+\n$/s);
  const [first, second] = [...text.matchAll(/\((\d+) of (\d+) prompt tokens were new\)/g)].map(([, fresh, all]) => ({
    fresh: Number(fresh),
    all: Number(all),
  }));
  expect(first?.fresh).toBe(first?.all);
  expect(second?.all).toBeGreaterThan((first?.all ?? 0) + 15);
  expect(second?.fresh).toBeLessThan(30);
});

test("examples/parallel.ts gives each of three prompts what it would get alone", async () => {
  const beginnings = ["Once upon a time", "The dog", "One day, Tom"];
  const together = await continueAll(tinyModel, beginnings);
  const alone = await Promise.all(beginnings.map((beginning) => continueAll(tinyModel, [beginning])));
  expect(together).toEqual(alone.flat());
  expect(together[0]).toMatch(/^Once upon a time, there was/);
});

test("examples/abort.ts keeps what a chat has said, and gets an error from a generation", async () => {
  let text = "";
  await stopEarly(tinyModel, (piece) => {
    text += piece;
  });
  expect(text).toMatch(/^\S.*\n\(aborted; 2 messages\)\n\(ABORTED\)\n$/s);
});

test("examples/json.ts answers with an object that the schema accepts", async () => {
  const animal = await describeAnimal(tinyModel, "Tell me about a dog.");
  expect(Object.keys(animal).toSorted()).toEqual(["age", "kind", "name"]);
  expect(["cat", "dog"]).toContain(animal.kind);
  expect(Number.isInteger(animal.age) && animal.age >= 0 && animal.age <= 30).toBe(true);
});

test("examples/perplexity.ts finds a story likelier than its words in another order", async () => {
  const story = await rateText(tinyModel, "Once upon a time, there was a little dog.");
  const mixed = await rateText(tinyModel, "dog little there a time, upon was a Once.");
  expect(story.perplexity).toBeGreaterThan(1);
  expect(story.perplexity).toBeLessThan(mixed.perplexity / 2);
  expect(story.tokens.map(({ text }) => text).join("")).toBe("Once upon a time, there was a little dog.");
  const next = await listNext(tinyModel, "Once upon a time, there");
  expect(next).toHaveLength(5);
  expect(next[0]?.text).toBe(" was");
});

test("examples/tools.ts calls a function with arguments of its schema, and answers after its result", async () => {
  let text = "";
  await ask(tinyModel, "Will it rain?", (piece) => {
    text += piece;
  });
  expect(text).toMatch(/^get_weather: .{0,20}: rain(, rain){0,6}\n.*\S.*\n$/s);
});

test("examples/batch.ts answers the lines of examples/batch.jsonl on a server, in their order", async () => {
  await using server = await startTestServer();
  const folder = mkdtempSync(join(tmpdir(), "bitnet-example-"));
  try {
    const output = join(folder, "answers.jsonl");
    const summary = await answerAll(server.url, join(root, "examples", "batch.jsonl"), output);
    expect(summary).toMatchObject({ total: 3, succeeded: 3, failed: 0, left: 0 });
    const lines = readFileSync(output, "utf8").trim().split("\n");
    expect(lines.map((line) => JSON.parse(line).custom_id)).toEqual(["dog", "once", "seed"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
