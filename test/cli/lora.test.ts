// --lora and what else the command line does with adapters.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { convertBase, goldenError, trainFixture } from "../support/adapters.js";
import { withFolder } from "../support/checkpoints.js";
import { runBitnet } from "../support/fixtures.js";

test("logits --lora gives the golden logits; what of an adapter cannot be read is one line", async () => {
  await withFolder(async (folder) => {
    const base = await convertBase("llama", folder);
    const golden = JSON.parse(readFileSync(trainFixture("llama", "golden.json"), "utf8")) as {
      batch: { input_ids: number[][] };
    };
    const ids = golden.batch.input_ids[0]?.slice(0, 14).join(",") ?? "";
    const out = join(folder, "logits.f32");
    const rows = async (...lora: string[]) => {
      const { status, stderr } = await runBitnet(["logits", "-m", base, "--ids", ids, "--all", "--out", out, ...lora]);
      expect({ status, stderr }).toMatchObject({ status: 0 });
      const bytes = readFileSync(out);
      return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    };
    const adapter = trainFixture("llama", "adapter");
    const gguf = join(adapter, "adapter.gguf");
    const once = await rows("--lora", adapter);
    expect(goldenError("llama", once)).toBeLessThan(2e-3);
    expect(await rows("--lora-scaled", gguf, "0.5", "--lora", `${adapter}=0.5`)).toEqual(
      await rows("--lora", `${adapter}=0.5,${gguf}=0.5`),
    );
    expect(await rows("--lora", `${adapter}=0`)).toEqual(await rows());
    const { status, stderr } = await runBitnet(["logits", "-m", base, "--ids", "1", "--lora", base]);
    expect(stderr).toMatch(/^error: .*general\.type is missing; "adapter" expected of an adapter\n$/);
    expect(status).toBe(1);
  });
});

test("inspect shows an adapter, and convert-lora makes one form of the other", async () => {
  await withFolder(async (folder) => {
    const adapter = trainFixture("llama", "adapter");
    const { stdout } = await runBitnet(["inspect", adapter]);
    expect(stdout).toMatch(/rank +4\n +alpha +8\n +scale +2\n/);
    const base = await convertBase("llama", folder);
    const target = join(folder, "adapter.gguf");
    const made = await runBitnet(["convert-lora", adapter, "--base", base, "-o", target]);
    expect(made).toMatchObject({ status: 0, stderr: expect.stringMatching(/7 matrices, \d+ parameters, F32/) });
    const shown = await runBitnet(["inspect", target, "--json"]);
    expect(JSON.parse(shown.stdout)).toMatchObject({ form: "gguf", architecture: "llama", parameters: 2432 });
  });
});
