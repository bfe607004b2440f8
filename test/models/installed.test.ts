// The models on this machine, as a program lists them.

import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { listModels } from "../../src/index.js";
import { tinyModel } from "../support/fixtures.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bitnet-installed-"));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

test("without options, listModels looks into the folder models and the cache that the environment names", async () => {
  const snapshot = join(folder, "models--me--tiny", "snapshots", "ab".repeat(20));
  await mkdir(snapshot, { recursive: true });
  await copyFile(tinyModel, join(snapshot, "tiny.gguf"));
  vi.stubEnv("HF_HUB_CACHE", folder);
  const models = await listModels();
  expect(models.filter(({ where }) => where === "models")).toEqual(
    await listModels({ cacheDir: join(folder, "none") }),
  );
  expect(models.filter(({ where }) => where === "cache")).toMatchObject([
    { name: "me/tiny", kind: "gguf", type: "I2_S" },
  ]);
});
