import { expect, test } from "vitest";
import { talk } from "../../examples/chat.js";
import { tellStory } from "../../examples/generate.js";
import { tinyModel } from "../support/fixtures.js";

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
