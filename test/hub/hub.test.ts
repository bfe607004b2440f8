// Downloads against a hub on the loopback interface: what arrives, what it costs, what is left behind.

import { randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { scanCache } from "../../src/hub/cache.js";
import { type DownloadOptions, type DownloadProgress, downloadFiles } from "../../src/hub/download.js";
import type { Hub } from "../../src/hub/http.js";
import { openRepository, parseRepositoryName, type Repository } from "../../src/hub/repository.js";
import { type HubRetry, readRateLimit, readRetryAfter } from "../../src/hub/retry.js";
import type { BitnetError } from "../../src/system/errors.js";
import { FakeHub, type FakeHubOptions, type Fault, gitHash, openFakeHub, sha256 } from "../support/fake-hub.js";

const large = randomBytes(3_000_000);
const small = Buffer.from('{"hidden_size": 256}\n');
const token = "hf_abcdefghijklmnopqrstuvwxyz";

let fake: FakeHub;
let cacheDir: string;
let notes: string[];

beforeEach(async () => {
  fake = await FakeHub.start();
  cacheDir = mkdtempSync(join(tmpdir(), "bitnet-hub-"));
  notes = [];
  fake.repositories.set("test/model", { files: { "config.json": small, "weights.bin": large } });
});
afterEach(async () => {
  await fake.stop();
  rmSync(cacheDir, { recursive: true, force: true });
});

function hubWith(options: FakeHubOptions = {}): Promise<Hub> {
  return openFakeHub(fake, { cacheDir, notes }, options);
}

async function download(options: Partial<DownloadOptions> = {}, hubOptions = {}, name = "test/model"): Promise<string> {
  const hub = await hubWith(hubOptions);
  const repository = await openRepository(hub, { name, revision: "main" }, options);
  const files = repository.files.map(({ path }) => path);
  return downloadFiles(hub, repository, { files, ...options });
}

async function failure(promise: Promise<unknown>): Promise<BitnetError> {
  return promise.then(
    () => expect.unreachable("it succeeded"),
    (error) => error,
  );
}

const modelFolder = () => join(cacheDir, "models--test--model");
const blobs = () => readdirSync(join(modelFolder(), "blobs")).sort();

function expectComplete(folder: string): void {
  expect(readFileSync(join(folder, "weights.bin")).equals(large)).toBe(true);
  expect(readFileSync(join(folder, "config.json")).equals(small)).toBe(true);
  expect(blobs()).toEqual([gitHash(small), sha256(large)].sort());
  expect(readdirSync(join(cacheDir, ".locks", "models--test--model"))).toEqual([]);
}

describe("a download", () => {
  test("lies in the cache as Python's huggingface_hub would put it", async () => {
    const folder = await download();
    expectComplete(folder);
    const commit = fake.commitOf("test/model");
    expect(folder).toBe(join(modelFolder(), "snapshots", commit));
    expect(readFileSync(join(modelFolder(), "refs", "main"), "utf8")).toBe(commit);
    expect(readlinkSync(join(folder, "config.json"))).toBe(join("..", "..", "blobs", gitHash(small)));
    expect(readlinkSync(join(folder, "weights.bin"))).toBe(join("..", "..", "blobs", sha256(large)));
  });

  test("keeps folders, with links that still lead to the blobs", async () => {
    fake.repositories.set("test/model", { files: { "1_Pooling/config.json": small, "with space/ä.txt": "hello" } });
    const folder = await download();
    expect(readFileSync(join(folder, "1_Pooling", "config.json")).equals(small)).toBe(true);
    expect(readFileSync(join(folder, "with space", "ä.txt"), "utf8")).toBe("hello");
    expect(readlinkSync(join(folder, "1_Pooling", "config.json"))).toBe(
      join("..", "..", "..", "blobs", gitHash(small)),
    );
  });

  test("asks for no contents a second time, and for none that Python has downloaded", async () => {
    await download();
    const { sent } = fake;
    expectComplete(await download());
    expect(fake.sent).toBe(sent);

    rmSync(join(modelFolder(), "snapshots"), { recursive: true });
    expectComplete(await download());
    expect(fake.sent).toBe(sent);
  });

  test("shares contents that two commits have in common", async () => {
    await download();
    const { sent } = fake;
    const next = "ab".repeat(20);
    fake.repositories.set("test/model", { files: { "config.json": "{}", "weights.bin": large }, commit: next });
    const folder = await download();
    expect(basename(folder)).toBe(next);
    expect(fake.sent - sent).toBe(2);
    expect(readFileSync(join(modelFolder(), "refs", "main"), "utf8")).toBe(next);
  });

  test("works for an empty file, many files and several pages of a listing", async () => {
    const files = Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`f${i}.txt`, `text ${i % 7}`]));
    fake.repositories.set("test/model", { files: { ...files, empty: "" } });
    fake.pageSize = 10;
    const folder = await download();
    expect(readdirSync(folder)).toHaveLength(26);
    expect(readFileSync(join(folder, "f24.txt"), "utf8")).toBe("text 3");
    expect(readFileSync(join(folder, "empty"))).toHaveLength(0);
  });

  test("reports each file's progress and the total's, never backwards, to the end", async () => {
    const seen: DownloadProgress[] = [];
    await download({ onProgress: (progress) => seen.push({ ...progress }) });
    const total = large.length + small.length;
    expect(seen.every(({ allTotalBytes }) => allTotalBytes === total)).toBe(true);
    expect(seen.map(({ allDoneBytes }) => allDoneBytes)).toEqual(
      seen.map(({ allDoneBytes }) => allDoneBytes).sort((a, b) => a - b),
    );
    expect(seen.at(-1)?.allDoneBytes).toBe(total);
    expect(seen.filter(({ file }) => file === "weights.bin").length).toBeGreaterThan(10);
    expect(seen.filter(({ file }) => file === "weights.bin").at(-1)?.doneBytes).toBe(large.length);
  });

  test("fetches files in parallel", async () => {
    const files = Object.fromEntries(["a", "b", "c", "d"].map((name) => [`${name}.bin`, randomBytes(1_200_000)]));
    fake.repositories.set("test/model", { files });
    const asked = () => new Set(fake.seen.filter(({ path }) => path.includes("?signature")).map(({ path }) => path));
    fake.lastingFaults.push({ path: ".bin", after: fake.once(() => asked().size === 4) }); // never, if one waits for another
    await download({ parallel: 4 });
    expect(blobs()).toHaveLength(4);
  });

  test("takes files that are stored through Xet by plain HTTP", async () => {
    fake.repositories.set("test/model", {
      files: { "config.json": small, "weights.bin": { content: large, lfs: true, xet: true } },
    });
    expectComplete(await download());
  });

  test("gets a revision by its branch, tag or commit", async () => {
    const commit = fake.commitOf("test/model");
    fake.repositories.set("test/model", { files: { a: "a" }, revisions: ["main", "refs/pr/1", "v1.0"] });
    const hub = await hubWith();
    for (const revision of ["main", "v1.0", "refs/pr/1", commit]) {
      const repository = await openRepository(hub, { name: "test/model", revision });
      expect(repository.commit).toBe(commit);
      await downloadFiles(hub, repository, { files: ["a"] });
    }
    expect(readFileSync(join(modelFolder(), "refs", "refs", "pr", "1"), "utf8")).toBe(commit);
    expect(existsSync(join(modelFolder(), "refs", commit))).toBe(false);
    expect((await scanCache(cacheDir))[0]?.refs.sort()).toEqual(["main", "refs/pr/1", "v1.0"]);
  });

  test("says before it begins that the disk has too little room", async () => {
    const hub = await hubWith();
    const repository = await openRepository(hub, { name: "test/model", revision: "main" });
    const huge: Repository = {
      ...repository,
      files: repository.files.map((file) => (file.path === "weights.bin" ? { ...file, size: 2 ** 52 } : file)),
    };
    const error = await failure(downloadFiles(hub, huge, { files: ["weights.bin"] }));
    expect(error).toMatchObject({
      code: "NO_SPACE",
      message: /not enough disk space: \d+ MB to download, \d+ MB free/,
    });
    expect(blobs()).toEqual([]);
    expect(fake.sent).toBe(0);
  });
});

describe("a connection that is cut", () => {
  const tenths = Array.from({ length: 9 }, (_, i) => Math.floor(((i + 1) * large.length) / 10));

  test.each(tenths)("at byte %d is taken up there, with at most 10 %% extra traffic", async (cutAt) => {
    fake.faults.push({ path: "weights.bin", cutAt });
    expectComplete(await download());
    expect(fake.sent).toBeLessThanOrEqual(1.1 * (large.length + small.length));
    expect(fake.seen.filter(({ path }) => path.includes("weights.bin?"))).toHaveLength(2);
    expect(notes).toEqual([expect.stringMatching(/weights\.bin: .*cut.*trying again in/)]);
  });

  test("at every tenth of one file still costs at most 10 % more", async () => {
    fake.faults.push(...tenths.map((cutAt) => ({ path: "weights.bin", cutAt })));
    expectComplete(await download());
    expect(fake.sent).toBeLessThanOrEqual(1.1 * (large.length + small.length));
  });

  test.each([
    ["cut at once", { cutAt: 0 }],
    ["an answer that is too short", { shortAt: 1_000_000 }],
    ["a body that ends early", { shortAt: 1_000_000, noLength: true }],
    ["a body that goes on and on", { extra: Buffer.alloc(100_000), noLength: true }],
    ["a page of a hotel's network", { page: "<html>Please log in</html>" }],
    ["a server that does not do ranges", { cutAt: 1_000_000 }, { ignoreRange: true }],
    ["an answer with another range", { cutAt: 1_000_000 }, { shiftRange: 100 }],
    ["an answer that is too long", { extra: Buffer.alloc(10) }],
    ["a flipped byte", { flipAt: 2_000_000 }],
    ["a flipped byte in front of a cut", { flipAt: 5, cutAt: 1_000_000 }],
    ["a server that goes silent", { stallAt: 1_500_000 }],
    ["429", { status: 429 }],
    ["500", { status: 500 }],
    ["500, 502, 503 and 504", { status: 500 }, { status: 502 }, { status: 503 }, { status: 504 }],
  ] as [string, ...Fault[]][])("%s is survived", async (_, ...faults) => {
    fake.faults.push(...faults.map((fault) => ({ path: "weights.bin", ...fault })));
    expectComplete(await download({}, { retry: { stallMs: 300 } }));
  });

  test.each([
    ["a server that only fails", { status: 500 }, "NETWORK", /weights\.bin: the server failed \(500\)/],
    ["a server that limits", { status: 429 }, "NETWORK", /weights\.bin: too many requests \(429\)/],
    ["contents that are always damaged", { flipAt: 2_000_000 }, "BAD_FILE", /weights\.bin arrives damaged: its sha256/],
    [
      "an answer that is always too short",
      { shortAt: 1_000_000 },
      "NETWORK",
      /1000000 bytes where 3000000 are missing/,
    ],
    ["an answer that is always too long", { extra: Buffer.alloc(10) }, "NETWORK", /3000010 bytes where 3000000/],
    [
      "a body that always ends early",
      { shortAt: 1_000_000, noLength: true },
      "NETWORK",
      /cut at byte 1000000 of 3000000/,
    ],
    ["a body that goes on and on", { extra: Buffer.alloc(100_000), noLength: true }, "NETWORK", /longer than the file/],
    ["an answer with another range", { shiftRange: 1 }, "NETWORK", /another part of the file/],
    ["a storage host that refuses", { status: 403 }, "NETWORK", /refuses access to test\/model\/weights\.bin/],
  ] as [string, Fault, string, RegExp][])(
    "%s is refused, and nothing gets the name",
    async (_, fault, code, message) => {
      fake.faults.push({ path: "weights.bin", ...fault, cutAt: 500_000 });
      fake.lastingFaults.push({ path: "weights.bin", ...fault });
      const error = await failure(download({}, { retry: { attempts: 3 } }));
      expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
      expect(error.hint).toBeTruthy();
      expect(blobs()).not.toContain(sha256(large));
      const folder = join(modelFolder(), "snapshots", fake.commitOf("test/model"));
      expect(existsSync(join(folder, "weights.bin"))).toBe(false);
      expect(existsSync(join(modelFolder(), "refs", "main"))).toBe(false);

      fake.lastingFaults.length = 0;
      expectComplete(await download());
    },
  );

  test("a damaged small file is noticed by its git hash", async () => {
    fake.lastingFaults.push({ path: "config.json", flipAt: 3 });
    const error = await failure(download());
    expect(error).toMatchObject({ code: "BAD_FILE", message: expect.stringMatching(/config\.json.*git-sha1/) });
    expect(blobs()).not.toContain(gitHash(small));
  });

  test("waits as long as Retry-After asks, and says so", async () => {
    fake.faults.push({ path: "weights.bin", status: 429, retryAfter: "1" });
    const start = performance.now();
    expectComplete(await download());
    expect(performance.now() - start).toBeGreaterThan(990);
    expect(notes).toEqual([expect.stringMatching(/too many requests \(429\); trying again in 1\.0 s/)]);
  });

  test("hands retries to whoever wants to show them, with causes in words", async () => {
    fake.faults.push({ path: "weights.bin", cutAt: 1000 }, { path: "weights.bin", status: 503, retryAfter: "0" });
    const retries: HubRetry[] = [];
    expectComplete(await download({}, { onRetry: (retry: HubRetry) => retries.push(retry) }));
    expect(retries).toMatchObject([
      { subject: "test/model/weights.bin", reason: expect.stringMatching(/cut/), pause: expect.any(Number) },
      { subject: "test/model/weights.bin", reason: "the server failed (503)", pause: 0 },
    ]);
    expect(retries[0]?.reason).not.toMatch(/UND_ERR|ECONN/);
    expect(notes).toEqual([]);
  });

  test("fails at once when Retry-After asks for hours", async () => {
    fake.faults.push({ path: "weights.bin", status: 429, retryAfter: "7200" });
    const error = await failure(download());
    expect(error).toMatchObject({ code: "NETWORK", hint: expect.stringMatching(/wait for 7200 s.*HF_TOKEN/) });
  });

  const limited = (seconds: number, r = 0) => ({
    status: 429,
    headers: { ratelimit: `"api";r=${r};t=${seconds}`, "ratelimit-policy": '"fixed window";"api";q=500;w=300' },
  });

  test("waits until the hub's next window, however often it says so, and does not count that as failures", async () => {
    fake.faults.push(limited(0), limited(0), { path: "weights.bin", ...limited(0) });
    expectComplete(await download({}, { retry: { attempts: 1 } }));
    expect(notes).toHaveLength(3);
    expect(notes[0]).toBe("test/model@main: too many requests (429); trying again in 1.0 s");
  });

  test("says once that it waits, for however many files", async () => {
    const files = Object.fromEntries(["a.txt", "b.txt", "c.txt", "d.txt"].map((name) => [name, name]));
    fake.repositories.set("test/model", { files });
    const all = fake.once(() => fake.seen.filter(({ path }) => path.includes("/resolve/")).length === 4);
    fake.faults.push(...Object.keys(files).map((name) => ({ path: name, after: all, ...limited(3) })));
    await download();
    expect(notes).toEqual([expect.stringMatching(/too many requests \(429\); trying again in 4\.0 s/)]);
  });

  test("gives up when the sum of such pauses is too long, and names the time", async () => {
    fake.lastingFaults.push(limited(1));
    const error = await failure(download({}, { retry: { maxRetryAfterMs: 3000 } }));
    expect(error).toMatchObject({ code: "NETWORK", message: "test/model@main: too many requests (429)" });
    expect(error.hint).toMatch(/^wait for 2 s, until .*\d\d:\d\d:\d\d, and run the same command again/);
  });

  test.each([
    ['"api";r=0;t=55', 56_000],
    ['"api";t=55;r=0', 56_000],
    ['"api"; r=0; t=300', 301_000],
    ['"api";t=7', 8000],
    ['"api";r=0;t=55, "resolvers";r=0;t=120, "pages";r=10;t=299', 121_000],
    ["limit=100, remaining=0, reset=5", 6000],
    ['"api";r=12;t=55', undefined],
    ['"api";r=0', undefined],
    ['"api";r=0;t=-5', undefined],
    ['"api";r=0;t=99999999999999999999', undefined],
    ['"t=9";r=0', undefined],
    ["soon", undefined],
    ["", undefined],
    [null, undefined],
  ])("RateLimit: %s means %s ms", (header, ms) => {
    expect(readRateLimit(header)).toBe(ms);
  });

  test("reads both forms of Retry-After", () => {
    const now = Date.parse("2026-01-01T00:00:00Z");
    expect(readRetryAfter("120", now)).toBe(120_000);
    expect(readRetryAfter("Thu, 01 Jan 2026 00:00:30 GMT", now)).toBe(30_000);
    expect(readRetryAfter("Wed, 31 Dec 2025 00:00:00 GMT", now)).toBe(0);
    expect(readRetryAfter("soon", now)).toBeUndefined();
    expect(readRetryAfter(null, now)).toBeUndefined();
  });
});

describe("a partial file", () => {
  const partial = () => join(modelFolder(), "blobs", `${sha256(large)}.incomplete`);
  const leave = (content: Buffer) => {
    mkdirSync(join(modelFolder(), "blobs"), { recursive: true });
    writeFileSync(partial(), content);
  };

  test.each([1, 1_234_567, large.length - 1])("of %d bytes is continued", async (length) => {
    leave(large.subarray(0, length));
    expectComplete(await download());
    expect(fake.sent).toBe(large.length - length + small.length);
    expect(fake.seen.find(({ sent, path }) => sent > 0 && path.includes("weights"))?.headers.range).toBe(
      `bytes=${length}-`,
    );
  });

  test("that is whole needs no request", async () => {
    leave(large);
    expectComplete(await download());
    expect(fake.sent).toBe(small.length);
  });

  test.each([
    ["damaged", Buffer.concat([Buffer.alloc(10), large.subarray(10, 2_000_000)])],
    ["too long", Buffer.concat([large, Buffer.alloc(1)])],
  ])("that is %s is replaced", async (_, content) => {
    leave(content);
    expectComplete(await download());
  });

  test("is left by an abort, and continued by the next call", async () => {
    const controller = new AbortController();
    const onProgress = ({ allDoneBytes }: DownloadProgress) => {
      if (allDoneBytes > 1_000_000) {
        controller.abort();
      }
    };
    const error = await failure(download({ signal: controller.signal, onProgress }));
    expect(error.code).toBe("ABORTED");
    const kept = readFileSync(partial());
    expect(kept.length).toBeGreaterThan(900_000);
    expect(kept.equals(large.subarray(0, kept.length))).toBe(true);
    expect(readdirSync(join(cacheDir, ".locks", "models--test--model"))).toEqual([]);

    fake.seen.length = 0;
    expectComplete(await download());
    expect(fake.sent).toBe(large.length - kept.length);
  });

  test("is left by an abort during a pause, which ends at once", async () => {
    fake.lastingFaults.push({ path: "weights.bin", status: 503, retryAfter: "300" }); // longer than a test may take
    const controller = new AbortController();
    const hub = { ...(await hubWith()), onNote: () => setImmediate(() => controller.abort()) };
    const repository = await openRepository(hub, { name: "test/model", revision: "main" });
    const aborted = downloadFiles(hub, repository, { files: ["weights.bin"], signal: controller.signal });
    expect((await failure(aborted)).code).toBe("ABORTED");
  });

  test("of other files stops when one file cannot be had, and can be continued", async () => {
    fake.repositories.set("test/model", { files: { "a.bin": randomBytes(3_000_000), "b.txt": "b" } });
    let begun = () => {};
    const after = new Promise<void>((resolve) => {
      begun = resolve;
    });
    fake.lastingFaults.push({ path: "a.bin", stallAt: 1_000_000 }, { path: "b.txt", status: 403, after });
    const onProgress = ({ file, doneBytes }: DownloadProgress) => {
      if (file === "a.bin" && doneBytes > 0) {
        begun();
      }
    };
    const error = await failure(download({ onProgress }, { retry: { stallMs: 60_000 } }));
    expect(error.message).toMatch(/b\.txt/);
    expect(blobs()).toEqual([expect.stringMatching(/incomplete$/)]);
  });
});

describe("errors say what to do", () => {
  const open = async (name: string, options = {}, revision = "main") =>
    failure(openRepository(await hubWith(options), { name, revision }));

  test("a repository that does not exist", async () => {
    const error = await open("test/nothing");
    expect(error).toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringMatching(/no repository test\/nothing on http/),
    });
    expect(error.hint).toMatch(/check the name; .* set HF_TOKEN/);
    expect((await open("test/nothing", { token })).hint).toMatch(/the token in HF_TOKEN may read it/);
  });

  test("a revision that does not exist", async () => {
    const error = await open("test/model", {}, "v9");
    expect(error).toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringMatching(/no such revision: test\/model@v9/),
    });
  });

  test("a file that does not exist", async () => {
    const error = await failure(download({ files: ["nothing.bin"] }));
    expect(error).toMatchObject({ code: "NOT_FOUND", message: "test/model holds no nothing.bin" });
  });

  test("a private repository, without the token and with it", async () => {
    fake.repositories.set("test/private", { files: { a: "a", "b.bin": large }, token });
    expect((await open("test/private")).hint).toMatch(/HF_TOKEN/);
    const folder = await download({}, { token }, "test/private");
    expect(readFileSync(join(folder, "b.bin")).equals(large)).toBe(true);
  });

  test("a gated repository", async () => {
    fake.repositories.set("test/gated", { files: { a: "a" }, token: "hf_other", gated: true });
    expect(await open("test/gated")).toMatchObject({
      message: expect.stringMatching(/gated: its licence/),
      hint: expect.stringMatching(/accept it at http.*\/test\/gated, then set HF_TOKEN/),
    });
    expect(await open("test/gated", { token })).toMatchObject({
      message: expect.stringMatching(/the token in HF_TOKEN has no access/),
      hint: expect.stringMatching(/accept its licence/),
    });
  });

  test("a token that is not valid", async () => {
    const error = await open("test/model", { token: "hf_invalid" });
    expect(error.message).toMatch(/does not accept the token in HF_TOKEN/);
    expect(error.hint).toMatch(/settings\/tokens/);
  });

  test("a hub that cannot be reached", async () => {
    await fake.stop();
    const error = await open("test/model", { retry: { attempts: 2 } });
    expect(error).toMatchObject({
      code: "NETWORK",
      message: expect.stringMatching(/cannot reach 127.*connection refused/),
    });
    expect(error.hint).toMatch(/https_proxy.*HF_ENDPOINT.*HF_HUB_OFFLINE/);
  });

  test.each([
    ["<html>Please log in to the hotel's network</html>"],
    ["[]"],
    ["{}"],
    ['{"sha": "../../../etc"}'],
    ["null"],
  ])("an answer that is not the hub's: %s", async (body) => {
    const error = await open("test/model", { fetch: async () => new Response(body) });
    expect(error).toMatchObject({ code: "NETWORK", message: expect.stringMatching(/not what was expected/) });
    expect(error.hint).toMatch(/proxy/);
  });

  test.each(["../evil", "a/../../evil", "/etc/passwd", "a\\b", "a//b", "c:x", "a\u0000b", "."])(
    "a listing with the unsafe path %j",
    async (path) => {
      fake.repositories.set("test/model", { files: { [path]: "x" } });
      expect(await open("test/model")).toMatchObject({ code: "BAD_FILE", message: expect.stringMatching(/unsafe/) });
    },
  );
});

describe("the token", () => {
  test("goes to the hub but not to the host of the contents", async () => {
    fake.repositories.set("test/model", { files: { "config.json": small, "weights.bin": large }, token });
    expectComplete(await download({}, { token }));
    const host = new URL(fake.url).host;
    for (const { host: asked, headers } of fake.seen) {
      expect(headers.authorization).toBe(asked === host ? `Bearer ${token}` : undefined);
    }
    expect(fake.seen.some(({ host: asked }) => asked !== host)).toBe(true);
  });

  test("and signed addresses appear in no note and no error", async () => {
    fake.repositories.set("test/private", { files: { "a.bin": large }, token: "hf_other" });
    const errors = [
      await failure(openRepository(await hubWith({ token }), { name: "test/private", revision: "main" })),
    ];
    for (const fault of [{ status: 500 }, { status: 403 }, { flipAt: 1 }, { cutAt: 0 }]) {
      fake.lastingFaults.splice(0, 1, { path: "weights.bin", ...fault });
      errors.push(await failure(download({}, { token, retry: { attempts: 2 } })));
    }
    for (const error of errors) {
      for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
        expect(`${cause.stack} ${JSON.stringify(cause)}`).not.toMatch(/hf_[a-z]|signature|secret/);
      }
    }
    expect(notes.length).toBeGreaterThan(3);
    expect(notes.join("\n")).not.toMatch(/hf_[a-z]|signature|secret/);
  });
});

describe("offline", () => {
  test("what was downloaded is found without a request", async () => {
    const folder = await download();
    await fake.stop();
    expect(await download({}, { offline: true })).toBe(folder);
    const commit = fake.commitOf("test/model");
    const repository = await openRepository(await hubWith({ offline: true }), { name: "test/model", revision: commit });
    expect(repository.files.map(({ path }) => path)).toEqual(["config.json", "weights.bin"]);
  });

  test("what was not downloaded is an error that says how to get it", async () => {
    const error = await failure(download({}, { offline: true }));
    expect(error).toMatchObject({ code: "NOT_FOUND", hint: expect.stringMatching(/unset HF_HUB_OFFLINE/) });
    expect(fake.seen).toEqual([]);
  });

  test("the cache also serves while the hub cannot be reached", async () => {
    const folder = await download();
    await fake.stop();
    expect(await download({}, { retry: { attempts: 2 } })).toBe(folder);
    expect(notes.at(-1)).toMatch(/using the files in the cache/);
  });

  test("but it does not hide that the hub refuses", async () => {
    await download();
    fake.repositories.delete("test/model");
    expect((await failure(download())).code).toBe("NOT_FOUND");
  });
});

describe("names of repositories", () => {
  test.each([
    ["microsoft/BitNet-b1.58-2B-4T", "microsoft/BitNet-b1.58-2B-4T", "main"],
    ["a/b@v1.0", "a/b", "v1.0"],
    ["a/b@refs/pr/1", "a/b", "refs/pr/1"],
  ])("%s", (text, name, revision) => {
    expect(parseRepositoryName(text)).toEqual({ name, revision });
  });

  test.each([
    "",
    "a",
    "a/b/c",
    "../b",
    "a/..",
    "a/b@",
    "a/b@../x",
    "a/b@x//y",
    "a/b@x/",
    "a b/c",
    "/a/b",
    "a/b--c",
    "a/b?x",
  ])("%j is none", (text) => {
    expect(parseRepositoryName(text)).toBeUndefined();
  });
});
