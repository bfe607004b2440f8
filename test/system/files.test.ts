import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { replaceFile, writeOutput } from "../../src/system/files.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-write-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("replaceFile", () => {
  test("writes a new file and replaces an old one", async () => {
    const path = join(folder, "a.txt");
    await replaceFile(path, "one, which is longer");
    await replaceFile(path, "two", 0o600);
    expect(readFileSync(path, "utf8")).toBe("two");
    expect(existsSync(`${path}.partial`)).toBe(false);
  });

  test("writes what a link points to", async () => {
    const [target, link] = [join(folder, "target.txt"), join(folder, "link.txt")];
    writeFileSync(target, "old");
    symlinkSync(target, link);
    await replaceFile(link, "new");
    expect(readFileSync(target, "utf8")).toBe("new");
  });

  test("keeps the old file when the new one cannot be written", async () => {
    const path = join(folder, "kept.txt");
    writeFileSync(path, "old");
    mkdirSync(`${path}.partial`);
    await expect(replaceFile(path, "new")).rejects.toThrow();
    expect(readFileSync(path, "utf8")).toBe("old");
  });

  test("never takes the place of a directory", async () => {
    await expect(replaceFile(folder, "x")).rejects.toThrow("it is a directory");
  });
});

describe.skipIf(process.platform === "win32")("a named pipe", () => {
  test("is not replaced by a file", async () => {
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    await expect(replaceFile(pipe, "x")).rejects.toThrow("it is not a regular file");
    expect(statSync(pipe).isFIFO()).toBe(true);
  });

  test("is written to by writeOutput", async () => {
    const pipe = join(folder, "other-pipe");
    execFileSync("mkfifo", [pipe]);
    const reading = readFile(pipe, "utf8");
    await writeOutput(pipe, Buffer.from("through the pipe"));
    expect(await reading).toBe("through the pipe");
    expect(statSync(pipe).isFIFO()).toBe(true);
  });
});

test.skipIf(process.platform !== "linux")("bitnet logits says when the disk is full", async () => {
  // A pseudo file that is always full, through a link, so that no mistake can replace the device.
  const full = join(folder, "full.f32");
  symlinkSync("/dev/full", full);
  const { status, stderr } = await runBitnet(["logits", "-m", tinyModel, "--ids", "1", "--out", full]);
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: `error: cannot write the logits to ${full}: the disk is full\n`,
  });
  expect(statSync("/dev/full").isCharacterDevice()).toBe(true);
});
