// The text of a stream of tokens: whole characters, stop strings, ends.

import { expect, test } from "vitest";
import { TextStream } from "../../src/engine/text-stream.js";
import { FakeTokenizer } from "../support/fake-model.js";
import { bytesOf, idOf, openSpmTokenizer } from "../support/scripted-session.js";

const spm = openSpmTokenizer();

test("an end-of-generation token has no text, even if the vocabulary would print it", () => {
  const tokenizer = new FakeTokenizer([{ text: "<s>" }, { text: "<|end|>", userDefined: true }]);
  const stream = new TextStream(tokenizer, []);
  expect([stream.push(65), stream.push(257), stream.finish()]).toEqual(["A", "", ""]);
  expect(stream.text).toBe("A");
});

test("half a character is U+FFFD at the end of a text and nothing where it was cut off", () => {
  const [first = 0, second = 0] = bytesOf("☃");
  const finished = new TextStream(spm, []);
  expect(finished.push(first) + finished.push(second) + finished.finish()).toBe("\ufffd");
  const cut = new TextStream(spm, []);
  expect(cut.push(first) + cut.push(second) + cut.release()).toBe("");
});

test("what may become a stop string is given back at the end and where the text was cut off", () => {
  for (const end of ["finish", "release"] as const) {
    const stream = new TextStream(spm, [" a time"], [idOf("▁Once")]);
    expect(stream.push(idOf("▁upon")) + stream.push(idOf("▁a"))).toBe(" upon");
    expect(stream[end]()).toBe(" a");
    expect(stream.text).toBe(" upon a");
  }
});

test("nothing comes after a stop string", () => {
  const stream = new TextStream(spm, [" a"], [idOf("▁Once")]);
  const [first = 0] = bytesOf("☃");
  expect([idOf("▁upon"), idOf("▁a"), idOf("▁time"), first].map((id) => stream.push(id))).toEqual([" upon", "", "", ""]);
  expect([stream.finish(), stream.release(), stream.text, stream.stopString]).toEqual(["", "", " upon", " a"]);
});

test("a text that continues tokens keeps its leading space, one of its own has none", () => {
  expect(new TextStream(spm, [], [idOf("<s>"), idOf("▁Once")]).push(idOf("▁upon"))).toBe(" upon");
  expect(new TextStream(spm, []).push(idOf("▁upon"))).toBe("upon");
});
