// A model that leaves memory when nobody asks, and comes back with the next request.

import { copyFileSync, mkdtempSync, renameSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadModel } from "../../src/index.js";
import { Residence } from "../../src/serve/residence.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";
import { readError, startTestServer, type TestServer } from "../support/serve.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-sleep-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("test_sleep", () => {
  const body = { messages: [{ role: "user", content: "Once upon a time" }], max_tokens: 8 };
  const path = "/v1/chat/completions";
  let server: TestServer;
  let modelPath: string;
  beforeAll(async () => {
    modelPath = join(folder, "model.gguf");
    copyFileSync(tinyModel, modelPath);
    server = await startTestServer({ modelPath, sleepSeconds: 0.05, slotFolder: folder });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const isSleeping = async () => (await server.read("/props")).is_sleeping;
  const asleep = () => expect.poll(isSleeping, { timeout: 20_000 }).toBe(true);
  const metric = async (name: string) => {
    const text = await (await server.get("/metrics")).text();
    return Number(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, "m").exec(text)?.[1] ?? Number.NaN);
  };

  test("a sleeping server says how it is, and what it has, without waking", async () => {
    await asleep();
    expect(await server.read("/health")).toEqual({ status: "ok" });
    expect(await server.read("/health?deep=1")).toMatchObject({ status: "healthy", is_sleeping: true });
    for (const url of ["/readyz", "/livez", "/slots", "/version"]) {
      expect((await server.get(url)).status).toBe(200);
    }
    expect((await server.read("/v1/models")).data[0]).toMatchObject({ id: "model", meta: { n_vocab: 2048 } });
    expect((await server.read("/api/ps")).models).toEqual([]);
    expect(await server.read("/admin/stats")).toMatchObject({ is_sleeping: true, kv_held_mb: 0 });
    expect((await server.ask("/tokenize", { content: "Hello" })).tokens.length).toBeGreaterThan(0);
    expect(await metric("bitnet:sleeping")).toBe(1);
    expect(await isSleeping()).toBe(true);
  });

  test("requests wake it and wait, all with the bytes of before, and counters go on", async () => {
    const first = await server.ask(path, body);
    const before = await metric("llamacpp:n_decode_total");
    await asleep();
    expect(await metric("llamacpp:n_decode_total")).toBe(before);
    const answers = await Promise.all([1, 2, 3].map(() => server.ask(path, body)));
    for (const { choices } of answers) {
      expect(choices).toEqual(first.choices);
    }
    expect(await metric("llamacpp:n_decode_total")).toBeGreaterThan(before);
    const messages = server.log.map(({ message }) => message);
    expect(messages).toContainEqual(expect.stringMatching(/the model sleeps/));
    expect(messages).toContainEqual(expect.stringMatching(/there again, loaded in/));
  });

  test("a slot's file wakes it", async () => {
    await using awake = await startTestServer({ modelPath, slotFolder: folder });
    await awake.ask("/completion", { prompt: "Once upon a time there was", id_slot: 0, n_predict: 2 });
    const { n_saved } = await awake.ask("/slots/0?action=save", { filename: "slot" });
    await asleep();
    const { n_restored } = await server.ask("/slots/0?action=restore", { filename: "slot" });
    expect([n_saved > 0, n_restored]).toEqual([true, n_saved]);
  });

  test("a model that cannot be loaded again is told to who asked, and the next one tries again", async () => {
    await asleep();
    renameSync(modelPath, `${modelPath}.away`);
    const response = await server.post(path, body);
    expect(response.status).toBe(500);
    const error = await readError(response);
    expect(error).toMatchObject({ code: "no_model", message: "the model could not be loaded again" });
    expect(JSON.stringify(error)).not.toContain(folder);
    renameSync(`${modelPath}.away`, modelPath);
    expect((await server.post(path, body)).status).toBe(200);
  });
});

test("a closed model leaves memory although its tokenizer is in use", async () => {
  const path = join(folder, "large.gguf");
  const made = await runBitnet(["dummy", "-o", path, "--model-size", "125M", "--vocab-size", "4096", "--quiet"]);
  expect(made.stderr).toBe("");
  const model = await loadModel(path);
  const session = model.createSession();
  await session.prefill([1, 2, 3]); // reads all weights
  session.close();
  const loaded = process.memoryUsage.rss();
  model.close();
  expect(loaded - process.memoryUsage.rss()).toBeGreaterThan(0.8 * (model.info.fileSize - model.gguf.dataOffset));
  expect(model.tokenizer.encode("Hello").length).toBeGreaterThan(0);
});

describe("what is there while somebody uses it", () => {
  const create = (load: () => Promise<void> = async () => {}) => {
    const told: string[] = [];
    const resident = {
      load: () => {
        told.push("load");
        return load();
      },
      unload: () => {
        told.push("unload");
      },
    };
    const residence = new Residence(resident, 0.001);
    return { residence, told, away: () => expect.poll(() => residence.isAway).toBe(true) };
  };

  test("stays for the last of them, and comes back once for all that wait", async () => {
    let loaded: () => void = () => {};
    const { residence, told, away } = create(() => new Promise<void>((resolve) => (loaded = resolve)));
    await away();
    const uses = [residence.use(), residence.use()];
    loaded();
    const [first, second] = await Promise.all(uses);
    first?.[Symbol.dispose]();
    expect([residence.isAway, told]).toEqual([false, ["unload", "load"]]);
    second?.[Symbol.dispose]();
    await away();
    expect(told).toEqual(["unload", "load", "unload"]);
    await residence.close();
  });

  test("goes again if nobody waits for it any more, and after a failure is tried anew", async () => {
    let finish: (error?: Error) => void = () => {};
    const { residence, told, away } = create(
      () =>
        new Promise<void>((resolve, reject) => {
          finish = (error) => (error === undefined ? resolve() : reject(error));
        }),
    );
    await away();
    const leaving = new AbortController();
    const left = residence.use(leaving.signal);
    leaving.abort(new Error("left"));
    await expect(left).rejects.toThrow("left");
    finish();
    await expect.poll(() => told.filter((what) => what === "unload").length).toBe(2);
    const failed = residence.use();
    finish(new Error("no file"));
    await expect(failed).rejects.toThrow("no file");
    expect(residence.isAway).toBe(true);
    const again = residence.use();
    finish();
    (await again)[Symbol.dispose]();
    await residence.close();
  });
});
