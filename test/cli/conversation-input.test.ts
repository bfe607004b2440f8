// Input as hostile as it can be: through a pipe and pasted into a terminal.

import { describe, expect, test, vi } from "vitest";
import { FakeModel } from "../support/fake-model.js";
import { echo, Talk, TerminalTalk, talk } from "../support/talk.js";

const answers = (out: string): string[] =>
  out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).content ?? JSON.parse(line).error.message);

/** The answers to bytes that come in these pieces. */
async function answersTo(...pieces: (string | Buffer)[]): Promise<string[]> {
  const conversation = new Talk(new FakeModel(echo), { json: true, contextSize: 100_000 });
  for (const piece of pieces) {
    conversation.stdin.write(piece);
  }
  conversation.stdin.end();
  expect(await conversation.end).toBeUndefined();
  return answers(conversation.out);
}

describe("through a pipe", () => {
  test("NUL and other control characters are text", async () => {
    expect(await answersTo("a\u0000b\u0007c\td\n")).toEqual(["re: a\u0000b\u0007c\td"]);
  });

  test("invalid UTF-8 becomes replacement characters, characters may be cut by pieces", async () => {
    const bytes = Buffer.from("é字👍");
    expect(
      await answersTo(Buffer.from([0x61, 0xff, 0xc3, 0x0a]), ...[...bytes].map((byte) => Buffer.of(byte))),
    ).toEqual(["re: a\ufffd\ufffd", "re: é字👍"]);
  });

  test("lines end at LF, CRLF and CR, also where pieces do, and nowhere else", async () => {
    expect(await answersTo("a\r", "\nb\r", "c\u2028d\n\r\n", "e\r\n")).toEqual([
      "re: a",
      "re: b",
      "re: c\u2028d",
      "re: e",
    ]);
  });

  test("the end of the input in the middle of a block sends what there is", async () => {
    expect(await answersTo('"""one\ntwo')).toEqual(["re: one\ntwo"]);
    expect(await answersTo("one \\\n")).toEqual(["re: one \\"]);
  });

  test("a line without end is dropped, and the next one answered", async () => {
    const block = "x".repeat(1 << 20);
    const [first, second, ...more] = await answersTo(...Array.from({ length: 17 }, () => block), "\nhi\n");
    expect(first).toBe("the message is too long: it has more than 16777216 characters");
    expect([second, more]).toEqual(["re: hi", []]);
  });

  test("a block without end is dropped as a whole", async () => {
    const lines = "x".repeat(1 << 20).concat("\n");
    expect(await answersTo('"""\n', ...Array.from({ length: 17 }, () => lines), '"""\nhi\n')).toEqual([
      "the message is too long: it has more than 16777216 characters",
      "re: hi",
    ]);
  });

  test("very many lines come one by one", async () => {
    const { out } = await talk(new FakeModel(() => "a<|eot_id|>"), "/clear\n".repeat(20_000).concat("hi\n"));
    expect(out).toBe("a\n");
  });
});

describe("on a terminal", () => {
  test("a megabyte is pasted as one message", async () => {
    const text = Array.from({ length: 20_000 }, (_, i) => `line ${i} of a long text, 字 and é, to the end`).join("\r");
    expect(text.length).toBeGreaterThan(800_000);
    const terminal = new TerminalTalk(new FakeModel(echo), { quiet: true }, { columns: 80, rows: 24 });
    await terminal.shows("> |");
    terminal.type(`\u001b[200~${text}\u001b[201~`);
    await terminal.shows(". line 19999 of a long text, 字 and é, to the end|");
    terminal.type("!\u007f\u001b[A\u001b[A\r");
    await terminal.until("the message is too long", "err");
    terminal.type("\u0004");
    expect(await terminal.end).toBeUndefined();
  });

  test("a paste that never ends is left by Ctrl-C", async () => {
    const terminal = new TerminalTalk(new FakeModel(echo), { quiet: true }, { columns: 80, rows: 24 });
    await terminal.shows("> |");
    terminal.type("\u001b[200~half\u0003whole\r");
    await terminal.until("re: whole\n");
    terminal.type("\u0004");
    expect(await terminal.end).toBeUndefined();
  });

  test("one that cannot draw has lines, prompts and Ctrl-C", async () => {
    vi.stubEnv("TERM", "dumb");
    try {
      const conversation = new Talk(new FakeModel(echo), { quiet: true }, true);
      await conversation.until("> ");
      conversation.type("one \\\n");
      await conversation.until(". ");
      conversation.interrupt();
      await conversation.until("> ", "out", await conversation.until("\n"));
      conversation.type("two\n");
      await conversation.until("re: two\n");
      conversation.stdin.end();
      expect(await conversation.end).toBeUndefined();
      expect(conversation.out).not.toContain("\u001b");
    } finally {
      vi.unstubAllEnvs();
    }
  });
});
