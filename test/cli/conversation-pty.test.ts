// A conversation on a real pseudo-terminal, and in a shell that has job control.

import { execFile, spawnSync } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { root, tinyModel } from "../support/fixtures.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bitnet-conversation-"));
});
afterAll(() => rm(folder, { recursive: true }));

const bin = join(root, "bin", "bitnet.js");
const shellPrompt = "shell$ ";
const python = ["python3", "python"].find((name) => spawnSync(name, ["-c", "import pty"]).status === 0);
if (python === undefined) {
  process.stderr.write("skipped: the tests on a pseudo-terminal need python3\n");
}

describe.runIf(python !== undefined)("on a pseudo-terminal", () => {
  /** Plays the steps of support/play-terminal.py against a real process. */
  async function playCommand(steps: object[], command: string[]) {
    const script = join(root, "test", "support", "play-terminal.py");
    const env = { ...process.env, HOME: folder, XDG_STATE_HOME: join(folder, "xdg"), TERM: "xterm" };
    const { stdout } = await promisify(execFile)(python ?? "python3", [script, JSON.stringify(steps), ...command], {
      env,
    });
    return JSON.parse(stdout) as { output: string; status: number; missing: string | null };
  }
  const shell = ["env", `PS1=${shellPrompt}`, "bash", "--norc", "--noprofile", "-b", "-i"];
  const chat = [process.execPath, bin, "run", "-cnv", "-temp", "0"];
  const play = (steps: object[], ...more: string[]) => playCommand(steps, [...chat, ...more]);

  /** The same in an interactive shell; the first step types the command line of the chat with its options. */
  const playInShell = (steps: object[], ...more: string[]) =>
    playCommand([{ wait: shellPrompt, send: `${[...chat, "--no-history", ...more].join(" ")}\r` }, ...steps], shell);
  const prompt = "\u001b[0J> ";

  test("arrow keys bring back earlier lines, also those of the last conversation", async () => {
    const first = await play([
      { wait: prompt, send: "What is BitNet?\r" },
      { wait: "one." },
      { wait: prompt, send: "My name is Lily.\r" },
      { wait: "Lily!" },
      { wait: prompt, send: "\u001b[A\u001b[A\r" },
      { wait: "one." },
      { wait: prompt, send: "\u0004" },
    ]);
    expect(first).toMatchObject({ missing: null, status: 0 });
    const second = await play([
      { wait: prompt, send: "\u001b[A\r" },
      { wait: "one." },
      { wait: prompt, send: "/exit\r" },
    ]);
    expect(second).toMatchObject({ missing: null, status: 0 });
    const history = join(folder, "xdg", "bitnet", "history");
    expect((await readFile(history, "utf8")).split("\n")[0]).toBe("What is BitNet?");
  });

  // On this model the fastest kernels end a story before a key that is pressed when it begins arrives. Without an end,
  // and with the slowest kernels, an answer takes twenty times as long: seconds, which the load of a machine stretches too.
  const slow = ["--ignore-eos", "--kernel", "scalar", "-t", "1"];

  test("Ctrl-C stops an answer and keeps the chat; twice at the prompt leaves with 130", async () => {
    const result = await play(
      [
        { wait: prompt, send: "Tell me a story about a cat.\r" },
        { wait: "Once upon", send: "\u0003" },
        { wait: "(stopped" },
        { wait: prompt, send: "What is BitNet?\r" },
        { wait: "one.", send: "\u0003" },
        { wait: "(stopped" },
        { wait: prompt, pause: 2.2, send: "\u0003" }, // later than a second Ctrl-C of the same wish
        { wait: "/exit leaves" },
        { wait: prompt, send: "\u0003" },
      ],
      ...slow,
    );
    expect(result).toMatchObject({ missing: null, status: 130 });
  });

  test("Ctrl-C twice in a row during an answer leaves with 130", async () => {
    const result = await play(
      [
        { wait: prompt, send: "Tell me a story about a cat.\r" },
        { wait: "Once upon", send: "\u0003" },
        { pause: 0.3, send: "\u0003" },
      ],
      ...slow,
    );
    expect(result).toMatchObject({ missing: null, status: 130 });
  });

  describe("in a shell", () => {
    const left = { wait: shellPrompt, send: "exit 7\r" };

    test("Ctrl-Z and fg at the prompt keep what was typed", async () => {
      const result = await playInShell([
        { wait: prompt, send: "What is BitN" },
        { wait: "What is BitN", send: "\u001a" },
        { wait: "Stopped" },
        { wait: shellPrompt, send: "stty -a | tr ';' '\\n' | grep -o ' icanon'; fg\r" },
        { wait: "\r icanon\r\n" },
        { wait: "> What is BitN", send: "et?\r" },
        { wait: "one." },
        { wait: prompt, send: "/exit\r" },
        left,
      ]);
      expect(result).toMatchObject({ missing: null, status: 7 });
    });

    test("Ctrl-Z stops an answer, which goes on after fg", async () => {
      const result = await playInShell(
        [
          { wait: prompt, send: "Tell me a story about a cat.\r" },
          { wait: "Once upon", send: "\u001a" },
          { wait: "Stopped" },
          { wait: shellPrompt, send: "fg\r" },
          { wait: "(stopped after 300 tokens" },
          { wait: prompt, send: "What is BitNet?\r" },
          { wait: "one." },
          { wait: "(stopped after 300 tokens" },
          { wait: prompt, send: "\u0004" },
          left,
        ],
        ...slow,
        "-n",
        "300",
      );
      expect(result).toMatchObject({ missing: null, status: 7 });
    });

    test("a chat in the background stops until it is in the foreground", async () => {
      const result = await playInShell([
        { wait: prompt, send: "half\u001a" },
        { wait: "Stopped" },
        { wait: shellPrompt, send: "bg\r" },
        { wait: "Stopped", send: "fg\r" },
        { wait: "> half", send: "\u0003" },
        { wait: prompt, send: "\u0004" },
        left,
      ]);
      expect(result).toMatchObject({ missing: null, status: 7 });
    });

    test.each([
      ["SIGTERM", "143"],
      ["SIGHUP", "129"],
    ])("%s ends the chat and leaves the terminal as it was", async (signal, status) => {
      const result = await playInShell([
        { wait: prompt, send: "half" },
        { wait: "> half", signal },
        { wait: "\u001b[?2004l" },
        { wait: shellPrompt, send: "echo status $?; stty -a | tr ';' '\\n' | grep -o ' icanon'\r" },
        { wait: `status ${status}\r\n icanon\r\n` },
        left,
      ]);
      expect(result).toMatchObject({ missing: null, status: 7 });
    });

    test.each([
      ["y\r", "0", "deleted 1 file"],
      ["\u0004", "1", "nothing was deleted"],
      ["\u0003", "130", "^C"],
    ])("Ctrl-Z and fg in a question ask it again; %j answers it", async (typed, status, outcome) => {
      const models = await mkdtemp(join(folder, "models-"));
      await mkdir(join(models, "mine"));
      await copyFile(tinyModel, join(models, "mine", "ggml-model-i2_s.gguf"));
      const result = await playCommand(
        [
          { wait: shellPrompt, send: `${process.execPath} ${bin} rm mine -md ${models}\r` },
          { wait: "[y/N] ", send: "\u001a" },
          { wait: "Stopped" },
          { wait: shellPrompt, send: "fg\r" },
          { wait: "[y/N] ", send: typed },
          { wait: outcome },
          { wait: shellPrompt, send: "echo status $?\r" },
          { wait: `status ${status}\r\n` },
          left,
        ],
        shell,
      );
      expect(result).toMatchObject({ missing: null, status: 7 });
    });
  });
});
