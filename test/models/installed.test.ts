// The models on this machine, as a program lists them.

import { copyFile, link, mkdir, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { listModels, removeModels } from "../../src/index.js";
import { folderNames } from "../../src/models/place.js";
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

test("removeModels frees a blob that a snapshot has by a second name, as where links are not allowed", async () => {
  const cacheDir = join(folder, "linked");
  const repository = join(cacheDir, "models--me--linked");
  const snapshots = ["aa", "bb"].map((commit) => join(repository, "snapshots", commit.repeat(20)));
  await mkdir(join(repository, "blobs"), { recursive: true });
  const blob = join(repository, "blobs", "cc".repeat(32));
  await copyFile(tinyModel, blob);
  for (const snapshot of snapshots) {
    await mkdir(snapshot, { recursive: true });
    await link(blob, join(snapshot, "tiny.gguf"));
  }
  const options = { modelDir: join(folder, "none"), cacheDir };
  const [first, second] = await listModels(options);
  expect(first?.identity).toBe(second?.identity);
  expect(await removeModels(first === undefined ? [] : [first], options)).toBe(0);
  expect(await readdir(join(repository, "blobs"))).toHaveLength(1);
  const { size } = await stat(blob);
  expect(await removeModels(second === undefined ? [] : [second], options)).toBe(size);
  expect(await readdir(cacheDir)).toEqual([]);
});

test("no model gets a folder that Windows takes for a device", () => {
  const names = (name: string) => folderNames({ name, revision: "main" });
  expect(names("me/aux")).toEqual(["me--aux"]);
  expect(names("me/Nul.b1.58")).toEqual(["me--Nul.b1.58"]);
  expect(names("me/console")).toEqual(["console", "me--console"]);
});
