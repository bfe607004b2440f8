// The end of a process and of a worker, whatever the native part is doing for it, and errors on the way into JavaScript.

import { execFile } from "node:child_process";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { withFolder } from "../support/checkpoints.js";
import { root, tinyModel } from "../support/fixtures.js";

const moduleOf = (path: string) => JSON.stringify(pathToFileURL(join(root, "dist", path)).href);

/** What runs until the end, and calls done() time and again. */
const activities = {
  "sessions generate": `
    const { loadModel } = await import(${moduleOf("index.js")});
    const loaded = await loadModel(model);
    await Promise.all([1, 2, 3].map(async (seed) => {
      for await (const _ of loaded.createSession().generate("Once", { ignoreEos: true, seed })) done();
    }));`,
  "work is done on threads of libuv": `
    const tokenizer = addon.openTokenizer(model, {});
    const text = "Once upon a time ".repeat(500);
    await Promise.all([1, 2, 3].map(async () => {
      for (;;) done(await tokenizer.encodeAsync(text, true, false));
    }));`,
  "work fails on threads of libuv": `
    await Promise.all([1, 2, 3].map(async () => {
      for (;;) await addon.loadModel("/nowhere", {}).catch(done);
    }));`,
  "work is done on threads of its own": `
    const { openTrainable } = await import(${moduleOf("train/core/trainable.js")});
    const source = { checkpoint: ${JSON.stringify(join(root, "test/fixtures/train/bitnet"))} };
    const trainable = await openTrainable(source, { mode: "full", seed: 1, maxLength: 24 });
    const ids = Int32Array.from({ length: 24 }, (_, i) => i);
    const row = { ids, labels: ids.map((id, i) => i === 0 ? -100 : id), documents: Int32Array.of(0) };
    for (;;) done(await trainable.backward([row], { labels: 23, step: 0 }));`,
  "functions are called": `
    for (;;) {
      for (let i = 0; i < 100; i++) addon.tuningParameters();
      done();
      await new Promise(setImmediate);
    }`,
};

test.each(Object.entries(activities))("a process or a worker may end while %s", async (_, activity) => {
  const script = `
    import { isMainThread, parentPort, Worker } from "node:worker_threads";
    import { loadAddon } from ${moduleOf("native/addon.js")};
    const addon = loadAddon();
    const model = ${JSON.stringify(tinyModel)};
    const run = async (done) => {${activity}
    };
    if (isMainThread) {
      await Promise.all([1, 2, 3, 4].map(async () => {
        const worker = new Worker(new URL(import.meta.url));
        await new Promise((resolve) => worker.once("message", resolve));
        await worker.terminate();
      }));
      let count = 0;
      await run(() => ++count === 20 && process.exit(7));
    } else {
      await run(() => parentPort.postMessage("done"));
    }`;
  await expect(runScript(script)).rejects.toMatchObject({ code: 7, signal: null, stderr: "" });
});

test.skipIf(process.platform === "win32")("a conversion ends with its worker", async () => {
  const script = `
    import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
    if (isMainThread) {
      const worker = new Worker(new URL(import.meta.url), { workerData: process.cwd() });
      await new Promise((resolve) => worker.once("message", resolve));
      await worker.terminate();
    } else {
      const { generateDummy } = await import(${moduleOf("index.js")});
      const onProgress = () => parentPort.postMessage("begun");
      await generateDummy({ outfile: workerData + "/model.gguf", size: "2.7B", onProgress });
    }`;
  await withFolder(async (folder) => {
    await runScript(script, folder);
    const sizes = readdirSync(folder).flatMap((name) => (name.includes(".gguf") ? [statSync(join(folder, name))] : []));
    expect(sizes).toHaveLength(1);
    const [{ blocks = 0, size = 0 } = {}] = sizes;
    expect(blocks * 512).toBeLessThan(size / 2); // the rest was never written
  });
});

test("what a listener throws is uncaught, and the other sessions of the step have their tokens", async () => {
  const script = `
    import { loadAddon } from ${moduleOf("native/addon.js")};
    const model = await loadAddon().loadModel(${JSON.stringify(tinyModel)}, {});
    process.on("uncaughtException", ({ message }) => console.log(message));
    const generate = (listen) =>
      model.createSession({ contextSize: 64 }).generate(Int32Array.of(1, 2), { maxTokens: 9, window: 9 }, listen);
    generate(({ done }) => {
      if (done) throw new Error("a fault of the listener");
    });
    generate(({ done }) => {
      if (done) console.log(done.finish);
    });
    setInterval(() => model.stats().running + model.stats().waiting === 0 && process.exit(), 10);`;
  const { stdout } = await runScript(script);
  expect(stdout.split("\n").sort()).toEqual(["", "a fault of the listener", "length"]);
});

function runScript(script: string, cwd?: string) {
  return withFolder(async (folder) => {
    const file = join(folder, "script.mjs");
    writeFileSync(file, script);
    return await promisify(execFile)(process.execPath, [file], { timeout: 120_000, cwd });
  });
}
