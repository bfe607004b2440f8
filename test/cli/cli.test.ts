// The command line from outside: arguments in, stdout, stderr and exit status out, on the bundled model.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findFixture, type ProcessResult, readFloats, root, runBitnet, tinyModel } from "../support/fixtures.js";

const story = "Once upon a time";
const model = ["-m", tinyModel];
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-cli-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** An error as a user should see it: the status, nothing on stdout, one line of error, at most a hint after it. */
function expectError({ status, signal, stdout, stderr }: ProcessResult, expected: number, message: RegExp): void {
  expect({ status, signal, stdout, stderr }).toMatchObject({ status: expected, signal: null, stdout: "" });
  const lines = stderr.trimEnd().split("\n");
  expect(lines.filter((line) => line.startsWith("error: "))).toHaveLength(1);
  expect(lines.every((line) => /^(error|hint|note): /.test(line))).toBe(true);
  expect(stderr).toMatch(message);
}

async function runText(args: string[], input?: string): Promise<string> {
  const { status, stdout, stderr } = await runBitnet(["run", ...args], { input });
  expect({ status, stderr }).toMatchObject({ status: 0 });
  return stdout;
}

describe("bitnet run", () => {
  test("without -m tells a story with the bundled model and says, the first time, how to get a real one", async () => {
    const env = { XDG_STATE_HOME: join(folder, "state") };
    const { status, stdout, stderr } = await runBitnet(["run", "-p", story, "-n", "24"], { env });
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Once upon a time, there was a .*[a-z].*\n$/);
    expect(stderr).toMatch(
      /^note: using the bundled demonstration model, for simple stories; bitnet run 2b gets a real one \(1\.2 GB\)\n/,
    );
    expect(stderr).toMatch(
      /load: +\d+ ms\nprefill: 5 tokens in [\d.]+ ms \([\d.]+ tokens\/s\)\ndecode: +23 tokens in /,
    );
    const again = await runBitnet(["run", "-p", story, "-n", "1"], { env });
    expect(again).toMatchObject({ status: 0, stderr: expect.stringMatching(/^load:/) });
  });

  test("without any prompt begins its own story", async () => {
    expect(await runText(["-n", "4"])).toBe(await runText(["-n", "4", "-p", story]));
  });

  test("takes bitnet.cpp's spellings", async () => {
    const long = [
      ...model,
      "--prompt",
      story,
      "--n-predict",
      "8",
      "--threads",
      "2",
      "--ctx-size",
      "256",
      "--temp",
      "0",
    ];
    const short = [...model, "-p", story, "-n", "8", "-t", "2", "-c", "256", "-temp", "0", "-ngl", "0"];
    const { status, stdout, stderr } = await runBitnet(["run", ...short]);
    expect(status).toBe(0);
    expect(stderr).not.toContain("note:");
    expect(stdout).toBe(await runText(long));
  });

  test("says that options without a meaning here are ignored", async () => {
    const { status, stderr } = await runBitnet(["run", ...model, "-p", story, "-n", "1", "-ngl", "99", "-b", "1"]);
    expect(status).toBe(0);
    expect(stderr).toMatch(/note: --n-gpu-layers has no effect.*\nnote: --batch-size has no effect/);
  });

  test("prints nothing but the text with --quiet and --no-display-prompt", async () => {
    const args = [...model, "-p", story, "-n", "8", "-temp", "0", "--quiet"];
    const { stdout, stderr } = await runBitnet(["run", ...args, "--no-display-prompt"]);
    expect(stderr).toBe("");
    expect(story + stdout).toBe(await runText(args));
  });

  test("reads the prompt from a file or stdin, without the newline at its end", async () => {
    const options = [...model, "-n", "8", "-temp", "0"];
    const expected = await runText([...options, "-p", story]);
    expect(await runText([...options, "-f", file("prompt.txt", `${story}\n`)])).toBe(expected);
    expect(await runText(options, `${story}\n`)).toBe(expected);
    expect(await runText([...options, "-p", "-"], story)).toBe(expected);
    expect(await runText([...options, "-f", "-"], story)).toBe(expected);
  });

  test("processes escapes in -p unless told not to", async () => {
    const options = [...model, "-n", "1", "-temp", "0"];
    expect(await runText([...options, "-p", "a\\nb"])).toMatch(/^a\nb/);
    expect(await runText([...options, "-p", "a\\nb", "--no-escape"])).toMatch(/^a\\nb/);
  });

  test("ends at a stop text", async () => {
    const stdout = await runText([...model, "-p", story, "-temp", "0", "--stop", "xyz", "-r", " was", "-n", "20"]);
    expect(stdout).toBe("Once upon a time, there\n");
  });

  test("repeats a text by its seed", async () => {
    const args = [...model, "-p", story, "-n", "30", "-temp", "1.5", "--top-k", "0", "--min-p", "0", "--top-p", "1"];
    const first = await runText([...args, "-s", "42", "-t", "1"]);
    expect(await runText([...args, "-s", "42", "-t", "2"])).toBe(first);
    expect(await runText([...args, "-s", "43"])).not.toBe(first);
  });

  test("prints one JSON object with --json", async () => {
    const args = [...model, "-p", story, "-n", "6", "-temp", "0", "--seed", "5", "--json", "--logprobs", "3"];
    const stdout = await runText(args);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({
      model: {
        path: tinyModel,
        architecture: expect.any(String),
        kernel: expect.any(String),
        threads: expect.any(Number),
      },
      prompt: story,
      text: expect.stringMatching(/^, there was/),
      finishReason: "length",
      seed: 5,
      timings: { loadMs: expect.any(Number), promptTokens: 5, reusedTokens: 0, generatedTokens: 6, decodedTokens: 5 },
    });
    expect(result.tokens).toHaveLength(6);
    expect(result.logprobs.map((step: { id: number }) => step.id)).toEqual(result.tokens);
    expect(result.logprobs[0].top).toHaveLength(3);
    expect(stdout.indexOf("\n")).toBe(stdout.length - 1);
  });

  test("says when it uses less context than asked for, and when that is full", async () => {
    const { status, stderr } = await runBitnet([
      "run",
      ...model,
      "-p",
      story,
      "-c",
      "9999",
      "-n",
      "-1",
      "--ignore-eos",
    ]);
    expect(status).toBe(0);
    expect(stderr).toMatch(/note: -c 9999 is more than the 512 tokens/);
    expect(stderr).toMatch(/note: stopped: the context of 512 tokens is full/);
  });

  test("-c 0 means the trained context", async () => {
    const { status, stderr } = await runBitnet(["run", ...model, "-p", story, "-c", "0", "-n", "-2", "--ignore-eos"]);
    expect(status).toBe(0);
    expect(stderr).toMatch(/the context of 512 tokens is full/);
  });
});

describe("Ctrl-C", () => {
  test("ends the text with a newline and the timings, and the process with 130", async () => {
    const args = ["run", ...model, "-p", story, "-n", "-1", "--ignore-eos", "-t", "1", "--kernel", "scalar"];
    const { status, signal, stdout, stderr } = await runBitnet(args, { onOutput: (kill) => kill("SIGINT") });
    expect({ status, signal }).toEqual({ status: 130, signal: null });
    expect(stdout).toMatch(/^Once upon a time.*\n$/s);
    expect(stderr).toMatch(/load: +\d+ ms/);
    expect(stderr).not.toMatch(/error|full/);
  });

  test("ends a command that waits for its prompt", async () => {
    const child = spawn(process.execPath, [join(root, "bin", "bitnet.js"), "run"], {
      stdio: ["pipe", "ignore", "pipe"],
      env: { ...process.env, XDG_STATE_HOME: join(folder, "of-a-new-user") },
    });
    await once(child.stderr, "data"); // the note about the bundled model
    child.kill("SIGINT");
    expect(await once(child, "exit")).toEqual([130, null]);
  });
});

describe("the terminal", () => {
  test("a reader that goes away is no error", async () => {
    const args = ["run", ...model, "-p", story, "-n", "-1", "--ignore-eos", "-t", "1", "--kernel", "scalar"];
    const { status, signal, stderr } = await runBitnet(args, { onOutput: (_, closeStdout) => closeStdout() });
    expect({ status, signal }).toEqual({ status: 0, signal: null });
    expect(stderr).not.toMatch(/error|EPIPE|full/);
  });

  test.each([
    [{}, false],
    [{ FORCE_COLOR: "1" }, true],
    [{ FORCE_COLOR: "1", NO_COLOR: "1" }, false],
  ])("with %j, coloured: %s", async (env, coloured) => {
    const { stderr } = await runBitnet(["run", "--nonsense"], { env });
    expect(stderr.includes("\u001b[")).toBe(coloured);
  });

  test("a stack is shown with --verbose or BITNET_DEBUG only", async () => {
    const args = ["run", "-m", "/nowhere.gguf", "-p", "x"];
    expect((await runBitnet(args)).stderr).not.toMatch(/^ +at /m);
    expect((await runBitnet([...args, "--verbose"])).stderr).toMatch(/^ +at /m);
    expect((await runBitnet(args, { env: { BITNET_DEBUG: "1" } })).stderr).toMatch(/^ +at /m);
  });
});

describe("wrong arguments end with 2", () => {
  test.each([
    ["run --tmep 1", /unknown option '--tmep'\nhint: did you mean --temp\?/],
    ["run -tmp 1", /unknown option '-tmp'\nhint: did you mean -temp\?/],
    ["run --temprature 1", /unknown option '--temprature'\nhint: did you mean --temperature\?/],
    ["rnu", /unknown command 'rnu'\nhint: did you mean run\?/],
    ["run -t 0", /'-t, --threads <n>' argument '0' is invalid: expected an integer from 1 to 1024\nhint: /],
    ["run -n x", /'-n, --n-predict <n>' argument 'x' is invalid/],
    ["run -n 1.5", /argument '1\.5' is invalid/],
    ["run -c -1", /argument '-1' is invalid/],
    ["run --top-p 2", /'--top-p <p>' argument '2' is invalid/],
    ["run -temp hot", /argument 'hot' is invalid/],
    ["run --seed -2", /argument '-2' is invalid/],
    ["run --logit-bias x", /argument 'x' is invalid/],
    ["run -m", /argument missing/],
    ["run a b stray", /too many arguments/],
    ["run -m a b stray", /too many arguments/],
    ["run a b -p c", /one of -p and an argument/],
    ["run --logprobs 3", /needs --json/],
    ["logits", /one of --ids and --prompt/],
    ["logits -p a --ids 1", /one of --ids and --prompt/],
    ["logits --ids 1,x", /"x" is not one/],
  ])("bitnet %s", async (line, message) => {
    expectError(await runBitnet(line.split(" ")), 2, message);
  });

  test("bitnet alone shows its help on stderr", async () => {
    const { status, stdout, stderr } = await runBitnet([]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^Usage: bitnet/);
  });

  test.each([["--help"], ["run --help"], ["logits --help"], ["tokenize --help"], ["help run"]])(
    "but bitnet %s ends with 0 and shows examples",
    async (line) => {
      const { status, stdout } = await runBitnet(line.split(" "));
      expect(status).toBe(0);
      expect(stdout).toMatch(/Examples?:\n {2}\$ bitnet/);
    },
  );

  test("bitnet --version prints the package's version", async () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    expect(await runBitnet(["--version"])).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: "" });
  });
});

describe("what cannot be done ends with 1 and one line", () => {
  test.each([
    ["a missing file", () => "/nowhere/model.gguf", /\/nowhere\/model\.gguf/],
    ["a directory", () => folder, /error: /],
    ["an empty file", () => file("empty.gguf", ""), /empty\.gguf/],
    ["a text file", () => file("text.gguf", "this is not a model, although it is long enough"), /text\.gguf/],
    ["a wrong version", () => file("version.gguf", patched(4, 9)), /version/],
    ["an absurd number of tensors", () => file("tensors.gguf", patched(8, 0xff, 0xff, 0xff, 0xff, 0xff)), /tensor/],
    ["an absurd number of keys", () => file("keys.gguf", patched(16, 0xff, 0xff, 0xff, 0xff, 0xff)), /keys\.gguf/],
  ])("%s", async (_, path, message) => {
    expectError(await runBitnet(["run", "-m", path(), "-p", "x"]), 1, message);
  });

  test.each([3, 4, 23, 100, 5000, 100_000, -1])("a file cut at byte %d", async (length) => {
    const path = file(`cut${length}.gguf`, readFileSync(tinyModel).subarray(0, length));
    expectError(await runBitnet(["run", "-m", path, "-p", "x"]), 1, /cut/);
  });

  test.each([
    [
      "a prompt longer than the context",
      ["run", ...model, "-p", "word ".repeat(600)],
      /tokens, but the context holds 512/,
    ],
    ["no prompt for a model of one's own", ["run", ...model], /there is no prompt/],
    ["a prompt file that is missing", ["run", ...model, "-f", "/nowhere.txt"], /\/nowhere\.txt/],
    ["an unknown kernel", ["run", ...model, "-p", "x", "--kernel", "abacus"], /abacus/],
    ["a pre-tokenizer that nobody knows", ["run", ...model, "-p", "x", "--tokenizer-pre", "abacus"], /abacus/],
    ["an id outside the vocabulary", ["logits", ...model, "--ids", "1,2048"], /2048 is not a token id/],
    ["a bias outside the vocabulary", ["run", ...model, "-p", "x", "--logit-bias", "9999+1"], /9999 is not a token id/],
    ["an id to decode that is none", ["tokenize", ...model, "--decode", "9999"], /9999 is not a token id/],
    ["an output folder that is missing", ["logits", ...model, "--ids", "1", "--out", "/nowhere/x.f32"], /\/nowhere/],
  ])("%s", async (_, args, message) => {
    expectError(await runBitnet(args), 1, message);
  });

  test("flipped bits in the header give a result or one line, never a crash", async () => {
    const bytes = readFileSync(tinyModel);
    const bit = fc.nat({ max: 8 * 60_000 - 1 });
    const property = fc.asyncProperty(fc.array(bit, { minLength: 1, maxLength: 4 }), async (bits) => {
      const flipped = Buffer.from(bytes);
      for (const position of bits) {
        flipped[position >> 3] = (flipped[position >> 3] ?? 0) ^ (1 << (position & 7));
      }
      const path = file("flipped.gguf", flipped);
      const result = await runBitnet(["run", "-m", path, "-p", "x", "-n", "2", "--quiet"]);
      if (result.status !== 0) {
        expectError(result, 1, /^error: /);
      }
    });
    await fc.assert(property, { numRuns: 25 });
  });
});

function patched(offset: number, ...values: number[]): Buffer {
  const bytes = readFileSync(tinyModel);
  bytes.set(values, offset);
  return bytes;
}

describe("bitnet logits", () => {
  test("prints the highest logits of the last position", async () => {
    const { status, stdout } = await runBitnet(["logits", ...model, "-p", story, "--top", "3"]);
    expect(status).toBe(0);
    const result = JSON.parse(stdout);
    expect(result.ids).toEqual([2045, 772, 724, 258, 471]);
    expect(result.positions).toHaveLength(1);
    expect(result.positions[0]).toMatchObject({ position: 4, id: 471, top: [{ id: 11, piece: "," }, {}, {}] });
    expect(result.positions[0].top).toHaveLength(3);
  });

  test("writes all positions as float32, the same in a batch and nearly so token by token", async () => {
    const [batch, single] = [join(folder, "batch.f32"), join(folder, "single.f32")];
    const args = ["logits", ...model, "--ids", "2045,772,724", "--all"];
    expect(await runBitnet([...args, "--out", batch])).toMatchObject({ status: 0, stdout: "" });
    expect(await runBitnet([...args, "--out", single, "--one-by-one"])).toMatchObject({ status: 0, stdout: "" });
    expect(readdirSync(folder).filter((name) => name.endsWith(".partial"))).toEqual([]);
    const logits = readFloats(batch);
    expect(logits).toHaveLength(3 * 2048);
    expect(readFloats(single)).toHaveLength(3 * 2048);

    const printed = JSON.parse((await runBitnet([...args, "--top", "1"])).stdout);
    for (const [row, { position, top }] of printed.positions.entries()) {
      expect(position).toBe(row);
      expect(logits[row * 2048 + top[0].id]).toBeCloseTo(top[0].logit, 4);
      expect(Math.max(...logits.subarray(row * 2048, (row + 1) * 2048))).toBeCloseTo(top[0].logit, 4);
    }
  });
});

describe("bitnet tokenize", () => {
  const tokenize = async (args: string[], input?: string) => {
    const { status, stdout, stderr } = await runBitnet(["tokenize", ...model, ...args], { input });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return stdout;
  };

  test("prints ids as JSON, from an argument or stdin, with or without special tokens", async () => {
    expect(await tokenize([story])).toBe("[2045,772,724,258,471]\n");
    expect(await tokenize([], story)).toBe("[2045,772,724,258,471]\n");
    expect(await tokenize([story, "--no-special"])).toBe("[772,724,258,471]\n");
    expect(await tokenize([], "")).toBe("[2045]\n");
  });

  test("reads control tokens only when asked to", async () => {
    expect(await tokenize(["<|eot_id|>", "--no-special", "--parse-special"])).toBe("[2047]\n");
    expect(JSON.parse(await tokenize(["<|eot_id|>", "--no-special"]))).not.toContain(2047);
  });

  test("decodes what it encoded", async () => {
    const text = "It's 3 o'clock \u2014 na\u00efve \u{1f600}\n\tend";
    const ids = await tokenize(["--no-special"], text);
    expect(await tokenize(["--decode"], ids)).toBe(`${text}\n`);
    expect(await tokenize(["--decode", "772 724,258, 471"])).toBe(`${story}\n`);
    expect(await tokenize(["--decode", "[2045, 2047]"])).toBe("<|begin_of_text|><|eot_id|>\n");
  });

  const vocabulary = findFixture("vocab", "gpt-2.gguf");
  test.skipIf(vocabulary === undefined)("works on a file that holds a vocabulary only", async () => {
    const { status, stdout } = await runBitnet(["tokenize", "-m", vocabulary ?? "", "ied 4 \u00bd months"]);
    expect({ status, stdout }).toEqual({ status: 0, stdout: "[798,604,25208,1933]\n" });
  });
});

describe("bitnet run -cnv", () => {
  const converse = (args: string[], input: string) =>
    runBitnet(["run", ...model, "-cnv", "-temp", "0", ...args], { input });

  test("answers every line of stdin", async () => {
    const { status, stdout } = await converse(["--quiet"], "What is BitNet?\nWhat does a cow say?\n");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^BitNet is a language model with ternary weights\..*\n.+\n$/);
  });

  test("limits an answer with -n and says why it ended", async () => {
    const { status, stdout } = await converse(["--json", "-n", "3", "-c", "256"], "What is BitNet?\n");
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ finishReason: "length" });
  });

  test.each([
    [["--chat-template", "no-such-format"], 1, /no-such-format is neither a chat format nor a file/],
    [["-p", "-"], 2, /the standard input is the conversation/],
  ])("refuses %j", async (args, status, message) => {
    expectError(await converse(args, "Hello\n"), status, message);
  });

  test("its options need it", async () => {
    expectError(await runBitnet(["run", "--chat-template", "bitnet", "-p", "x"]), 2, /--chat-template needs -cnv/);
    expectError(await runBitnet(["run", "--no-history", "-p", "x"]), 2, /--history needs -cnv/);
    expectError(await runBitnet(["run", "--hide-thinking", "-p", "x"]), 2, /--hide-thinking needs -cnv/);
  });
});
