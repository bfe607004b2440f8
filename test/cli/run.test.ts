// bitnet run: command lines of llama-cli and run_inference.py, and how a model answers what it is given.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { llamaGroup, llamaRefusals } from "../../src/cli/llama-options.js";
import { root, runBitnet, tinyModel } from "../support/fixtures.js";

const model = ["-m", tinyModel];
const story = "Once upon a time";
const greedy = ["-temp", "0", "--quiet"];
const folder = mkdtempSync(join(tmpdir(), "bitnet-run-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function text(args: string[], input = ""): Promise<string> {
  const { status, stdout, stderr } = await runBitnet(["run", ...args], { input });
  expect({ status, stderr }).toMatchObject({ status: 0 });
  return stdout;
}

describe("options of llama-cli", () => {
  const switches = [
    "-fa",
    "on",
    "--mlock",
    "--no-mmap",
    "--numa",
    "distribute",
    "--no-warmup",
    "--no-perf",
    "-co",
    "-nkvo",
  ]
    .concat([
      "--simple-io",
      "-dt",
      "0.1",
      "--keep",
      "4",
      "-v",
      "--log-disable",
      "-tb",
      "2",
      "--jinja",
      "-no-cnv",
      "-sm",
    ])
    .concat([
      "none",
      "-cb",
      "-nocb",
      "--no-host",
      "--rpc",
      "x",
      "--prompt-cache",
      "x",
      "--reasoning-format",
      "none",
      "-np",
      "1",
      "--no-context-shift",
    ]);

  test("that mean nothing here change nothing", async () => {
    const args = [...model, "-p", story, "-n", "4", "-temp", "0"];
    const { status, stdout, stderr } = await runBitnet(["run", ...args, ...switches]);
    expect(status).toBe(0);
    expect(stdout).toBe(await text(args));
    expect(stderr).toMatch(/note: --mlock has no effect: /);
    expect(stderr).toMatch(/note: --no-kv-offload has no effect: /);
    expect(stderr).toMatch(/note: --no-host has no effect: /);
    expect(stderr).toMatch(/note: --keep has no effect: nothing is shifted out/);
    expect(stderr).toMatch(/note: --prompt-cache has no effect: nothing is kept/);
    expect(stderr).not.toMatch(/warmup|jinja|mmap|parallel|context-shift/);
  });

  test("that were given as a last resort do not eat what follows", async () => {
    expect(await text(["-fa", ...model, "-co", story, "-n", "2", ...greedy, "-no-cnv"])).toMatch(/^Once upon a time/);
  });

  test.each(Object.entries(llamaRefusals))("%s: %s", async (names, instead) => {
    const [name = ""] = names.split(" ");
    const { status, stdout, stderr } = await runBitnet(["run", ...model, name, "1"]);
    expect({ status, stdout, stderr }).toEqual({
      status: 2,
      stdout: "",
      stderr: `error: there is no ${name} here\nhint: ${instead}\n`,
    });
  });

  test("every ignored one says why, or is done anyway", () => {
    for (const { flags, ignored } of Object.values(llamaGroup.rows)) {
      expect({ flags, ignored }).toEqual({ flags, ignored: expect.any(String) });
    }
  });

  test("--verbose-prompt lists the tokens", async () => {
    const { stderr } = await runBitnet(["run", ...model, "-p", "Once", "-n", "1", "--verbose-prompt", "--quiet"]);
    expect(stderr).toBe('prompt: 2 tokens\n   2045 "<|begin_of_text|>"\n    772 "Once"\n');
  });

  test("--samplers and --sampling-seq are the chain in its order", async () => {
    const args = [
      ...model,
      "-p",
      story,
      "-n",
      "12",
      "-s",
      "3",
      "--quiet",
      "-temp",
      "1000",
      "--top-p",
      "0.5",
      "--min-p",
      "0",
    ];
    const scaledFirst = await text([...args, "--samplers", "temperature;top-p"]);
    expect(await text([...args, "--sampling-seq", "tp"])).toBe(scaledFirst);
    expect(await text([...args, "--samplers", "top_p;temperature"])).not.toBe(scaledFirst);
    // What is left out is off: the temperature is then 1, and one token is left.
    expect(await text([...args, "--samplers", "top_k", "--top-k", "1"])).toBe(await text([...args, "-temp", "0"]));
  });

  test("a chain with the sampler that bitnet.cpp's default has and nobody else has is the same without it", async () => {
    const args = [...model, "-p", story, "-n", "8", "-s", "3", "--quiet", "-temp", "1"];
    const plain = await text([...args, "--samplers", "top_k;top_p;temperature"]);
    expect(await text([...args, "--samplers", "top_k;tfs_z;top_p;temperature"])).toBe(plain);
    expect(await text([...args, "--sampling-seq", "kfpt"])).toBe(plain);
  });

  test("-m and -hf name one model, and what is typed wins over a variable", async () => {
    const both = await runBitnet(["run", ...model, "-hf", "owner/name", "-p", "x"]);
    expect(both).toMatchObject({ status: 2, stderr: expect.stringContaining("expected one of -m and -hf, not both") });
    const env = { HF_HUB_OFFLINE: "1", HF_HOME: folder, HF_HUB_CACHE: "" };
    const typed = await runBitnet(["run", "-hf", "owner/name", "-p", "x"], {
      env: { ...env, BITNET_MODEL: tinyModel },
    });
    expect(typed).toMatchObject({ status: 1, stderr: expect.stringContaining("owner/name") });
  });

  test.each([
    [["--samplers", "top_q"], 1, /samplers must be names of samplers, but got top_q; there are penalties, dry/],
    [["--sampling-seq", "kz"], 2, /'kz' is invalid/],
  ])("%j is refused", async (args, status, message) => {
    const result = await runBitnet(["run", ...model, "-p", "x", ...args]);
    expect(result).toMatchObject({ status, stderr: expect.stringMatching(message) });
  });

  test("-l is --logit-bias", async () => {
    expect(await text([...model, "-p", story, "-n", "1", ...greedy, "-l", "11-inf"])).not.toMatch(/time,/);
  });
});

describe("one answer", () => {
  const question = "What is BitNet?";
  const answer = /^BitNet is a language model with ternary weights\./;

  test.each([
    ["-st answers -p", [...model, "-st", "-p", question]],
    ["-sys makes -p the message", [...model, "-cnv", "-st", "-sys", "You help.", "-p", question]],
    ["an argument after the model is a message", [tinyModel, question]],
    ["an argument after -m is one too", [...model, question]],
  ])("%s", async (_, args) => {
    expect(await text([...args, ...greedy])).toMatch(answer);
  });

  test("of a chat is an answer to a line of stdin", async () => {
    expect(await text([...model, "-st", ...greedy], `${question}\nAgain\n`)).toMatch(/^BitNet [^\n]*\n$/);
    expect(await text([tinyModel, ...greedy], question)).toMatch(answer);
  });

  test("is one object with --json", async () => {
    const { content } = JSON.parse(await text([tinyModel, question, "--json", ...greedy]));
    expect(content).toMatch(answer);
  });

  test("-no-cnv goes on with the text", async () => {
    expect(await text([tinyModel, story, "-no-cnv", "-n", "4", ...greedy])).toBe(
      await text([...model, "-p", story, "-n", "4", ...greedy]),
    );
  });

  test("-sys and a file of it are the system prompt, with -p as the first message", async () => {
    const path = join(folder, "system.txt");
    writeFileSync(path, "You are a pirate.\n");
    const args = [...model, "-cnv", "-p", question, ...greedy];
    const typed = await text([...args, "-sys", "You are a pirate."]);
    expect(await text([...args, "-sysf", path])).toBe(typed);
    expect(typed.split("\n")).toHaveLength(2);
  });

  test("--in-prefix and --in-suffix stand around a message in the place of the chat format", async () => {
    const plain = await text([...model, "-p", "Q: x\nA:", "-n", "6", "--no-display-prompt", ...greedy]);
    const args = [...model, "-st", "--in-prefix", "Q: ", "--in-suffix", "\\nA:", "-p", "x", "-n", "6", ...greedy];
    expect(await text(args)).toBe(plain);
  });

  test("a failure is the failure of the command", async () => {
    const args = ["run", ...model, "-st", "-p", "word ".repeat(600)];
    expect(await runBitnet(args)).toMatchObject({ status: 1, stdout: "" });
  });

  test.each([
    [["--single-turn", "-no-cnv"], /--single-turn needs -cnv/],
    [["-sys", "a", "-sysf", "b"], /one of -sys and -sysf/],
  ])("%j is refused", async (args, message) => {
    const { status, stderr } = await runBitnet(["run", ...model, "-p", "x", ...args]);
    expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringMatching(message) });
  });
});

describe("standard input and a prompt", () => {
  /** As a shell runs it: a pipe is a FIFO there. */
  const piped = (args: string) =>
    spawnSync("sh", ["-c", `echo "A tale." | "$0" bin/bitnet.js run ${args} -n 1 -temp 0`, process.execPath], {
      cwd: root,
      encoding: "utf8",
    });

  test("-p alone says that it is not read", () => {
    const { stdout, stderr } = piped("-p Once");
    expect(stdout).toMatch(/^Once/);
    expect(stderr).toMatch(/note: standard input is not read.*-f -/);
  });

  test.each(["-p Once -f -", "models/tiny-bitnet.gguf Once -no-cnv", "-f - -m models/tiny-bitnet.gguf Once -no-cnv"])(
    "%s has both",
    (args) => {
      const { stdout, stderr } = piped(args);
      expect(stdout).toMatch(/^A tale\.\n\nOnce/);
      expect(stderr).not.toContain("not read");
    },
  );
});
