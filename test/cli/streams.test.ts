// Standard streams that fail, are closed or slow: the result comes whole or the process says that it cannot.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { text as readAll } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readerReady } from "../../src/cli/terminal/streams.js";
import { root, tinyModel } from "../support/fixtures.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-streams-"));
  writeFileSync(join(folder, "chat.txt"), "Hello\n/system You are kind.\nWho are you?\n");
});
afterAll(() => rmSync(folder, { recursive: true }));

type Stdio = "pipe" | "ignore" | number;

interface Outcome {
  status: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

/** Runs the command with these streams; `shell`: what a shell does with them before. */
async function run(args: string[], stdio: [Stdio, Stdio, Stdio], shell = ""): Promise<Outcome> {
  const script = `${shell} exec "$0" "$@"`;
  const child = spawn("sh", ["-c", script, process.execPath, join(root, "bin", "bitnet.js"), ...args], {
    stdio,
    env: {
      ...process.env,
      HOME: folder,
      BITNET_DEBUG: "",
      NO_COLOR: "1",
      BITNET_TUNING: "none",
      XDG_STATE_HOME: folder,
    },
  });
  const texts = Promise.all([child.stdout, child.stderr].map((stream) => (stream === null ? "" : readAll(stream))));
  const [status, signal] = (await once(child, "exit")) as [number | null, string | null];
  const [stdout = "", stderr = ""] = await texts;
  return { status, signal, stdout, stderr };
}

/** A pipe whose reader has left before anything is written. */
function openPipeWithoutReader(): number {
  const path = join(folder, `pipe-${Math.random()}`);
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY);
  closeSync(reader);
  return writer;
}

async function withFile<T>(fd: number, body: (fd: number) => Promise<T>): Promise<T> {
  try {
    return await body(fd);
  } finally {
    closeSync(fd);
  }
}

const story = ["run", "-m", tinyModel, "-p", "Once upon", "-n", "20", "--temp", "0"];
/** Command lines whose stdout is the same every time, and is not empty. */
const commands: [string, string[]][] = [
  ["run", story],
  ["logits", ["logits", "-m", tinyModel, "-p", "Once", "--top", "2", "-t", "1"]],
  ["tokenize", ["tokenize", "-m", tinyModel, "Once upon a time"]],
  ["tokenize --decode", ["tokenize", "-m", tinyModel, "--decode", "[10, 11, 12]"]],
  ["inspect", ["inspect", tinyModel]],
  ["inspect --json", ["inspect", tinyModel, "--json"]],
  ["list --json", ["list", "--json", "-md", join(root, "models")]],
  ["tune --reset", ["tune", "--reset", "--json"]],
  ["version", ["version"]],
  ["version --verbose", ["version", "--verbose"]],
  ["completion", ["completion", "fish"]],
  ["help", ["help", "cp"]],
  ["ls", ["ls", "-md", join(root, "models")]],
  ["show", ["show", tinyModel, "--tensors"]],
  ["build-native --help", ["build-native", "--help"]],
  ["--help", ["--help"]],
  ["run --help", ["run", "--help"]],
  ["--version", ["--version"]],
];
/** Those whose text differs from run to run. */
const measuring: [string, string[]][] = [
  ["run --json", [...story, "--json"]],
  ["bench", ["bench", "-m", tinyModel, "-p", "4", "-n", "2", "-r", "1", "--no-roofline"]],
  [
    "bench kernels",
    ["bench", "kernels", "--shapes", "128x128", "--batches", "1", "-r", "1", "--kernel", "scalar", "--cached"],
  ],
];
const chat = ["run", "-cnv", "-m", tinyModel, "-n", "5", "--temp", "0"];

const onLinux = existsSync("/dev/full");

describe.runIf(onLinux)("a full disk behind stdout is one line of error and status 1", () => {
  test.each([...commands, ...measuring])("%s", async (_, args) => {
    const outcome = await withFile(openSync("/dev/full", "w"), (full) => run(args, ["ignore", full, "pipe"]));
    expect(outcome).toMatchObject({ status: 1, signal: null });
    expect(outcome.stderr.match(/^error: .*$/gm)).toEqual(["error: cannot write the output: the disk is full"]);
  });

  test.each([
    ["chat", chat],
    ["chat --json", [...chat, "--json"]],
  ])("%s", async (_, args) => {
    await withFile(openSync(join(folder, "chat.txt"), "r"), (input) =>
      withFile(openSync("/dev/full", "w"), async (full) => {
        const outcome = await run(args, [input, full, "pipe"]);
        expect(outcome).toMatchObject({ status: 1, signal: null });
        expect(outcome.stderr).toContain("error: cannot write the output: the disk is full\n");
      }),
    );
  });

  test("also when the disk takes the first part of the text", async () => {
    const path = join(folder, "part.txt");
    const outcome = await withFile(openSync(path, "w"), (file) =>
      run(["run", "--help"], ["ignore", file, "pipe"], "ulimit -f 1;"),
    );
    expect(outcome).toMatchObject({
      status: 1,
      stderr: "error: cannot write the output: the file would be too large\n",
    });
    expect(readFileSync(path).length).toBeGreaterThan(0);
  });
});

describe.runIf(onLinux)("without stderr the result comes whole, and the status stays", () => {
  test.each(commands)("%s", async (_, args) => {
    const expected = await run(args, ["ignore", "pipe", "ignore"]);
    expect(expected).toMatchObject({ status: 0, stdout: expect.stringMatching(/./) });
    const full = await withFile(openSync("/dev/full", "w"), (fd) => run(args, ["ignore", "pipe", fd]));
    const left = await withFile(openPipeWithoutReader(), (fd) => run(args, ["ignore", "pipe", fd]));
    expect({ full, left }).toEqual({ full: expected, left: expected });
  });

  test.each(measuring)("%s", async (_, args) => {
    const full = await withFile(openSync("/dev/full", "w"), (fd) => run(args, ["ignore", "pipe", fd]));
    expect(full).toMatchObject({ status: 0, stdout: expect.stringMatching(/./) });
  });

  test("a chat", async () => {
    const talk = (stderr: Stdio) =>
      withFile(openSync(join(folder, "chat.txt"), "r"), (input) => run(chat, [input, "pipe", stderr]));
    const expected = await talk("ignore");
    expect(expected).toMatchObject({ status: 0, stdout: expect.stringMatching(/./) });
    expect(await withFile(openSync("/dev/full", "w"), talk)).toEqual(expected);
    expect(await withFile(openPipeWithoutReader(), talk)).toEqual(expected);
  });

  test.each([
    [["run", "-m", "/nowhere.gguf", "-p", "x"], 1],
    [["run", "--nonsense"], 2],
  ])("%j ends with %d", async (args, status) => {
    expect(await withFile(openSync("/dev/full", "w"), (fd) => run(args, ["ignore", "pipe", fd]))).toMatchObject({
      status,
      stdout: "",
    });
  });
});

describe("a reader of stdout that has left ends the process quietly", () => {
  test.each([...commands, ...measuring])("%s", async (_, args) => {
    const outcome = await withFile(openPipeWithoutReader(), (fd) => run(args, ["ignore", fd, "pipe"]));
    expect(outcome).toMatchObject({ status: 0, signal: null });
    expect(outcome.stderr).not.toMatch(/error|EPIPE/);
  });

  test("and stops a text without end", async () => {
    const endless = ["run", "-m", tinyModel, "-p", "Once", "-n", "-1", "--ignore-eos", "-t", "1", "--kernel", "scalar"];
    const outcome = await withFile(openPipeWithoutReader(), (fd) => run(endless, ["ignore", fd, "pipe"]));
    expect(outcome).toMatchObject({ status: 0, signal: null });
    expect(outcome.stderr).not.toContain("decode:"); // it did not come to its end
  });

  test("also where the only thing written so far is on stderr, in the same pipe", async () => {
    const outcome = await withFile(openPipeWithoutReader(), (fd) =>
      run(["run", "-n", "-1", "--ignore-eos"], ["ignore", fd, fd]),
    );
    expect(outcome).toMatchObject({ status: 0, signal: null });
  });
});

describe("closed streams", () => {
  test.each([...commands, ["chat", chat] as [string, string[]]])("%s does not mind", async (_, args) => {
    expect(await run(args, ["ignore", "ignore", "ignore"], "exec <&- >&- 2>&-;")).toMatchObject({
      status: 0,
      signal: null,
    });
  });
});

describe("a stdin without text", () => {
  test.each([
    [["run", "-m", tinyModel, "-f", "-", "-n", "2"]],
    [["run", "-n", "2"]],
    [["tokenize", "-m", tinyModel]],
    [chat],
  ])("is a directory: %j says so", async (args) => {
    const outcome = await withFile(openSync(folder, "r"), (fd) => run(args, [fd, "pipe", "pipe"]));
    expect(outcome).toMatchObject({ status: 1, signal: null, stdout: "" });
    expect(outcome.stderr).toContain("error: the standard input is a directory, not a text\n");
  });

  test("does not matter where it is not read", async () => {
    const expected = await run(story, ["ignore", "pipe", "ignore"]);
    expect(await withFile(openSync(folder, "r"), (fd) => run(story, [fd, "pipe", "ignore"]))).toEqual(expected);
  });

  test("cannot be read", async () => {
    const outcome = await withFile(openSync(join(folder, "unread.txt"), "w"), (fd) =>
      run(["tokenize", "-m", tinyModel], [fd, "pipe", "pipe"]),
    );
    expect(outcome).toMatchObject({ status: 1, stdout: "" });
    expect(outcome.stderr).toMatch(/^error: cannot read the standard input: /m);
  });
});

describe("a slow reader", () => {
  test("keeps the text waiting, and loses nothing", async () => {
    const stream = new PassThrough({ highWaterMark: 4 });
    await readerReady(stream); // there is room
    stream.write("more than four");
    let isReady = false;
    const ready = readerReady(stream).then(() => {
      isReady = true;
    });
    await new Promise(setImmediate);
    expect(isReady).toBe(false);
    expect(String(stream.read())).toBe("more than four");
    await ready;
  });

  test("does not keep Ctrl-C waiting", async () => {
    const stream = new PassThrough({ highWaterMark: 4 });
    stream.write("more than four");
    const controller = new AbortController();
    const ready = readerReady(stream, controller.signal);
    controller.abort();
    await ready;
    await readerReady(stream, controller.signal);
    expect(stream.listenerCount("drain")).toBe(0);
  });
});
