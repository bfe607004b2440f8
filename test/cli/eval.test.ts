// bitnet eval list, tasks and compare as processes.

import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root, runBitnet, tinyModel } from "../support/fixtures.js";
import { renderRows } from "../support/terminal.js";

const arc = join(root, "test", "fixtures", "eval", "tasks", "arc.jsonl");
let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "bitnet-eval-cli-"));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const evaluateArc = (...more: string[]) => {
  const data = ["--data", `arc_easy=${arc}`, "-o", join(scratch, "out"), "--log-samples"];
  return runBitnet(["eval", "tasks", "-m", tinyModel, "-t", "arc_easy", ...data, ...more], {
    env: { XDG_CACHE_HOME: join(scratch, "cache") },
  });
};

describe("bitnet eval", () => {
  it("without a command names those that there are", async () => {
    const { status, stderr } = await runBitnet(["eval"]);
    expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringMatching(/expected one of .*tasks.*list/) });
  });

  it("tasks prints lm-eval's table, writes files, and takes from an earlier run what it has answered", async () => {
    const { status, stdout, stderr } = await evaluateArc();
    expect(stderr).toContain("wrote ");
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: `\
|Tasks   |Version|Filter|n-shot|Metric  |   | Value|   |Stderr|
|--------|------:|------|-----:|--------|---|-----:|---|-----:|
|arc_easy|      1|none  |     0|acc     |↑  |0.3000|±  |0.1528|
|        |       |none  |     0|acc_norm|↑  |0.4000|±  |0.1633|
`,
    });
    const again = JSON.parse((await evaluateArc("--json", "--quiet")).stdout);
    expect(again.bitnet).toMatchObject({ cached: 39, requests: 39, tokens: { evaluated: 0, reused: 0 } });
  });

  it("tasks has nothing on stderr with --quiet, whatever there is to say of the answers", async () => {
    const data = ["--data", `gsm8k=${arc.replace("arc", "gsm8k")}`, "--num-fewshot", "0", "--limit", "1"];
    const args = ["eval", "tasks", "-t", "gsm8k", ...data, "--gen-kwargs", "max_gen_toks=4", "--quiet"];
    const { status, stderr } = await runBitnet(args, { env: { XDG_CACHE_HOME: join(scratch, "cache") } });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  it("tasks tells which files it has no use for", async () => {
    const { status, stderr } = await evaluateArc("--limit", "1", "--data", "hellaswag=nowhere.jsonl");
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringContaining("data of hellaswag: not used") });
  });

  it("tasks says that settings of writing are for tasks whose answers are written", async () => {
    const { status, stderr } = await evaluateArc("--limit", "1", "--gen-kwargs", "temperature=0");
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringContaining("gen-kwargs: not used") });
  });

  it("compare tells differences and whether they are more than chance", async () => {
    const folder = join(scratch, "out", "tiny-bitnet");
    const [first = ""] = readdirSync(folder).filter((name) => name.startsWith("results_"));
    const { stdout } = await runBitnet(["eval", "compare", join(folder, first), join(folder, first), "--json"]);
    expect(JSON.parse(stdout)[0]).toMatchObject({
      task: "arc_easy",
      difference: 0,
      test: "McNemar",
      documents: 10,
      p: 1,
    });
  });

  it("list has the tasks of a group with --json", async () => {
    const rows = JSON.parse((await runBitnet(["eval", "list", "--json"])).stdout);
    expect(rows).toContainEqual(expect.objectContaining({ name: "mmlu", kind: "group", documents: 14042 }));
    expect(rows).toContainEqual(expect.objectContaining({ name: "mmlu_anatomy", group: "mmlu_stem", documents: 135 }));
  });

  it.each([
    [["eval", "tasks"], 2, "expected tasks: -t"],
    [["eval", "tasks", "-t", "arc_esy"], 2, "did you mean arc_easy?"],
    [["eval", "tasks", "-t", "arc_easy", "--data", `arc_esy=${arc}`], 2, "did you mean arc_easy?"],
    [["eval", "tasks", "-t", "arc_easy", "--samples", '{"hellaswag": [0]}'], 2, "there are none of arc_easy"],
    [["eval", "tasks", "-t", "arc_easy", "--samples", "{}"], 2, "there are none of arc_easy"],
    [["eval", "tasks", "--gen-kwargs", "max_gen_toks=0.5"], 2, "expected an integer from 1 as max_gen_toks, got 0.5"],
    [["eval", "tasks", "--gen-kwargs", "do_sample=maybe"], 2, "expected true or false as do_sample"],
    [["eval", "compare", root, root], 1, "it is a directory"],
    [["eval", "tasks", "-t", "arc_easy", "--log-samples"], 2, "--output-path DIR"],
    [["eval", "tasks", "-t", "arc_easy", "--data", `arc_easy=${arc}`, "--num-fewshot", "11"], 2, "11 shots need 11"],
  ] as const)("%j says what is wrong", async (args, status, text) => {
    const result = await runBitnet([...args]);
    expect(result).toMatchObject({ status, stderr: expect.stringContaining(text) });
  });
});

const python = ["python3", "python"].find((name) => spawnSync(name, ["-c", "import pty"]).status === 0);

describe.runIf(python !== undefined)("on a terminal", () => {
  it("tasks shows how many documents are done where there is least room, and clears it away", async () => {
    const script = join(root, "test", "support", "play-terminal.py");
    const command = [process.execPath, join(root, "bin", "bitnet.js"), "eval", "tasks", "-t", "arc_easy"];
    const { stdout } = await promisify(execFile)(
      python ?? "python3",
      [script, "[]", ...command, "--data", `arc_easy=${arc}`, "--limit", "3"],
      { env: { ...process.env, XDG_CACHE_HOME: join(scratch, "terminal"), TERM: "xterm" } },
    );
    const { output, status } = JSON.parse(stdout) as { output: string; status: number };
    expect({ status, output }).toEqual({
      status: 0,
      output: expect.stringMatching(/[0-3] of 3, arc_easy +[█░]+ +\d+%/),
    });
    expect(renderRows(output, 80).join("\n")).not.toContain("of 3, arc_easy");
  });
});
