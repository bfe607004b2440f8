// bitnet finetune and bitnet train as their users meet them.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { withLock } from "../../src/system/lock.js";
import { root, runBitnet } from "../support/fixtures.js";

const scratch = mkdtempSync(join(tmpdir(), "bitnet-cli-train-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let folders = 0;
const newFolder = () => join(scratch, String(folders++), "model");

const small = join(root, "test/fixtures/train/bitnet");
const examples = join(scratch, "examples.jsonl");
const lines = Array.from({ length: 24 }, (_, i) => ({
  input: `count to ${i}`,
  output: "one two three ".repeat(1 + (i % 3)),
}));
writeFileSync(examples, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));

const settings = ["--max-steps", "20", "-b", "2", "--accumulation-steps", "1", "--lr", "1e-2", "--save-steps", "5"];
const finetune = ["finetune", "-m", small, "--data", examples, "--lora-r", "4", ...settings, "-t", "1"];

/** Files of a folder but those that tell times. */
function filesOf(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.\w+$/.test(name))
    .sort();
  return Object.fromEntries(
    names
      .filter((name) => name !== "metrics.jsonl")
      .map((name) => [name, readFileSync(join(folder, name)).toString("base64")]),
  );
}

/**
 * Sends a signal when the first checkpoint is there, once: a second one kills whatever the first one was. `args` must
 * leave work for seconds after it, as this process may be late.
 */
async function killAtCheckpoint(args: string[], signal: NodeJS.Signals) {
  let isSent = false;
  return await runBitnet([...args, "--json"], {
    onLine: (line, kill) => {
      if (!isSent && line.includes('"checkpoint"')) {
        isSent = kill(signal);
      }
    },
  });
}

/** Steps that take seconds after the first checkpoint. */
const manySteps = ["--max-steps", "800", "--save-steps", "100"];

describe("bitnet finetune", () => {
  const long = [...finetune, ...manySteps];
  const whole = newFolder();
  beforeAll(async () => {
    expect(await runBitnet([...long, "-o", whole, "--quiet"])).toMatchObject({ status: 0, stderr: "" });
  });

  it.each([
    ["SIGKILL", null],
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("after %s goes on with the same bits", async (signal, status) => {
    const stopped = newFolder();
    expect(await killAtCheckpoint([...long, "-o", stopped], signal)).toMatchObject({ status });
    const again = await runBitnet([...long, "-o", stopped, "--resume", "-t", "2"]);
    expect(again).toMatchObject({ status: 0, stderr: expect.stringContaining("going on after step ") });
    expect(filesOf(stopped)).toEqual(filesOf(whole));
  });

  it("stopped before anything was trained does not promise that it can go on", async () => {
    const out = newFolder();
    const stopped = await withLock(join(out, ".lock"), {}, () =>
      runBitnet([...finetune, "-o", out, "--json"], {
        onLine: (line, kill) => void (line.includes("waiting for another process") && kill("SIGINT")),
      }),
    );
    expect(stopped).toMatchObject({
      status: 130,
      stderr: expect.stringContaining("stopped before anything was trained"),
    });
    expect(stopped.stderr).not.toContain("--resume");
  });

  it("tells figures on stderr, and on stdout what came of it and what to type next", async () => {
    const out = newFolder();
    const { status, stdout, stderr } = await runBitnet([
      ...finetune,
      "-o",
      out,
      "--eval-split",
      "0.2",
      "--load-in-8bit",
    ]);
    expect(status).toBe(0);
    expect(stderr).toMatch(/^note: --load-in-8bit has no effect: the weights of the base are ternary already\n/);
    expect(stderr).toMatch(/\ndata: 24 examples, [\d,]+ tokens, [\d,]+ of them learned\n/);
    expect(stderr).toMatch(/\ntrainable params: [\d,]+ \|\| all params: [\d,]+ \|\| trainable%: \d+\.\d{4}\n/);
    expect(stderr).toMatch(
      /\nstep 10\/20 {2}loss \d\.\d{4} {2}lr \d\.\d\de-\d {2}norm [\d.]+ {2}[\d,]+ tokens\/s {2}\d:\d\d left\n/,
    );
    expect(stdout).toMatch(
      /^trained +20 steps, [\d,]+ tokens \(.*\)\nloss +\d\.\d{4}\nevaluation +loss \d\.\d+ before, \d\.\d+ after/,
    );
    expect(stdout).toContain(
      `bitnet convert ${small} --outfile base.gguf\n  bitnet run -m base.gguf --lora ${out} -cnv`,
    );
    const run = await runBitnet(["inspect", out]);
    expect(run.stdout).toMatch(/rank +4\n/);
  });

  it("with --json is one object a line, the result last", async () => {
    const { stdout, stderr } = await runBitnet([...finetune, "-o", newFolder(), "--json"]);
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { kind: string });
    expect(new Set(events.map(({ kind }) => kind))).toEqual(
      new Set(["data", "plan", "opened", "step", "checkpoint", "exporting", "result"]),
    );
    expect(events[0]).toMatchObject({ kind: "data", sources: [{ examples: 24, skipped: 0 }], duplicates: 0 });
    expect(events.at(-1)).toMatchObject({ kind: "result", steps: 20, resultStep: 20, skipped: 0 });
    expect(stderr).toBe("");
  });

  it("shows with --dry-run what is learned and what it takes, and trains nothing", async () => {
    const { status, stdout } = await runBitnet([...finetune, "--dry-run"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/Assistant: «one two three/);
    expect(stdout).toMatch(
      /\ntrainable +[\d,]+ of [\d,]+ parameters .*\nsteps +20, about [\d,]+ tokens\nmemory .*\ntime +about /,
    );
    const { data, steps, plan } = JSON.parse((await runBitnet([...finetune, "--dry-run", "--json"])).stdout);
    expect({ steps, documents: data.documents, total: plan.total > 0 }).toEqual({
      steps: 20,
      documents: 24,
      total: true,
    });
  });

  it.each([
    ['{"messages": [{"role": "robot", "content": "hi"}]}', /line 25: messages\[0\]: expected a role, got "robot"/],
    [`{"text": "${"x".repeat(17 * 2 ** 20)}"}`, /line 25: .*16 MiB/],
    ["{oops", /line 25, column 2: expected a key/],
  ])("of a file with a wrong line tells the line and leaves nothing", async (line, message) => {
    const [poisoned, out] = [join(scratch, "poisoned.jsonl"), newFolder()];
    writeFileSync(poisoned, `${readFileSync(examples, "utf8")}${line}\n`);
    const args = ["finetune", "-m", small, "--data", poisoned, ...settings, "-o", out];
    const { status, stdout, stderr } = await runBitnet(args);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr.split("\n")[0]).toMatch(message);
    expect(() => readdirSync(out)).toThrow("ENOENT");
    const skipping = await runBitnet([...args, "--skip-bad", "--max-steps", "1", "--quiet"]);
    expect(skipping).toMatchObject({ status: 0, stderr: "" });
  });

  it.each([
    [["-o", "x"], "expected data: --data examples.jsonl"],
    [["--data", examples], "expected where the result goes: -o FOLDER"],
    [["--data", examples, "-o", "x", "--eval-steps", "5"], "--eval-steps needs something to evaluate"],
    [
      ["--data", examples, "-o", "x", "--eval-split", "0.1", "--eval-data", "y"],
      "expected one of --eval-data and --eval-split",
    ],
    [["--data", examples, "-o", "x", "--full"], "--full needs the folder of a checkpoint"],
    [["--data", examples, "-o", "x", "--use-dora"], "DoRA is not trained here"],
    [["--data", examples, "-o", "x", "--target-modules", "q,lm_head"], "expected some of q,k,v,o,gate,up,down"],
  ])("with %j is a usage error", async (args, message) => {
    const { status, stderr } = await runBitnet(["finetune", ...args]);
    expect({ status, stderr }).toMatchObject({ status: 2, stderr: expect.stringContaining(message) });
  });
});

describe("bitnet train", () => {
  const config = join(scratch, "config.json");
  writeFileSync(config, readFileSync(join(small, "config.json")));
  const texts = join(scratch, "texts.jsonl");
  const words = ["cat", "dog", "sun", "tree", "house", "river", "stone", "bird"];
  const sentence = (i: number) =>
    `The ${words[i % 8]} and the ${words[(3 * i) % 8]} went to the ${words[(5 * i) % 8]}. `;
  const documents = Array.from({ length: 60 }, (_, i) => ({ text: sentence(i) + sentence(i + 1) }));
  writeFileSync(texts, documents.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const train = ["train", "--config", config, "--data", texts, "--tokenizer", "new", "--vocab-size", "300", "-t", "1"];
  const steps = [...manySteps, "--lr", "1e-2", "--eval-split", "0.1"];

  it("has nothing to evaluate by steps without data for that", async () => {
    const { status, stderr } = await runBitnet([...train, "-o", newFolder(), "--eval-steps", "5"]);
    expect({ status, stderr }).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("needs something to evaluate"),
    });
  });

  it("makes a tokenizer and a model whose forms run, and goes on after SIGKILL with the same bits", async () => {
    const [whole, stopped] = [newFolder(), newFolder()];
    const done = await runBitnet([...train, ...steps, "-o", whole]);
    expect(done).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/evaluation +loss 5\.\d+ before, [1-4]\.\d+ after/),
    });
    expect((await killAtCheckpoint([...train, ...steps, "-o", stopped], "SIGKILL")).status).toBe(null);
    const resumed = await runBitnet([...train, ...steps, "-o", stopped, "--resume", "-t", "2"]);
    expect(resumed).toMatchObject({ status: 0 });
    expect(resumed.stderr).not.toContain("tokenizer");
    expect(filesOf(stopped)).toEqual(filesOf(whole));
    const { stdout } = await runBitnet([
      "run",
      "-m",
      join(whole, "model.gguf"),
      "-p",
      "The cat",
      "-n",
      "8",
      "--temp",
      "0",
      "-no-cnv",
    ]);
    expect(stdout).toContain("The cat");
    const tuned = [
      "finetune",
      "-m",
      join(whole, "master"),
      "--full",
      "--data",
      texts,
      "--max-steps",
      "2",
      "-o",
      newFolder(),
    ];
    expect(await runBitnet(tuned)).toMatchObject({ status: 0 });
  });
});
