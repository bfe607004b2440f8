// What somebody at a terminal sees of an answer: wrapped words, thinking, how far a prompt is read, what was forgotten.

import { afterEach, describe, expect, test, vi } from "vitest";
import type { ConversationOptions } from "../../src/cli/conversation.js";
import { FakeModel, type Script } from "../support/fake-model.js";
import { echo, TerminalTalk, talk } from "../support/talk.js";

afterEach(() => vi.unstubAllEnvs());

const size = { columns: 40, rows: 30 };

async function start(model: FakeModel, options: ConversationOptions = { quiet: true }): Promise<TerminalTalk> {
  const terminal = new TerminalTalk(model, options, size);
  await terminal.until("> ");
  return terminal;
}

async function leave(terminal: TerminalTalk): Promise<void> {
  terminal.type("\u0004");
  expect(await terminal.end).toBeUndefined();
}

describe("an answer", () => {
  const answer = "Once upon a time there was a little cat who lived in a house.<|eot_id|>";

  test("is wrapped between words, and /set nowordwrap leaves that to the terminal", async () => {
    const terminal = await start(new FakeModel(() => answer));
    terminal.type("hi\r");
    await terminal.shows("> hi", "Once upon a time there was a little cat", "who lived in a house.", "> |");
    terminal.type("/set nowordwrap\rhi\r");
    await terminal.until("a little cat who lived in a house.\n");
    await leave(terminal);
  });

  test("is not wrapped where no terminal shows it", async () => {
    const { out } = await talk(new FakeModel(() => answer), "hi\n");
    expect(out).toBe(answer.replace("<|eot_id|>", "\n"));
  });
});

describe("thinking", () => {
  const chatTemplate = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}Assistant: {# </think> #}";
  const script: Script = () => "<think>\nhm, well\n</think>\n\nyes<|eot_id|>";
  const thinker = () => new FakeModel(script, { chatTemplate });

  test("is dim, and an empty line before the answer", async () => {
    vi.stubEnv("FORCE_COLOR", "1");
    vi.stubEnv("NO_COLOR", "");
    const terminal = await start(thinker());
    terminal.type("hi\r");
    await terminal.shows("> hi", "hm, well", "", "yes", "> |");
    expect([terminal.isDim(0, 1), terminal.isDim(0, 3)]).toEqual([true, false]);
    await leave(terminal);
  });

  test("is named where there are no colours", async () => {
    vi.stubEnv("NO_COLOR", "1");
    const terminal = await start(thinker());
    terminal.type("hi\r");
    await terminal.shows("> hi", "Thinking:", "hm, well", "", "yes", "> |");
    await leave(terminal);
  });

  test("is not shown with --hide-thinking, but that it goes on", async () => {
    const terminal = await start(thinker(), { hideThinking: true });
    terminal.type("hi\r");
    await terminal.shows("> hi", "yes", "> |");
    expect(terminal.err).toMatch(/thinking, \d+ tokens/);
    await leave(terminal);
  });

  test("cannot be switched where the template has no choice, which is said", async () => {
    const told = (option: string) => `note: ${option} has no effect: the chat format has no switch for thinking\n`;
    const { err } = await talk(thinker(), "hi\n", { think: false });
    expect(err).toContain(told("--no-think"));
    expect((await talk(thinker(), "hi\n", { think: true })).err).toContain(told("--think"));
    expect((await talk(thinker(), "hi\n", { think: true, quiet: true })).err).toBe("");
    expect((await talk(thinker(), "hi\n")).err).not.toContain("no effect");
    const chatTemplate = "{% if enable_thinking %}think{% endif %}{{ messages[0].content }}";
    const choosing = new FakeModel(() => "yes<|eot_id|>", { chatTemplate });
    expect((await talk(choosing, "hi\n", { think: false })).err).not.toContain("no effect");
  });

  test("is no part of an answer in a pipe, and a part of its own with --json", async () => {
    expect((await talk(thinker(), "hi\n")).out).toBe("yes\n");
    const { out } = await talk(thinker(), "hi\n", { json: true });
    expect(JSON.parse(out)).toMatchObject({ content: "yes", thinking: "hm, well" });
  });
});

describe("a long prompt", () => {
  const long = "word ".repeat(200).trim();

  test("shows how far it is read, in a line that vanishes", async () => {
    const terminal = await start(new FakeModel(() => "yes<|eot_id|>"), { contextSize: 5000 });
    terminal.type(`${long}\r`);
    await terminal.until("reading 256 of 10", "err");
    await terminal.shows("yes", "> |");
    expect(terminal.err).toMatch(/reading 512 of \d+ tokens, \d/);
    await leave(terminal);
  });

  test("says nothing in a pipe", async () => {
    const { err } = await talk(new FakeModel(() => "yes<|eot_id|>"), `${long}\n`, { contextSize: 5000 });
    expect(err).not.toContain("reading");
  });
});

describe("a full context", () => {
  test("says how many turns were forgotten, also in all, also in a pipe", async () => {
    const input = "first message\nsecond message\nthird message\nfourth message\nfifth message\nsixth message\n";
    const { err } = await talk(new FakeModel(echo), `${input}/stats\n`, { contextSize: 130 });
    const notes = [
      ...err.matchAll(/the context of 130 tokens is full: the (\d*) ?oldest turns? w\w+ forgotten(.*)\)/g),
    ];
    const counts = notes.map(([, count]) => Number(count || 1));
    const total = counts.reduce((sum, count) => sum + count, 0);
    expect(notes.length).toBeGreaterThan(1);
    expect(notes.at(-1)?.[2]).toBe(`, ${total} in all`);
    expect(err).toMatch(new RegExp(`^forgotten: ${total} turns$`, "m"));
    const quiet = await talk(new FakeModel(echo), input, { contextSize: 130, quiet: true });
    expect(quiet.err).toBe("");
  });
});

describe("help and values", () => {
  test("fit a narrow terminal", async () => {
    const terminal = await start(new FakeModel(echo));
    terminal.type("/show\r");
    await terminal.shows("> /show", ...showAt40, "> |");
    await leave(terminal);
  });

  const showAt40 = [
    "/show info        architecture, size,",
    "                  context, kernel",
    "/show parameters  how the next token is",
    "                  chosen",
    "/show system      the system prompt",
    "/show template    the chat template",
    "/show license     the license that the",
    "                  model file names",
    "/show model       name and file of the",
    "                  model",
  ];
});
