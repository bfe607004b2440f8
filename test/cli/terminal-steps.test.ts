// Steps of long work: a spinner that becomes a tick or a cross on a terminal, a line each elsewhere.

import { afterEach, expect, test, vi } from "vitest";
import { createSteps } from "../../src/cli/terminal/steps.js";
import { FakeStream } from "../support/terminal.js";

const lookUp = { doing: "Looking up a/b", done: "Found a/b" };
const download = { doing: "Downloading a/b", done: "Downloaded a/b" };

afterEach(() => void vi.unstubAllEnvs());

test("without a terminal each step is a line as it begins, and what was asked for is none", async () => {
  const stream = new FakeStream(false);
  const steps = await createSteps({ stream });
  steps.begin(lookUp);
  steps.begin({ ...download, isObvious: true });
  steps.line("a remark");
  steps.note("a warning");
  steps.retry({ subject: "a/b", reason: "no answer", pause: 2000 });
  steps.succeed();
  steps.succeed("Saved at c");
  expect(stream.written).toBe(
    "Looking up a/b\na remark\nnote: a warning\na/b: no answer; trying again in 2.0 s\nSaved at c\n",
  );
});

test("with --json steps say nothing but remarks and notes, with --quiet nothing", async () => {
  for (const [options, expected] of [
    [{ json: true }, "a remark\nnote: a warning\n"],
    [{ quiet: true }, ""],
  ] as const) {
    const stream = new FakeStream(false);
    const steps = await createSteps({ stream, ...options });
    steps.begin(lookUp);
    steps.line("a remark");
    steps.note("a warning");
    steps.succeed("Saved at c");
    steps.fail();
    expect(stream.written).toBe(expected);
  }
});

test("on a narrow terminal what came of a step is wrapped between words, under its first one", async () => {
  vi.stubEnv("NO_COLOR", "1");
  vi.stubEnv("TERM", "xterm");
  const stream = new FakeStream(true, 30);
  const steps = await createSteps({ stream });
  steps.line("a remark that is longer than the terminal");
  steps.succeed("GGUF model saved at a/folder/of/models (1.93 MB)");
  expect(stream.written).toBe(
    "a remark that is longer than\nthe terminal\n✔ GGUF model saved at\n  a/folder/of/models (1.93 MB)\n",
  );
});

test.each([
  [{ NO_COLOR: "1" }, "✔ ", "✖ "],
  [{ NO_COLOR: "", FORCE_COLOR: "1" }, "\u001b[32m✔\u001b[39m ", "\u001b[31m✖\u001b[39m "],
])("on a terminal with %j they end with a tick or a cross", async (env, tick, cross) => {
  for (const [name, value] of Object.entries({ TERM: "xterm", FORCE_COLOR: "", ...env })) {
    vi.stubEnv(name, value);
  }
  const stream = new FakeStream(true, 80);
  Object.assign(stream, { cursorTo: () => true, clearLine: () => true, moveCursor: () => true }); // as of tty.WriteStream
  const steps = await createSteps({ stream });
  steps.begin(lookUp);
  expect(stream.written).toContain("Looking up a/b ...");
  steps.begin(download);
  steps.fail();
  expect(stream.written).toContain(`${tick}Found a/b\n`);
  expect(stream.written).toContain(`${cross}Downloading a/b\n`);
  expect(stream.written).not.toContain("Downloaded");
});
