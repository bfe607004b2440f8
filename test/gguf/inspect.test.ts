// bitnet inspect: what it says about a file, and the estimate against what a model then takes.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { formatInspection } from "../../src/cli/inspect-report.js";
import { displayWidth } from "../../src/cli/terminal/width.js";
import { loadModel } from "../../src/engine/model.js";
import { openGguf } from "../../src/gguf/gguf.js";
import { type InspectReport, inspectGguf } from "../../src/gguf/inspect.js";
import { withFolder } from "../support/checkpoints.js";
import { root, runBitnet, tinyModel } from "../support/fixtures.js";
import { writeGguf } from "../support/write-gguf.js";

describe("inspectGguf", () => {
  test("counts tensors, bytes and parameters by type", () => {
    const report = inspectGguf(openGguf(tinyModel));
    expect(report).toMatchObject({ architecture: "bitnet-b1.58", name: "tiny-bitnet" });
    expect(report.types.map(({ type, tensors }) => [type, tensors])).toEqual([
      ["F16", 1],
      ["I2_S", 28],
      ["F32", 17],
    ]);
    const bytes = report.types.reduce((sum, type) => sum + type.bytes, 0);
    expect(bytes).toBe(report.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0));
    expect(bytes).toBeLessThan(report.fileSize);
  });

  test("estimates the keys and values that a session then takes", async () => {
    await using model = await loadModel(tinyModel);
    for (const contextSize of [64, 512]) {
      await using session = model.createSession({ contextSize });
      const { memory } = inspectGguf(openGguf(tinyModel), { contextSize });
      expect(memory?.kvCache).toBe(session.kvBytes);
    }
    expect(model.info.parameterCount).toBe(inspectGguf(openGguf(tinyModel)).parameters);
  });
});

describe("bitnet inspect", () => {
  test("shows a summary, types and metadata, and tensors if asked for", async () => {
    const { status, stdout } = await runBitnet(["inspect", tinyModel, "-c", "256", "--tensors"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^tiny-bitnet\n {2}file {11}\S*tiny-bitnet\.gguf\n {2}size {11}1\.93 MB, GGUF version 3\n/);
    expect(stdout).toMatch(/^ {2}parameters +3\.68 M \(3676416\)$/m);
    expect(stdout).toMatch(/^ {2}F16 +1 tensor +1\.05 MB$/m);
    expect(stdout).toMatch(/^ {2}general\.architecture +"bitnet-b1\.58"$/m);
    expect(stdout).toMatch(/^ {2}tokenizer\.ggml\.tokens +string \[2048\]$/m);
    expect(stdout).toMatch(/^ {2}blk\.0\.attn_q\.weight +I2_S +\[256, 256\] +16\.4 kB$/m);
    expect(stdout).toMatch(/about 2\.\d\d MB with a context of 256$/m);
    const summary = await runBitnet(["inspect", tinyModel]);
    expect(summary.stdout).toMatch(/\n46 tensors: --tensors lists them\n$/);
    expect(summary.stdout).not.toContain("blk.0.attn_q");
  });

  test.each([40, 60, 80, 120])("fits %d columns", (width) => {
    const report = inspectGguf(openGguf(tinyModel));
    const long = { ...report, name: "模型", metadata: { ...report.metadata, "a.long.key": "模型".repeat(500) } };
    const lines = formatInspection(tinyModel, long, { tensors: true, width }).split("\n");
    for (const line of lines) {
      expect(displayWidth(line)).toBeLessThanOrEqual(width);
    }
    expect(lines.join("\n")).toContain("1.93 MB");
  });

  test("values stand beside their keys, or below them, and floats as short as they are exact", () => {
    const report = inspectGguf(openGguf(tinyModel));
    const lines = formatInspection(tinyModel, report, { width: 60 }).split("\n");
    expect(lines).toContain('  general.architecture                  "bitnet-b1.58"');
    const key = lines.indexOf("  bitnet-b1.58.attention.layer_norm_rms_epsilon");
    expect(lines[key + 1]).toBe("                                        0.00001");
  });

  test("--json is the report", async () => {
    const { stdout } = await runBitnet(["inspect", tinyModel, "--json"]);
    const report = JSON.parse(stdout) as InspectReport;
    expect(report.metadata["tokenizer.ggml.tokens"]).toEqual({ arrayOf: "string", length: 2048 });
    expect(report.tensors.length).toBe(46);
    expect(report.memory?.contextSize).toBe(512);
  });

  test("a file's own strings cannot control the terminal", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "evil.gguf");
      writeGguf(path, { "general.name": "a\u001b[2Jb\nc", "general.architecture": "x\u009b1m" });
      const { stdout } = await runBitnet(["inspect", path]);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
      expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    });
  });

  test("what is no GGUF file is refused in one line", async () => {
    const path = join(root, "package.json");
    expect(existsSync(path)).toBe(true);
    const { status, stdout, stderr } = await runBitnet(["inspect", path]);
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^error: .*not a GGUF file.*\n$/);
  });
});
