// What servers, and what stands in front of them, answer about a download that was begun before.

import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { downloadFiles } from "../../src/hub/download.js";
import { openHub } from "../../src/hub/http.js";
import { openRepository } from "../../src/hub/repository.js";
import type { BitnetError } from "../../src/system/errors.js";
import { FakeHub, type Fault, sha256 } from "../support/fake-hub.js";

const content = randomBytes(3_000_000);
const begun = 1_000_000; // bytes that an earlier run has left
const rest = content.length - begun;

let fake: FakeHub;
let cacheDir: string;
let notes: string[];

beforeEach(async () => {
  fake = await FakeHub.start();
  cacheDir = mkdtempSync(join(tmpdir(), "bitnet-resume-"));
  notes = [];
  fake.repositories.set("test/model", { files: { "weights.bin": content } });
  leave(content.subarray(0, begun));
});
afterEach(async () => {
  await fake.stop();
  rmSync(cacheDir, { recursive: true, force: true });
});

const blob = () => join(cacheDir, "models--test--model", "blobs", sha256(content));
const partial = () => `${blob()}.incomplete`;

function leave(bytes: Buffer): void {
  mkdirSync(join(cacheDir, "models--test--model", "blobs"), { recursive: true });
  writeFileSync(partial(), bytes);
}

async function download(): Promise<Buffer> {
  const hub = await openHub({
    environment: { endpoint: fake.url, cacheDir, offline: false },
    retry: { baseDelayMs: 1, maxDelayMs: 4, attempts: 6 },
    onNote: (text) => notes.push(text),
  });
  const repository = await openRepository(hub, { name: "test/model", revision: "main" });
  return readFileSync(join(await downloadFiles(hub, repository, { files: ["weights.bin"] }), "weights.bin"));
}

async function failure(): Promise<BitnetError> {
  return download().then(
    () => expect.unreachable("it succeeded"),
    (error) => error,
  );
}

const page = "<html>The service is being maintained</html>";
const unsatisfied = (total: string | number) => ({ status: 416, headers: { "content-range": `bytes */${total}` } });

describe("once, and it goes on at the byte where it was:", () => {
  test.each([
    ["416", { status: 416 }],
    ["416 with the right size", unsatisfied(content.length)],
    ["416 with another size", unsatisfied(500)],
    ["400 of a signed address", { status: 400 }],
    ["401 of a signed address", { status: 401 }],
    ["403 of a signed address", { status: 403 }],
    ["404 of a signed address", { status: 404 }],
    ["410 of a signed address", { status: 410 }],
    ["204", { status: 204 }],
    ["a page with 200", { page }],
    ["a whole answer of another length", { ignoreRange: true, shortAt: 2_500_000 }],
    ["a part that begins too late", { shiftRange: 10 }],
    ["a part of a file of another size", { headers: { "content-range": `bytes ${begun}-${begun + 9}/${begun + 10}` } }],
    ["a part without its place", { headers: { "content-range": "" } }],
    ["a part with a place that is none", { headers: { "content-range": "bytes one-two/3" } }],
    ["a part behind the end of the file", { headers: { "content-range": `bytes ${begun}-9999999999/*` } }],
    ["a compressed part", { gzip: true }],
    ["an answer for several parts", { headers: { "content-range": "", "content-type": "multipart/byteranges" } }],
  ] as [string, Fault][])("%s", async (_, fault) => {
    fake.faults.push({ path: "weights.bin", ...fault });
    expect((await download()).equals(content)).toBe(true);
    const used = fake.seen.findLast(({ path }) => path.includes("?signature"));
    expect([used?.headers.range, used?.sent]).toEqual([`bytes=${begun}-`, rest]);
    expect(existsSync(partial())).toBe(false);
    expect(notes).toHaveLength(1);
  });

  test("a signed address that is too old is replaced by a new one of the hub", async () => {
    fake.faults.push({ path: "weights.bin", status: 403 });
    await download();
    const addresses = fake.seen.map(({ path }) => path).filter((path) => path.includes("?signature"));
    expect(addresses).toHaveLength(2);
    expect(new Set(addresses).size).toBe(2);
  });

  test.each([
    ["a part that begins before what is missing", { shiftRange: -1000 }, rest + 1000],
    ["another ETag of the same contents", { headers: { etag: '"another"' } }, rest],
    ["parts that are smaller than what was asked for", { partBytes: 700_000 }, rest],
  ] as [string, Fault, number][])("%s is used at once", async (_, fault, sent) => {
    fake.lastingFaults.push({ path: "weights.bin", ...fault });
    expect((await download()).equals(content)).toBe(true);
    expect(fake.sent).toBe(sent);
    expect(notes).toEqual([]);
  });
});

describe("always, and the file comes whole:", () => {
  test.each([
    ["416 to every part", { status: 416 }],
    ["416 with another size to every part", unsatisfied(500)],
    ["parts of a file of another size", { headers: { "content-range": "bytes 0-9/10" } }],
    ["parts without their place", { headers: { "content-range": "" } }],
    ["compressed parts", { gzip: true }],
    ["a page for every part", { page }],
    ["204 to every part", { status: 204 }],
    ["200 to every part", { ignoreRange: true }],
  ] as [string, Fault][])("%s", async (_, fault) => {
    fake.lastingFaults.push({ path: "weights.bin", ranged: true, ...fault });
    expect((await download()).equals(content)).toBe(true);
    const used = fake.seen.findLast(({ path }) => path.includes("?signature"));
    expect(used?.sent).toBe(content.length);
    expect(notes.length).toBeLessThanOrEqual(2);
  });

  test("compressed contents are taken as what they are", async () => {
    fake.lastingFaults.push({ path: "weights.bin", gzip: true });
    expect((await download()).equals(content)).toBe(true);
  });

  test("a partial file of other contents is replaced", async () => {
    leave(randomBytes(begun));
    expect((await download()).equals(content)).toBe(true);
    expect(fake.sent).toBe(rest + content.length);
    expect(notes).toEqual([expect.stringMatching(/its checksum is wrong; downloading it again/)]);
  });

  test("a revision that means another commit now is begun anew", async () => {
    const newer = randomBytes(2_000_000);
    fake.repositories.set("test/model", { files: { "weights.bin": newer }, commit: "ab".repeat(20) });
    expect((await download()).equals(newer)).toBe(true);
    expect(fake.sent).toBe(newer.length);
  });
});

describe("always, and nothing helps: an error soon, and what was there stays:", () => {
  test.each([
    ["a storage host that refuses", { status: 403 }, /refuses access to test\/model\/weights\.bin \(403\)/, /clock/],
    ["416 even to the whole file", { status: 416 }, /has no byte 1000000/, /run the same command again/],
    ["a page in place of everything", { page }, /a web page came instead of the file/, /run the same/],
    ["a redirect to nowhere", { redirect: "http://[" }, /not safe/, /HF_ENDPOINT/],
    ["a redirect to a file of this machine", { redirect: "file:///etc/passwd" }, /not safe/, /HF_ENDPOINT/],
  ] as [string, Fault, RegExp, RegExp][])("%s", async (_, fault, message, hint) => {
    fake.lastingFaults.push({ path: "weights.bin", ...fault });
    expect(await failure()).toMatchObject({
      code: "NETWORK",
      message: expect.stringMatching(message),
      hint: expect.stringMatching(hint),
    });
    expect(fake.seen.length).toBeLessThan(20);
    expect(readFileSync(partial()).equals(content.subarray(0, begun))).toBe(true);

    fake.lastingFaults.length = 0;
    fake.seen.length = 0;
    expect((await download()).equals(content)).toBe(true);
    expect(fake.sent).toBe(rest);
  });

  test("redirects in a circle", async () => {
    const here = `${fake.url}/test/model/resolve/${fake.commitOf("test/model")}/weights.bin`;
    fake.lastingFaults.push({ path: "weights.bin", redirect: here });
    expect(await failure()).toMatchObject({
      code: "NETWORK",
      message: expect.stringMatching(/more than 10 redirects/),
    });
    expect(fake.seen.length).toBeLessThan(20);
    expect(readFileSync(partial()).equals(content.subarray(0, begun))).toBe(true);
  });
});
