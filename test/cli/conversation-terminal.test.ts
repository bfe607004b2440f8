// A conversation at a terminal: keys, prompts, pastes, what is kept for the arrow keys.

import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defaultHistoryFile, HistoryFile } from "../../src/cli/terminal/history.js";
import { FakeModel } from "../support/fake-model.js";
import { echo, Talk } from "../support/talk.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bitnet-conversation-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("on a terminal", () => {
  const key = { ctrlC: "\u0003", ctrlD: "\u0004", up: "\u001b[A" };

  test("there are prompts and hints, and Ctrl-D leaves", async () => {
    const conversation = new Talk(new FakeModel(echo), {}, true);
    await conversation.until("> ");
    conversation.type("one\r");
    await conversation.until("re: one");
    await conversation.until("> ", "out", await conversation.until("re: one\n"));
    conversation.type(key.ctrlD);
    expect(await conversation.end).toBeUndefined();
    expect(conversation.err).toContain("/help lists the commands");
  });

  test("--quiet has prompts but no hints", async () => {
    const conversation = new Talk(new FakeModel(echo), { quiet: true }, true);
    await conversation.until("> ");
    conversation.type(key.ctrlD);
    await conversation.end;
    expect(conversation.err).toBe("");
  });

  test("--json keeps prompts off stdout", async () => {
    const conversation = new Talk(new FakeModel(echo), { json: true }, true);
    await conversation.until("> ", "err");
    conversation.type("one\r");
    await conversation.until("}\n");
    conversation.type(key.ctrlD);
    await conversation.end;
    expect(JSON.parse(conversation.out)).toMatchObject({ content: "re: one" });
  });

  test("Ctrl-C at an empty prompt says how to leave, and a second one leaves", async () => {
    const conversation = new Talk(new FakeModel(echo), {}, true);
    await conversation.until("> ");
    conversation.type(key.ctrlC);
    await conversation.until("/exit leaves", "err");
    conversation.type(key.ctrlC);
    expect(await conversation.end).toMatchObject({ code: "ABORTED" });
  });

  test("Ctrl-C in a line drops the line only, twice as well", async () => {
    const model = new FakeModel(echo);
    const conversation = new Talk(model, {}, true);
    await conversation.until("> ");
    conversation.type(`half${key.ctrlC}`);
    const first = await conversation.until("^C");
    conversation.type(`a \\\r`);
    await conversation.until(". ", "out", first);
    conversation.type(`b${key.ctrlC}`);
    await conversation.until("^C", "out", first);
    conversation.type("whole\r");
    await conversation.until("re: whole");
    conversation.type(key.ctrlD);
    expect(await conversation.end).toBeUndefined();
    expect(model.session.prompts).toEqual(["<|begin|>User: whole<|eot_id|>Assistant: "]);
  });

  test("a model cannot send control sequences", async () => {
    const conversation = new Talk(new FakeModel(() => "a\u001b]0;title\u0007\u009bb\tc\r\n<|eot_id|>"), {}, true);
    await conversation.until("> ");
    conversation.type("one\r");
    await conversation.until("a]0;titleb\tc\n");
    conversation.type(key.ctrlD);
    await conversation.end;
  });

  test("lines typed ahead are answered one by one", async () => {
    const conversation = new Talk(new FakeModel(echo), {}, true);
    await conversation.until("> ");
    conversation.type("one\rtwo\r");
    await conversation.until("re: two");
    conversation.type(key.ctrlD);
    await conversation.end;
    expect(conversation.out.indexOf("re: one")).toBeLessThan(conversation.out.indexOf("re: two"));
  });

  test("a pasted text is one message, sent by Enter", async () => {
    const model = new FakeModel(echo);
    const conversation = new Talk(model, {}, true);
    const start = await conversation.until("> ");
    conversation.type("\u001b[200~one \\\rtwo\r\r three\r\u001b[201~");
    await conversation.until(" three", "out", start);
    expect(model.session.prompts).toEqual([]);
    conversation.type("\r");
    const first = await conversation.until("re: one \\\ntwo\n\n three\n");
    await conversation.until("> ", "out", first);
    conversation.type(`\u001b[200~gone\rg\u001b[201~${key.ctrlC}`);
    await conversation.until("^C", "out", first);
    conversation.type("four\r");
    await conversation.until("re: four\n", "out", first);
    conversation.type(key.ctrlD);
    await conversation.end;
    expect(model.session.prompts).toHaveLength(2);
  });

  test("lines are kept in the history file for the next conversation", async () => {
    const historyFile = join(folder, "state", "history");
    for (const [typed, expected] of [
      ["one\r", "re: one"],
      [`${key.up}!\r`, "re: one!"],
      [`${key.up}${key.up}?\r`, "re: one?"],
    ] as const) {
      const conversation = new Talk(new FakeModel(echo), { historyFile }, true);
      await conversation.until("> ");
      conversation.type(typed);
      await conversation.until(`${expected}\n`);
      conversation.type(key.ctrlD);
      expect(await conversation.end).toBeUndefined();
    }
    expect(await readFile(historyFile, "utf8")).toBe("one\none!\none?\n");
    expect((await stat(historyFile)).mode & 0o777).toBe(0o600);
  });

  test("a history file that cannot be written is a hint, not an end", async () => {
    const conversation = new Talk(new FakeModel(echo), { historyFile: "/dev/null/history" }, true);
    await conversation.until("no input history", "err");
    await conversation.until("> ");
    conversation.type("one\r");
    await conversation.until("re: one");
    conversation.type(key.ctrlD);
    expect(await conversation.end).toBeUndefined();
  });
});

describe("the history file", () => {
  test("lies in the state directory", () => {
    expect(defaultHistoryFile({ XDG_STATE_HOME: "/state" })).toBe("/state/bitnet/history");
    expect(defaultHistoryFile({})).toMatch(/\/\.bitnet\/history$/);
  });

  test("keeps the newest thousand lines", async () => {
    const path = join(folder, "long-history");
    await writeFile(path, Array.from({ length: 5000 }, (_, i) => `line ${i}\n`).join(""), { mode: 0o644 });
    const history = new HistoryFile(path);
    const lines = await history.load();
    expect([lines.length, lines[0], lines.at(-1)]).toEqual([1000, "line 4999", "line 4000"]);
    history.add("line 4999"); // as the last one: not again
    history.add("new");
    expect(await history.finish()).toBeUndefined();
    expect((await readFile(path, "utf8")).split("\n").slice(-3)).toEqual(["line 4999", "new", ""]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test("keeps what another chat adds while it is shortened", async () => {
    const path = join(folder, "shared-history");
    await writeFile(path, Array.from({ length: 5000 }, (_, i) => `line ${i}\n`).join(""));
    const [first, second] = [new HistoryFile(path), new HistoryFile(path)];
    const loading = first.load();
    const added = Array.from({ length: 20 }, (_, i) => `new ${i}`);
    for (const line of added) {
      second.add(line);
    }
    await loading;
    expect(await second.finish()).toBeUndefined();
    expect((await readFile(path, "utf8")).split("\n").slice(-21)).toEqual([...added, ""]);
  });

  test("loses nothing when many processes add to it and shorten it", async () => {
    const path = join(folder, "busy-history");
    const old = Array.from({ length: 2100 }, (_, i) => `old ${i}\n`).join("");
    await writeFile(path, old);
    const writers = Array.from({ length: 8 }, () => new HistoryFile(path));
    await Promise.all(
      writers.map(async (writer, i) => {
        if (i % 2 === 0) {
          await writer.load();
        }
        for (let n = 0; n < 40; n++) {
          writer.add(`writer ${i} message ${n}`);
          if (n % 10 === 0) {
            await new HistoryFile(path).load();
          }
        }
        expect(await writer.finish()).toBeUndefined();
      }),
    );
    const lines = (await readFile(path, "utf8")).split("\n");
    const expected = writers.flatMap((_, i) => Array.from({ length: 40 }, (__, n) => `writer ${i} message ${n}`));
    expect(expected.filter((line) => !lines.includes(line))).toEqual([]);
    expect(lines.length).toBeLessThan(1000 + 2 * expected.length);
  });

  test("keeps a message of many lines as one, and a line that looks like it as it is", async () => {
    const path = join(folder, "lines-history");
    const messages = ["one\ntwo", '"quoted"', '"a\\nb"', "plain", '"open'];
    const history = new HistoryFile(path);
    await history.load();
    for (const message of messages) {
      history.add(message);
    }
    await history.finish();
    expect((await readFile(path, "utf8")).split("\n")).toHaveLength(messages.length + 1);
    expect(await new HistoryFile(path).load()).toEqual(messages.toReversed());
  });

  test("does not keep what begins with a space", async () => {
    const path = join(folder, "secret-history");
    const history = new HistoryFile(path);
    await history.load();
    history.add(" a secret");
    history.add("no secret");
    await history.finish();
    expect(await readFile(path, "utf8")).toBe("no secret\n");
  });

  test("is refused where it is no file, whose mode stays", async () => {
    await expect(new HistoryFile("/dev/null").load()).rejects.toThrow("/dev/null is not a regular file");
    expect((await stat("/dev/null")).mode & 0o777).toBe(0o666);
  });
});
