// A model in several files is one model for every command and for the library.

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { convertCheckpoint, inspectGguf, loadModel, openGguf } from "../../src/index.js";
import { withFolder } from "../support/checkpoints.js";
import { readGguf, writeSplit } from "../support/edit-gguf.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";

async function logitsOf(path: string): Promise<Float32Array> {
  await using model = await loadModel(path, { threads: 1 });
  await using session = model.createSession({ contextSize: 16 });
  await session.prefill([1, 45, 300, 7]);
  return session.logits();
}

let parts: string[];
let folder: string;
let remove: () => void;
beforeAll(async () => {
  await new Promise<void>((ready) => {
    void withFolder((made) => {
      folder = made;
      ready();
      return new Promise<void>((resolve) => {
        remove = resolve;
      });
    });
  });
  parts = writeSplit(folder, "tiny", readGguf(tinyModel), 3);
});
afterAll(() => remove());

describe("a model in three files", () => {
  test("has the very logits of the one file, by the name of any part", async () => {
    const expected = await logitsOf(tinyModel);
    for (const part of parts) {
      expect(await logitsOf(part)).toEqual(expected);
    }
  });

  test("is described as a whole", () => {
    const [whole, one] = [inspectGguf(openGguf(parts[1] ?? "")), inspectGguf(openGguf(tinyModel))];
    expect(whole).toMatchObject({ split: { parts: 3 }, architecture: "bitnet-b1.58", parameters: one.parameters });
    expect(whole.memory).toEqual(one.memory);
    expect(one.split).toBeUndefined();
    expect(openGguf(parts[1] ?? "").paths).toEqual(parts);
    expect(whole.tensors.map(({ part }) => part)).toEqual([
      ...Array(16).fill(1),
      ...Array(16).fill(2),
      ...Array(14).fill(3),
    ]);
  });

  test("a part by itself says which one it is", () => {
    const alone = openGguf(parts[1] ?? "", { alone: true });
    expect(inspectGguf(alone)).toMatchObject({ split: { parts: 3, part: 2 }, architecture: "" });
    expect(alone.paths).toEqual([parts[1]]);
  });

  test("converts to the file that the one file converts to", async () => {
    const [joined, plain] = [join(folder, "joined.gguf"), join(folder, "plain.gguf")];
    await convertCheckpoint({ source: parts[2] ?? "", outfile: joined, outtype: "tq2_0" });
    await convertCheckpoint({ source: tinyModel, outfile: plain, outtype: "tq2_0" });
    expect(readFileSync(joined).equals(readFileSync(plain))).toBe(true);
    expect([...readGguf(joined).metadata.keys()].filter((key) => key.startsWith("split."))).toEqual([]);
    const outfile = parts[0] ?? "";
    await expect(convertCheckpoint({ source: parts[2] ?? "", outfile, outtype: "f16" })).rejects.toMatchObject({
      code: "USAGE",
      message: `${outfile} is both the source and the output`,
    });
  });

  test("is taken by every command", async () => {
    const [first, second, third] = parts as [string, string, string];
    expect(
      (await runBitnet(["run", "-m", second, "-p", "Once", "-n", "4", "-no-cnv", "--temp", "0", "--quiet"])).stdout,
    ).toBe(
      (await runBitnet(["run", "-m", tinyModel, "-p", "Once", "-n", "4", "-no-cnv", "--temp", "0", "--quiet"])).stdout,
    );
    expect((await runBitnet(["inspect", third])).stdout).toContain("3 parts");
    expect((await runBitnet(["logits", "-m", first, "-p", "a"])).status).toBe(0);
    expect((await runBitnet(["tokenize", "-m", third, "a"])).stdout).toBe(
      (await runBitnet(["tokenize", "-m", tinyModel, "a"])).stdout,
    );
    const bench = ["bench", "-m", first, "-p", "4", "-n", "1", "-r", "1", "-t", "1"];
    expect((await runBitnet(bench)).status).toBe(0);
  });

  test("without one of its files is an error that names it", async () => {
    await withFolder(async (other) => {
      const [first = "", second = ""] = writeSplit(other, "m", readGguf(tinyModel), 3);
      rmSync(second);
      const message = `${second}: part 2 of the 3 of this model is missing; all must be in one folder`;
      await expect(loadModel(first)).rejects.toMatchObject({ code: "NOT_FOUND", message });
      for (const args of [
        ["inspect", first],
        ["convert", first, "--outtype", "f16"],
        ["tokenize", "-m", first, "a"],
      ]) {
        expect(await runBitnet(args)).toMatchObject({ status: 1, stderr: expect.stringContaining(message) });
      }
    });
  });
});
