import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toBitnetError } from "../../src/system/errors.js";
import {
  makeFolder,
  partialPath,
  replaceFile,
  retryIfBusy,
  writeOutput,
  writeThenRename,
} from "../../src/system/files.js";
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
    expect(readdirSync(folder)).toEqual(["a.txt"]);
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
    mkdirSync(partialPath(path));
    await expect(replaceFile(path, "new")).rejects.toThrow();
    expect(readFileSync(path, "utf8")).toBe("old");
  });

  test("never takes the place of a directory", async () => {
    await expect(replaceFile(folder, "x")).rejects.toThrow("it is a directory");
  });
});

describe("retryIfBusy", () => {
  const failing = (code: string, times: number) => {
    let calls = 0;
    return async () => {
      calls++;
      if (calls <= times) {
        throw Object.assign(new Error(code), { code });
      }
      return calls;
    };
  };

  test.each(["EPERM", "EACCES", "EBUSY"])("tries again what Windows refuses with %s", async (code) => {
    expect(await retryIfBusy(failing(code, 2), "win32")).toBe(3);
  });

  test("gives up at once where it means what it says", async () => {
    await expect(retryIfBusy(failing("EPERM", 1), "linux")).rejects.toMatchObject({ code: "EPERM" });
    await expect(retryIfBusy(failing("ENOENT", 1), "win32")).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("makeFolder", () => {
  test("makes what is missing, tells the first of it, and takes what is there", async () => {
    const path = join(folder, "one", "two", "three");
    expect(await makeFolder(path)).toBe(join(folder, "one"));
    expect(await makeFolder(path)).toBeUndefined();
    expect(statSync(path).isDirectory()).toBe(true);
  });

  test("does not take a file for a folder", async () => {
    const path = join(folder, "file");
    writeFileSync(path, "");
    await expect(makeFolder(path)).rejects.toThrow("EEXIST");
    await expect(makeFolder(path)).rejects.toMatchObject({ path }); // so that it is told in words
    await expect(makeFolder(join(path, "below"))).rejects.toThrow("ENOTDIR");
  });

  test.runIf(process.platform === "linux")("ends where the system makes no folders", async () => {
    await expect(makeFolder("/proc/none/below")).rejects.toThrow("ENOENT");
  });
});

describe("several writers of one file", () => {
  const partials = (name: string) => readdirSync(folder).filter((other) => other.startsWith(`${name}.`));

  test("each write their own, and the last one that ends wins", async () => {
    const path = join(folder, "shared.txt");
    let [goOn, begun] = [() => {}, () => {}];
    const gate = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const isBegun = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const slow = writeThenRename(path, async (partial) => {
      writeFileSync(partial, "sl");
      begun();
      await gate;
      appendFileSync(partial, "ow");
    });
    await isBegun;
    await replaceFile(path, "fast");
    expect(readFileSync(path, "utf8")).toBe("fast");
    goOn();
    await slow;
    expect(readFileSync(path, "utf8")).toBe("slow");
    expect(partials("shared.txt")).toEqual([]);
  });

  test("what a writer has left that was killed goes with the next one; what another one is writing stays", async () => {
    const path = join(folder, "left.txt");
    const deadPid = 2 ** 22 + 1; // above every system's limit
    const others = [partialPath(path, process.ppid), `${path}.0123abcd-${deadPid}-0.partial`, `${path}.partial`];
    for (const partial of [partialPath(path, deadPid), partialPath(path, deadPid, 3), ...others]) {
      writeFileSync(partial, "half");
    }
    await replaceFile(path, "whole");
    expect(partials("left.txt").sort()).toEqual(others.map((place) => basename(place)).sort());
  });

  test("a second name of the same file takes the place of the first and leaves nothing", async () => {
    const path = join(folder, "linked.txt");
    writeFileSync(path, "text");
    await writeThenRename(path, async (partial) => linkSync(path, partial));
    expect(readFileSync(path, "utf8")).toBe("text");
    expect(partials("linked.txt")).toEqual([]);
  });

  test("two processes that convert to one file both end well", async () => {
    const path = join(folder, "model.gguf");
    const convert = (type: string) => runBitnet(["convert", tinyModel, "--outtype", type, "--outfile", path]);
    const results = await Promise.all([convert("tq2_0"), convert("f16"), convert("tq2_0")]);
    expect(results.map(({ status, stderr }) => ({ status, error: /^error.*/m.exec(stderr)?.[0] }))).toEqual(
      Array(3).fill({ status: 0, error: undefined }),
    );
    const run = await runBitnet(["run", "-m", path, "-p", "Once upon a time", "-n", "4", "-temp", "0", "--quiet"]);
    expect(run).toMatchObject({ status: 0, stdout: expect.stringMatching(/^Once upon a time, there/) });
    expect(partials("model.gguf")).toEqual([]);
  });

  test.skipIf(process.platform !== "linux")("a full disk is told with the name that was asked for", async () => {
    const path = join(folder, "full.txt");
    symlinkSync("/dev/full", partialPath(path));
    const error = await replaceFile(path, "text").catch((thrown) => toBitnetError(thrown));
    expect(error).toMatchObject({ code: "NO_SPACE", message: `${path}: the disk is full` });
    expect(partials("full.txt")).toEqual([]);
  });
});

describe.skipIf(process.platform === "win32")("a named pipe", () => {
  test.each([
    ["doctor --quick --quiet -m", 1],
    ["finetune --dry-run --data x -m", 1],
    ["run -p x --lora", 1],
  ])("is no model and no adapter: bitnet %s does not wait for it", async (command, expected) => {
    const pipe = join(folder, `pipe-${command.split(" ")[0]}`);
    execFileSync("mkfifo", [pipe]);
    const { status, stdout, stderr } = await runBitnet([...command.split(" "), pipe]);
    expect(status).toBe(expected);
    expect(stdout + stderr).toContain(`${pipe}: it is not a regular file`);
  });

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
