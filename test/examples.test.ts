import { expect, test } from "vitest";
import { tellStory } from "../examples/generate.js";
import { tinyModel } from "./fixtures.js";

test("examples/generate.ts tells a story, completes a sentence and stops when told", async () => {
  let text = "";
  await tellStory(tinyModel, (piece) => {
    text += piece;
  });
  expect(text).toMatch(
    /^Once upon a time, there was .*\n\n .*\((stop|length|eog), \d+ tokens reused\)\n.*\n\(stopped\)\n$/s,
  );
});
