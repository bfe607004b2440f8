// Editing a message on the screen of a terminal: what stands where, whatever the width.

import { describe, expect, test } from "vitest";
import { FakeModel } from "../support/fake-model.js";
import { echo, TerminalTalk } from "../support/talk.js";

const key = {
  ...{ up: "\u001b[A", down: "\u001b[B", right: "\u001b[C", left: "\u001b[D", home: "\u001b[H", end: "\u001b[F" },
  ...{ backspace: "\u007f", delete: "\u001b[3~", wordLeft: "\u001bb", deleteWord: "\u0017", yank: "\u0019" },
  ...{ ctrlC: "\u0003", ctrlD: "\u0004", clear: "\u000c", undo: "\u001f", altEnter: "\u001b\r" },
};
const paste = (text: string) => `\u001b[200~${text}\u001b[201~`;

async function start(columns: number, rows = 20): Promise<TerminalTalk> {
  const terminal = new TerminalTalk(new FakeModel(echo), { quiet: true }, { columns, rows });
  await terminal.shows("> |");
  return terminal;
}

async function leave(terminal: TerminalTalk): Promise<void> {
  terminal.type(`${key.ctrlC}${key.ctrlD}`);
  expect(await terminal.end).toBeUndefined();
}

/** How a message with the cursor at "|" stands behind the prompt in rows of so many columns. */
function wrapped(message: string, columns: number): string[] {
  const rows = [""];
  let used = 0;
  for (const character of `> ${message}`) {
    const width = character === "|" ? 0 : /\p{Script=Han}/u.test(character) ? 2 : 1;
    if (used + width > columns || (character === "|" && used === columns)) {
      rows.push("");
      used = 0;
    }
    rows.push(rows.pop() + character);
    used += width;
  }
  return rows.map((row) => row.trimEnd());
}

describe.each([40, 60, 80])("a message longer than the %d columns of the terminal", (columns) => {
  const long = "a".repeat(Math.floor(columns * 1.5));

  test("stands there once, wherever it is changed", async () => {
    const terminal = await start(columns);
    const steps = [
      [long, `${long}|`],
      [key.backspace, `${long.slice(1)}|`],
      [`${key.left}${key.left}Y`, `${long.slice(3)}Y|aa`],
      [`${key.home}Z`, `Z|${long.slice(3)}Yaa`],
      [`${key.delete}${key.end}!`, `Z${long.slice(4)}Yaa!|`],
      [key.left.repeat(columns), `Z${`${long.slice(4)}Yaa!`.slice(0, -columns)}|${`${long}Yaa!`.slice(-columns)}`],
      [key.undo, `Z${long.slice(4)}Yaa|`],
    ] as const;
    for (const [typed, expected] of steps) {
      terminal.type(typed);
      await terminal.shows(...wrapped(expected, columns));
    }
    await leave(terminal);
  });

  test("of wide characters, too, of which none is cut at the edge", async () => {
    const terminal = await start(columns);
    const wide = "你好世界".repeat(columns / 8);
    terminal.type(`x${wide}`);
    await terminal.shows(...wrapped(`x${wide}|`, columns));
    terminal.type(`${key.left.repeat(5)}${key.backspace}`);
    await terminal.shows(...wrapped(`x${wide.slice(0, -6)}|${wide.slice(-5)}`, columns));
    await leave(terminal);
  });

  test("ends at the edge: the cursor goes to the next row", async () => {
    const terminal = await start(columns);
    terminal.type("a".repeat(columns - 2));
    await terminal.shows(`> ${"a".repeat(columns - 2)}`, "|");
    terminal.type(`${key.backspace}b${key.left}`);
    await terminal.shows(`> ${"a".repeat(columns - 3)}|b`);
    await leave(terminal);
  });

  test("is dropped by Ctrl-C, whose mark stands behind its end", async () => {
    const terminal = await start(columns);
    terminal.type(`${long}${key.home}${key.ctrlC}`);
    const rows = wrapped(long, columns);
    await terminal.shows(...rows.slice(0, -1), `${rows.at(-1)}^C`, "> |");
    await leave(terminal);
  });

  test("comes back with the arrow key and gives way to a short one", async () => {
    const terminal = await start(columns);
    terminal.type("short\r");
    await terminal.shows("> short", "re: short", "> |");
    terminal.type(`${long}\r`);
    await terminal.until("> ", "out", await terminal.until("re:\n"));
    terminal.type(key.up);
    await terminal.shows(...wrapped(`${long}|`, columns));
    terminal.type(key.up);
    await terminal.shows("> short|");
    terminal.type(`${key.down}${key.down}new`);
    await terminal.shows("> new|");
    await leave(terminal);
  });

  test("stands there once after the terminal got another width", async () => {
    const terminal = await start(columns);
    terminal.type(`${long}${key.left}${key.left}`);
    await terminal.shows(...wrapped(`${long.slice(2)}|aa`, columns));
    for (const width of [columns - 13, columns + 25, 17, columns]) {
      terminal.resize(width, 20);
      await terminal.shows(...wrapped(`${long.slice(2)}|aa`, width));
    }
    terminal.type("b");
    await terminal.shows(...wrapped(`${long.slice(2)}b|aa`, columns));
    await leave(terminal);
  });
});

describe("a message of many lines", () => {
  test("is one text: the arrow keys go through its lines", async () => {
    const terminal = await start(40);
    terminal.type('"""\rfour\rfive\rsix');
    await terminal.shows('> """', ". four", ". five", ". six|");
    terminal.type(`${key.up}${key.up}${key.backspace}O${key.down}!`);
    await terminal.shows('> """', ". foOr", ". fiv!|e", ". six");
    terminal.type('\r"""\r');
    await terminal.until("re: foOr\nfiv!e\nsix");
    await leave(terminal);
  });

  test("comes back as a whole", async () => {
    const terminal = await start(40);
    terminal.type("one \\\rtwo\r");
    await terminal.shows("> one \\", ". two", "re: one", "two", "> |");
    terminal.type(key.up);
    await terminal.shows("> one", ". two|");
    terminal.type("!\r");
    await terminal.until("re: one \ntwo!");
    await leave(terminal);
  });

  test("may have a line break anywhere by Alt-Enter", async () => {
    const terminal = await start(40);
    terminal.type(`a${key.altEnter}b\r`);
    await terminal.until("re: a\nb\n");
    await leave(terminal);
  });

  test("that is higher than the screen shows the rows around the cursor", async () => {
    const terminal = await start(40, 5);
    terminal.type(paste(Array.from({ length: 30 }, (_, i) => `line ${i}`).join("\r")));
    await terminal.shows(". line 25", ". line 26", ". line 27", ". line 28", ". line 29|");
    terminal.type(key.up.repeat(10));
    await terminal.shows(". line 19|", ". line 20", ". line 21", ". line 22", ". line 23");
    terminal.type("!");
    await terminal.shows(". line 19!|", ". line 20", ". line 21", ". line 22", ". line 23");
    await leave(terminal);
  });
});

describe("keys", () => {
  test.each([
    ["a letter with accents is one character", `e\u0301x\u0301${key.left}${key.backspace}`, "x\u0301"],
    ["a joined emoji is one character", `a👨‍👩‍👧b${key.left}${key.backspace}`, "ab"],
    ["a flag is one character", `🇩🇪🇫🇷${key.left}${key.left}${key.delete}`, "🇫🇷"],
    ["words are deleted, and come back", `one two three${key.deleteWord}${key.wordLeft}${key.yank}!`, "one three!two"],
    ["Ctrl-K deletes to the end, Ctrl-U to the beginning", `abcdef${key.left.repeat(3)}\u000bg\u0015h`, "h"],
    ["undo takes back", `abc${key.undo}${key.undo}`, "a"],
    ["unknown keys do nothing", "a\u001b[5~\u001b[I\u0000\u0007\u001b[99xb", "ab"],
    ["a clear screen keeps the message", `abc${key.clear}d`, "abcd"],
  ])("%s", async (_, typed, message) => {
    const terminal = await start(40);
    terminal.type(`${typed}\r`);
    await terminal.until(`re: ${message}\n`);
    await leave(terminal);
  });

  test("a pasted text loses its control characters only", async () => {
    const terminal = await start(40);
    terminal.type(`${paste("a\u0000\u001b[31mred\u001b[0m\tb\r\nc\rd\ne")}\r`);
    await terminal.until("re: ared\tb\nc\nd\ne\n");
    await leave(terminal);
  });

  test("Ctrl-Z gives the terminal back, stops, and goes on where it was", async () => {
    const terminal = await start(40);
    const raw: boolean[] = [];
    Object.assign(terminal.stdin, { setRawMode: (mode: boolean) => raw.push(mode) });
    terminal.type(`half a messag${key.left}\u001a`);
    await terminal.shows("> half a messag", "> half a messa|g");
    expect(terminal.raised).toEqual(["SIGTSTP"]);
    expect(raw[0]).toBe(false);
    expect(raw.at(-1)).toBe(true);
    terminal.type(`${key.end}e\r`);
    await terminal.until("re: half a message\n");
    await leave(terminal);
  });

  test("a process that was stopped from outside draws its message anew", async () => {
    const terminal = await start(40);
    terminal.type("half");
    await terminal.shows("> half|");
    terminal.stdout.write("\n$ fg\n");
    terminal.signals.emit("SIGCONT");
    await terminal.shows("> half", "$ fg", "> half|");
    await leave(terminal);
  });

  test.each(["SIGTERM", "SIGHUP"] as const)("%s gives the terminal back before it ends the process", async (signal) => {
    const terminal = await start(40);
    const raw: boolean[] = [];
    Object.assign(terminal.stdin, { setRawMode: (mode: boolean) => raw.push(mode) });
    terminal.signals.emit(signal, signal);
    expect(raw).toEqual([false]);
    await terminal.until("\u001b[?2004l");
    expect(terminal.raised).toEqual([signal]);
  });
});
