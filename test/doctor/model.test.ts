// What the doctor tells of files of models: whole ones, damaged ones and others.

import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Chalk } from "chalk";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { differenceOf, mostDifference } from "../../src/bench/stats.js";
import { formatPage } from "../../src/cli/doctor-page.js";
import { checkCorrectness } from "../../src/doctor/correctness.js";
import { runChecks } from "../../src/doctor/diagnose.js";
import { readGolden } from "../../src/doctor/golden.js";
import { checkModel, whyUnlikely } from "../../src/doctor/model.js";
import { checkSpeed } from "../../src/doctor/speed.js";
import { openGguf } from "../../src/gguf/gguf.js";
import { bundledModel } from "../../src/models/bundled.js";
import { writeProvenance } from "../../src/models/provenance.js";
import { loadAddon } from "../../src/native/addon.js";
import { BitnetError } from "../../src/system/errors.js";
import { addonWith, contextOf } from "../support/doctor-context.js";
import { tinyModel } from "../support/fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-doctor-"));
afterAll(() => rmSync(folder, { recursive: true }));

let whole: Buffer;
let place: number; // of the data of a ternary tensor
beforeAll(() => {
  whole = readFileSync(tinyModel);
  place = openGguf(tinyModel)
    .tensors()
    .filter(({ type }) => type === "I2_S")[3]?.offset as number;
});

/** A file of these bytes, changed. */
function write(name: string, change: (bytes: Buffer) => Buffer | undefined): string {
  const bytes = Buffer.from(whole);
  const path = join(folder, name);
  writeFileSync(path, change(bytes) ?? bytes);
  return path;
}

const check = (model: string, quick = false) => checkModel(contextOf("", { model, quick }));
const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

describe("a model's file", () => {
  test("the bundled model is whole, as its SHA-256 says, and knows plain English", async () => {
    const { status, facts } = await check(bundledModel.path);
    expect(status).toBe("ok");
    expect(facts?.hash.result).toBe("same");
    expect(facts?.weights).toMatchObject({ badRows: 0, constantRows: 0, unlikely: [] });
    expect(facts?.english?.nats).toBeLessThan(0.9 * (facts?.english?.chanceNats ?? 0));
  });

  test("a copy of nobody's making is all right, and it is told what cannot be seen", async () => {
    const path = write("copy.gguf", () => undefined);
    const { status, facts } = await check(path);
    expect({ status, facts }).toMatchObject({ status: "note", facts: { hash: { result: "unknown" } } });
    expect(facts?.english?.nats).toBeLessThan(4);
  });

  test.each<[string, (bytes: Buffer) => Buffer | undefined, RegExp]>([
    ["cut off", (bytes) => bytes.subarray(0, 1_000_000), /past the end of the file/],
    ["empty", () => Buffer.alloc(0), /empty/],
    ["a web page", () => Buffer.from("<!DOCTYPE html><html></html>"), /web page/],
    ["a pointer of Git LFS", () => Buffer.from("version https://git-lfs.github.com/spec/v1\n"), /Git LFS/],
    ["safetensors", () => Buffer.from('\x10\0\0\0\0\0\0\0{"a":{}}'), /safetensors/],
  ])("one that is %s is a problem with a next step", async (name, change, what) => {
    const { status, advice } = await check(write(`${name.replace(/ /g, "-")}.gguf`, change), true);
    expect(status).toBe("problem");
    expect(advice[0]?.what).toMatch(what);
    expect(advice[0]?.next).toBeTruthy();
  });

  test("a weight that is none is found", async () => {
    const path = write("flip.gguf", (bytes) => {
      bytes[place + 70] = 0xff;
      return undefined;
    });
    const { status, facts, advice } = await check(path);
    expect({ status, rows: facts?.weights?.badRows }).toEqual({ status: "problem", rows: 1 });
    expect(advice[0]?.what).toMatch(/damaged weights: blk\..*1 of \d+ rows holds/);
  });

  test("a hole of zeros is found", async () => {
    const path = write("hole.gguf", (bytes) => bytes.fill(0, place, place + 8192));
    const { status, advice } = await check(path);
    expect(status).toBe("problem");
    expect(advice[0]?.what).toContain("never written");
  });

  test("noise in the place of weights is found, though the file does not load", async () => {
    const path = write("noise.gguf", (bytes) => bytes.fill("\x7f\xff", place - 500_000));
    const { status, facts } = await check(path);
    expect(status).toBe("problem");
    expect(facts?.weights?.badRows).toBeGreaterThan(0);
  });

  test("a possible weight in the place of another is found by the SHA-256 that the hub had", async () => {
    const path = write("other.gguf", (bytes) => {
      bytes[place] = (bytes[place] ?? 0) === 0x55 ? 0x56 : 0x55; // four weights of 0, or one of 1
      return undefined;
    });
    const source = {
      repository: "owner/name",
      commit: "0".repeat(40),
      files: [{ path: "model.gguf", bytes: whole.length, hash: `sha256:${sha256(whole)}` }],
    };
    await writeProvenance(path, {
      repository: "owner/name",
      revision: "main",
      source,
      made: "published",
      type: "i2_s",
    });
    const { status, facts, advice } = await check(path, true);
    expect(status).toBe("problem");
    expect(facts).toMatchObject({ source: "owner/name", hash: { result: "other", from: "owner/name" } });
    expect(advice[0]?.what).toContain("SHA-256");
  });

  test("a file of the hub's cache has its hash as its name", async () => {
    const blobs = join(folder, "blobs");
    mkdirSync(blobs);
    copyFileSync(tinyModel, join(blobs, sha256(whole)));
    symlinkSync(join(blobs, sha256(whole)), join(folder, "linked.gguf"));
    expect(await check(join(folder, "linked.gguf"), true)).toMatchObject({
      status: "ok",
      facts: { hash: { result: "same" } },
    });
  });

  test("without the native part, what is no GGUF file is still seen", async () => {
    const native = new BitnetError("INTERNAL", "none");
    const seen = (model: string) => checkModel(contextOf("", { native, model }));
    expect((await seen(bundledModel.path)).status).toBe("ok");
    expect((await seen(join(folder, "a-web-page.gguf"))).status).toBe("problem");
  });
});

describe("what is unlikely of weights", () => {
  const ternary = { readable: true, ternary: true, badRows: 0, constantRows: 0, leastScale: 1, mostScale: 1 } as const;
  test("thirds are likely, and so is half of zeros", () => {
    expect(whyUnlikely({ ...ternary, minus: 3e4, zero: 3e4, plus: 3e4 }, 300, 300)).toBeUndefined();
    expect(whyUnlikely({ ...ternary, minus: 2e4, zero: 5e4, plus: 2e4 }, 300, 300)).toBeUndefined();
  });
  test.each([
    ["one sign", { minus: 6e4, zero: 2e4, plus: 1e4 }],
    ["zeros alone", { minus: 0, zero: 9e4, plus: 0 }],
    ["no zeros", { minus: 4.5e4, zero: 0, plus: 4.5e4 }],
    ["scales of any size", { minus: 3e4, zero: 3e4, plus: 3e4, leastScale: 1e-7, mostScale: 900 }],
  ])("%s is not", (_, counts) => {
    expect(whyUnlikely({ ...ternary, ...counts }, 300, 300)).toBeTruthy();
  });
});

describe("correctness", () => {
  test("every kernel and layout of this machine computes what the record says", async () => {
    const { status, facts } = await checkCorrectness(contextOf(""));
    const supported = loadAddon()
      .kernels()
      .filter((kernel) => kernel.supported);
    expect(status).toBe("ok");
    expect(facts?.proofs).toHaveLength(4 * supported.length);
    for (const proof of facts?.proofs ?? []) {
      expect(proof).toMatchObject({ right: true, selfTest: true, sameText: true });
      expect(proof.difference).toBeLessThan(0.001);
    }
  });

  test("a kernel that fails its test is a problem that names it", async () => {
    const native = addonWith({ testKernel: (name) => (name === "scalar" ? [] : ["trits"]) });
    const { status, facts, advice } = await checkCorrectness(contextOf("", { native }));
    const wrong = facts?.proofs.filter(({ right }) => !right).map(({ layout }) => layout) ?? [];
    const others = native.kernels().filter(({ name, supported }) => supported && name !== "scalar");
    expect(wrong).toEqual(others.map(() => "trits"));
    if (others.length > 0) {
      expect(status).toBe("problem");
      expect(advice[0]?.next).toContain("BITNET_KERNEL=scalar");
    }
  });

  test("a kernel that has no memory to be tried is not called wrong", async () => {
    const loadModel = () => Promise.reject(new BitnetError("NO_MEMORY", "not enough memory for keys and values"));
    const load = vi.spyOn(loadAddon(), "loadModel").mockImplementation(loadModel);
    const diagnosis = await runChecks(contextOf("")).finally(() => load.mockRestore());
    const { advice } = diagnosis.checks.correctness;
    expect(advice).toHaveLength(1);
    expect(advice[0]?.what).toMatch(/^not everything could be tested: .*: not enough memory for keys and values$/);
    expect(advice[0]?.next).toContain("more memory");
    const page = formatPage(diagnosis, undefined, new Chalk({ level: 0 }));
    expect(page).toContain("result       NOT ALL TESTED: not enough memory for keys and values\n");
  });

  test("logits of another model are far from the record", async () => {
    const { logits } = await readGolden();
    const other = Float32Array.from(logits, (value, i) => (i % 7 === 0 ? -value : value));
    expect(differenceOf(logits, logits)).toBe(0);
    expect(differenceOf(other, logits)).toBeGreaterThan(10 * mostDifference);
    expect(differenceOf(logits.subarray(1), logits)).toBe(Number.POSITIVE_INFINITY);
  });
});

test("the speed stands beside the ceilings of the machine", async () => {
  const { facts } = await checkSpeed(contextOf("", { quick: false, threads: 1 }));
  expect(facts).toMatchObject({ threads: 1, isSmall: true });
  expect(facts?.readBandwidth).toBeGreaterThan(0);
  for (const pass of [facts?.decode, facts?.prefill]) {
    expect(pass?.tokensPerSecond).toBeGreaterThan(0);
    expect(pass?.ceiling).toBeGreaterThan(0);
  }
});
