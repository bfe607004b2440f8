import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openTrainingSource } from "../../src/cli/training-sources.js";
import type { DataSource } from "../../src/train/data/sources.js";
import { readExamples, startTally } from "../../src/train/data/sources.js";
import { FakeHub, openFakeHub } from "../support/fake-hub.js";

const lines = '{"instruction":"a","output":"b"}\n{"text":"c","messages":null}\n';

async function texts(source: DataSource): Promise<string[]> {
  const found: string[] = [];
  const use = (example: { kind: string }) => example.kind;
  for await (const kind of readExamples(source, startTally(source), use)) {
    found.push(kind);
  }
  return found;
}

describe("data that is named on the command line", () => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-train-hub-"));
  let fake: FakeHub;
  beforeAll(async () => {
    fake = await FakeHub.start();
    fake.repositories.set("datasets/owner/tales", {
      files: { "train.jsonl": lines, "validation.jsonl": lines.slice(33) },
    });
  });
  afterAll(async () => {
    await fake.stop();
    rmSync(folder, { recursive: true });
  });
  const open = async (text: string) =>
    openTrainingSource(text, { hub: await openFakeHub(fake, { cacheDir: join(folder, "cache"), notes: [] }, {}) });

  it("is a data set on the hub by its name, its training split or another one, with a weight", async () => {
    const source = await open("owner/tales:0.5");
    expect(source).toMatchObject({ name: "owner/tales", weight: 0.5 });
    expect(await texts(source)).toEqual(["chat", "text"]);
    expect(await texts(await open("owner/tales:validation"))).toEqual(["text"]);
    await expect(open("owner/tales:test")).rejects.toThrow('the split "test" of owner/tales');
  });

  it("is a file where there is one of that name, or where the name has the end of one", async () => {
    const path = join(folder, "tales.jsonl");
    writeFileSync(path, lines);
    expect(await open(`${path}:2`)).toEqual({ name: path, weight: 2 });
    expect(await open("data/missing.jsonl")).toEqual({ name: "data/missing.jsonl" });
    expect(fake.seen.filter(({ path }) => path.includes("missing"))).toEqual([]);
  });
});
