// bitnet merge: what it prints, what it refuses, and with which status.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { trainFixture } from "../support/adapters.js";
import { withFolder } from "../support/checkpoints.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";
import { trainAdapter } from "../support/trained.js";

test("merge prints three losses and how many codes have changed, and writes only what is good enough", async () => {
  await withFolder(async (folder) => {
    const { adapter, examples } = await trainAdapter("bitnet", folder);
    const out = join(folder, "merged");
    const line = ["merge", "-m", trainFixture("bitnet"), "--lora", adapter, "--eval-data", examples, "-o", out];
    const refused = await runBitnet([...line, "--accept-loss", "0"]);
    expect(refused.status).toBe(1);
    expect(refused.stdout).toMatch(
      /^ +LOSS +TAKEN BACK +CODES CHANGED\nbase +\d+\.\d{3}\nadapter beside it +\d+\.\d{3}\nmerged +\d+\.\d{3} +\S+ % +\S+ %\n$/,
    );
    expect(refused.stderr).toMatch(/\nerror: the merge takes back .*: nothing is written\nhint: .*--accept-loss/);
    expect(existsSync(out)).toBe(false);
    const refusedJson = await runBitnet([...line, "--accept-loss", "0%", "--json"]);
    expect(JSON.parse(refusedJson.stdout)).toMatchObject({ accepted: false, documents: 3 });
    expect(refusedJson.status).toBe(1);
    const { status, stdout, stderr } = await runBitnet([...line, "--to", "f16", "--json", "--quiet"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(JSON.parse(stdout)).toMatchObject({ accepted: true, gguf: join(out, "model.gguf"), documents: 3 });
    const shown = await runBitnet(["inspect", join(out, "model.gguf")]);
    expect(shown.stdout).toMatch(/^ +weights +floats \(F16\)$/m);
    const master = await runBitnet(["inspect", trainFixture("bitnet")]);
    expect(master.stdout).toMatch(/^ +weights +master: floats that ternary weights are made of$/m);
  });
});

test("merge says what is missing, and why a ternary base takes no adapter", async () => {
  await withFolder(async (folder) => {
    const out = join(folder, "merged");
    const adapter = trainFixture("bitnet", "adapter");
    const fails = async (status: number, text: RegExp, ...args: string[]) => {
      const result = await runBitnet(["merge", ...args]);
      expect(result).toMatchObject({ status, stdout: "", stderr: expect.stringMatching(text) });
    };
    await fails(2, /expected an adapter: --lora/, "-o", out);
    await fails(2, /expected where the result goes/, "--lora", adapter);
    await fails(2, /expected --eval-data FILE/, "--lora", adapter, "-o", out);
    await fails(2, /belong together/, "--lora", adapter, "-o", out, "--accept-loss", "inf", "--recover", "3");
    await fails(2, /expected a share/, "--lora", adapter, "-o", out, "--accept-loss", "some");
    const args = ["-m", tinyModel, "--lora", adapter, "-o", out, "--accept-loss", "inf"];
    await fails(1, /error: .*ternary: .*vanishes without a trace.*\nhint: .*--to f16\n$/, ...args);
    expect(existsSync(out)).toBe(false);
  });
});
