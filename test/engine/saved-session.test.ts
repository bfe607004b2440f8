// Sessions as files, as a program sees them; test/native/run/slot_file_test.cpp has what is in them.

import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadModel, type Model } from "../../src/index.js";
import { withFolder } from "../support/checkpoints.js";
import { tinyModel } from "../support/fixtures.js";

const story = "Once upon a time there was a little dog who lived in a big red house by the sea with a cat and a mouse.";
let model: Model;

beforeAll(async () => {
  model = await loadModel(tinyModel);
});
afterAll(() => {
  model.close();
});

test("a saved session goes on in another model object as it would have gone on itself", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "slot.bin");
    await using session = model.createSession({ sharePrompts: false });
    const begun = await session.complete(story, { maxTokens: 10, seed: 1, ignoreEos: true });
    const saved = await session.save(path);
    expect(saved).toEqual({ tokens: session.tokens().length, bytes: (await readFile(path)).length });
    expect(await readdir(folder)).toEqual(["slot.bin"]);
    const prompt = [...model.tokenizer.encode(story), ...begun.tokens];
    const expected = await session.complete(prompt, { maxTokens: 10, seed: 2 });

    await using other = await loadModel(tinyModel);
    expect(other.fingerprint()).toBe(model.fingerprint());
    expect(other.fingerprint()).toMatch(/^[0-9a-f]{16}$/);
    await using restored = other.createSession();
    expect(await restored.restore(path)).toEqual(saved);
    expect(restored.tokens()).toEqual(session.tokens().subarray(0, saved.tokens));
    const result = await restored.complete(prompt, { maxTokens: 10, seed: 2 });
    expect(result.timings.reusedTokens).toBe(prompt.length - 1);
    expect(result.text).toBe(expected.text);
  });
});

test("what is no saved session is refused by name, and the session stays as it was", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "slot.bin");
    await using session = model.createSession();
    await using q8 = model.createSession({ cacheType: "q8" });
    await session.prefill(model.tokenizer.encode(story));
    const tokens = session.tokens();
    await session.save(path);
    await expect(q8.restore(path)).rejects.toMatchObject({ code: "USAGE", message: expect.stringContaining(path) });
    await writeFile(path, (await readFile(path)).subarray(0, -1));
    for (const [name, code] of [
      [path, "BAD_FILE"],
      [tinyModel, "BAD_FILE"],
      [join(folder, "absent"), "NOT_FOUND"],
      [folder, "NOT_FOUND"],
    ] as const) {
      await expect(session.restore(name)).rejects.toMatchObject({ code, message: expect.stringContaining(name) });
      expect(session.tokens()).toEqual(tokens);
    }
  });
});

test("saving to where nothing can be written leaves nothing there, and an earlier file stays", async () => {
  await withFolder(async (folder) => {
    await using session = model.createSession();
    await session.prefill(model.tokenizer.encode(story));
    await expect(session.save(join(folder, "absent", "slot.bin"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(session.save(folder)).rejects.toMatchObject({ code: "USAGE" });
    expect(await readdir(folder)).toEqual([]);
  });
});

test("a session does one thing at a time, files included", async () => {
  await withFolder(async (folder) => {
    await using session = model.createSession();
    await session.prefill(model.tokenizer.encode(story));
    const saving = session.save(join(folder, "slot.bin"));
    await expect(session.prefill([1, 2])).rejects.toMatchObject({ code: "USAGE" });
    await saving;
    expect((await session.prefill([1, 2])).evaluated).toBeGreaterThan(0);
    session.close();
    await expect(session.save(join(folder, "other.bin"))).rejects.toMatchObject({ code: "USAGE" });
  });
});
