// The ways of running a model, one beside the other.

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compareStrategies, readLlamaTimings } from "../../src/bench/strategies.js";
import { listKernels } from "../../src/engine/model.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-strategies-"));
afterAll(() => rmSync(folder, { recursive: true }));

// As llama-cli of bitnet.cpp ends.
const timings = `
llama_perf_sampler_print:    sampling time =       1.21 ms /    27 runs   (    0.04 ms per token, 22277.23 tokens per second)
llama_perf_context_print:        load time =     412.33 ms
llama_perf_context_print: prompt eval time =     160.02 ms /     7 tokens (   22.86 ms per token,    43.75 tokens per second)
llama_perf_context_print:        eval time =     531.40 ms /    19 runs   (   27.97 ms per token,    35.75 tokens per second)
llama_perf_context_print:       total time =     695.10 ms /    26 tokens
`;

function writeProgram(name: string, script: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

describe("strategies", () => {
  test("every kernel and layout of this machine gives the same text, and each use gets one of them", async () => {
    const report = await compareStrategies({ model: tinyModel });
    const native = report.runs.filter(({ kind }) => kind === "native");
    const kernels = listKernels().filter(({ supported }) => supported);
    expect(native).toHaveLength(4 * kernels.length);
    expect(report).toMatchObject({ sameText: true, agrees: true });
    expect(report.difference).toBeLessThan(1e-3);
    expect(native[0]?.text).not.toBe("");
    expect(report.advice).toHaveLength(6);
    for (const { strategy } of report.advice) {
      expect(native.map(({ name }) => name)).toContain(strategy);
    }
  });

  test("bitnet.cpp is run where it is, and its figures are read", async () => {
    const bitnetCpp = writeProgram("llama-cli", `echo "Hello"\ncat >&2 <<'END'\n${timings}\nEND`);
    const { runs } = await compareStrategies({ model: tinyModel, bitnetCpp });
    expect(runs.find(({ kind }) => kind === "bitnet.cpp")).toMatchObject({
      loadMs: 412.33,
      promptTokensPerSecond: 43.75,
      tokensPerSecond: 35.75,
      text: "Hello\n",
    });
  });

  test.each([
    ["one that fails", "exit 3", "it ended with status 3"],
    ["one without timings", "echo Hello", "its timings could not be read"],
  ])("of another program, %s is told as such", async (name, script, problem) => {
    const { runs } = await compareStrategies({
      model: tinyModel,
      bitnetCpp: writeProgram(name.replace(/ /g, "-"), script),
    });
    expect(runs.find(({ kind }) => kind === "bitnet.cpp")?.problem).toBe(problem);
  });

  test("timings that are cut off are none", () => {
    expect(readLlamaTimings(timings.slice(0, 330))).toBeUndefined();
  });
});

test("bitnet doctor --strategies --json prints the machine and all runs", async () => {
  const { status, stdout } = await runBitnet(["doctor", "--strategies", "--json"]);
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ agrees: true, machine: { cores: expect.any(Number) } });
});
