// bitnet batch as a process: exit statuses, what it prints, being killed, and lines on a server.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { bundledModel } from "../../src/models/bundled.js";
import { writeRequests } from "../support/batch-requests.js";
import { root, runBitnet, untilWritten } from "../support/fixtures.js";
import { startTestServer } from "../support/serve.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-batch-command-"));
const at = (name: string) => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true }));

const batch = (input: string, output: string, ...more: string[]) =>
  runBitnet(["batch", input, "-o", at(output), "--ordered", ...more]);

// So many take seconds: this process may be late with its signal.
const lineCount = 600;

test("a run that was killed is gone on with by the same command, to the bytes of one that was not", async () => {
  const input = writeRequests(at("long.jsonl"), lineCount, { temperature: 1, max_tokens: 40, ignore_eos: true });
  const whole = await batch(input, "whole.jsonl", "--json", "-np", "2");
  expect(whole).toMatchObject({ status: 0 });
  expect(JSON.parse(whole.stdout)).toMatchObject({
    ...{ total: lineCount, succeeded: lineCount, failed: 0, left: 0, isComplete: true },
  });
  const partial = at("killed.jsonl.partial");
  const child = spawn(process.execPath, [
    ...[join(root, "bin", "bitnet.js"), "batch", input, "-o", at("killed.jsonl"), "--ordered", "-np", "2"],
  ]);
  const gone = new Promise((resolve) => child.once("exit", resolve));
  await untilWritten(partial, child);
  child.kill("SIGKILL");
  await gone;
  expect(existsSync(at("killed.jsonl"))).toBe(false);
  const second = await batch(input, "killed.jsonl", "--json");
  expect(second.status).toBe(0);
  expect(JSON.parse(second.stdout).kept).toBeGreaterThan(0);
  expect(readFileSync(at("killed.jsonl"), "utf8")).toBe(readFileSync(at("whole.jsonl"), "utf8"));
  expect(existsSync(partial)).toBe(false);
});

test("Ctrl-C lets running lines end, says how to go on, and ends with 130", async () => {
  const input = writeRequests(at("stopped.jsonl"), 3000, { max_tokens: 40, ignore_eos: true });
  const child = spawn(process.execPath, [
    ...[join(root, "bin", "bitnet.js"), "batch", input, "-o", at("stopped-out.jsonl"), "-np", "2"],
  ]);
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const status = new Promise((resolve) => child.once("close", resolve));
  const partial = at("stopped-out.jsonl.partial");
  await untilWritten(partial, child);
  child.kill("SIGINT");
  expect(await status).toBe(130);
  expect(stderr).toMatch(/are left; the same command goes on with them/);
  const lines = readFileSync(partial, "utf8").trim().split("\n");
  expect(lines.every((line) => JSON.parse(line).error === null)).toBe(true);
  expect(lines.length).toBeLessThan(3000);
});

test("faults end with 2 and a line each, failures with 1", async () => {
  writeFileSync(at("bad.jsonl"), '{"custom_id":"a","url":"/v1/x","body":{}}\n{oops\n');
  const bad = await batch(at("bad.jsonl"), "bad-out.jsonl");
  expect(bad.status).toBe(2);
  expect(bad.stderr).toMatch(
    /bad\.jsonl:1: url: expected one of .*\n.*bad\.jsonl:2: expected a JSON object.*\nerror: .*2 faults/s,
  );
  expect(bad.stdout).toBe("");
  const failing = await batch(writeRequests(at("failing.jsonl"), 2, { temperature: -1 }), "failing-out.jsonl");
  expect(failing.status).toBe(1);
  expect(failing.stderr).toMatch(/2 failed: 2 invalid_value/);
});

test("lines of text are prompts", async () => {
  writeFileSync(at("prompts.txt"), "Once upon a time\nThe dog\n");
  const { status } = await batch(at("prompts.txt"), "prompts-out.jsonl", "--text", "-n", "3", "--quiet");
  expect(status).toBe(0);
  const lines = readFileSync(at("prompts-out.jsonl"), "utf8").trim().split("\n");
  expect(lines.map((line) => JSON.parse(line).response.body.usage.completion_tokens)).toEqual([3, 3]);
});

test("a server gives the same bytes as the model here", async () => {
  await using server = await startTestServer({ sampling: {}, modelPath: bundledModel.path });
  const input = writeRequests(at("both.jsonl"), 12, { temperature: 1 });
  expect((await batch(input, "here.jsonl", "--quiet")).status).toBe(0);
  expect((await batch(input, "there.jsonl", "--server", server.url)).status).toBe(0);
  expect(readFileSync(at("there.jsonl"), "utf8")).toBe(readFileSync(at("here.jsonl"), "utf8"));
});

test("with the same defaults on both sides, lines that say nothing of sampling get the same bytes, too", async () => {
  const input = writeRequests(at("silent.jsonl"), 6);
  const server = spawn(process.execPath, [
    ...[join(root, "bin", "bitnet.js"), "serve", "--port", "0", "--json", "--quiet", "--no-ui"],
  ]);
  try {
    const started = await new Promise<string>((resolve) => {
      server.stdout.once("data", (data: Buffer) => resolve(data.toString()));
    });
    const [url] = JSON.parse(started).urls;
    expect((await batch(input, "silent-there.jsonl", "--server", url)).status).toBe(0);
    expect((await batch(input, "silent-here.jsonl")).status).toBe(0);
    expect(readFileSync(at("silent-there.jsonl"), "utf8")).toBe(readFileSync(at("silent-here.jsonl"), "utf8"));
  } finally {
    server.kill("SIGKILL");
  }
});

test("a full disk ends the run with what to do; nothing is lost, and the same command goes on", async () => {
  const input = writeRequests(at("full.jsonl"), 60, { temperature: 1 });
  const run = (name: string, limit: string) => {
    const command = `ulimit -f ${limit}; exec "$@"`;
    const bitnet = [process.execPath, join(root, "bin", "bitnet.js"), "batch", input, "-o", at(name), "--ordered"];
    const { status, stderr } = spawnSync("bash", ["-c", command, "bash", ...bitnet], { encoding: "utf8" });
    return { status, stderr };
  };
  expect(run("roomy.jsonl", "unlimited").status).toBe(0);
  const blocks = Math.floor(statSync(at("roomy.jsonl")).size / 1024);
  const full = run("full-out.jsonl", `${Math.floor(blocks / 2)}`);
  expect(full.status).toBe(1);
  expect(full.stderr).toMatch(/full-out\.jsonl\.partial: the file would be too large/);
  expect(full.stderr).toMatch(/make room; what is answered is kept: run the same command again/);
  expect(existsSync(at("full-out.jsonl"))).toBe(false);
  const lines = readFileSync(at("full-out.jsonl.partial"), "utf8").split("\n");
  const whole = lines.slice(0, -1);
  expect(whole.length).toBeGreaterThan(0);
  expect(whole.every((line) => JSON.parse(line).error === null)).toBe(true);
  const second = run("full-out.jsonl", "unlimited");
  expect(second).toMatchObject({
    status: 0,
    stderr: expect.stringContaining(`${whole.length} of them by an earlier run`),
  });
  expect(readFileSync(at("full-out.jsonl"), "utf8")).toBe(readFileSync(at("roomy.jsonl"), "utf8"));
  expect(readdirSync(folder).filter((name) => name.startsWith("full-out"))).toEqual(["full-out.jsonl"]);
});

test.each([
  [["-m", "a", "--server", "http://127.0.0.1:1"], 2, /one of -m, --server and --redis/],
  [["--shard", "2/2"], 2, /0\/4/],
  [["--server", "nowhere"], 2, /--server: expected the address of a server like http:/],
  [["--server", "localhost:8080"], 2, /address of a server/],
  [["--server", "http://user:secret@127.0.0.1"], 2, /address of a server/],
  [["--redis", "http://x"], 2, /--redis: expected the address of Redis like redis:/],
  [["--redis", "x:secret@127.0.0.1"], 2, /address of Redis/],
  [["--redis", "redis://127.0.0.1:1", "--redis-queue", "a:b"], 2, /--redis-queue: expected letters/],
  [["--redis", "redis://:secret@127.0.0.1:1"], 1, /cannot use Redis at 127\.0\.0\.1:1: .*ECONNREFUSED/],
])("%j is told in one line", async (options, status, message) => {
  const result = await batch(writeRequests(at("one.jsonl"), 1), "one-out.jsonl", ...options);
  expect(result.status).toBe(status);
  expect(result.stderr).toMatch(message);
  expect(result.stderr).not.toContain("secret");
});

test("a file that is not there, and an output that is a folder, are told", async () => {
  expect((await batch(at("none.jsonl"), "out.jsonl")).stderr).toMatch(/none\.jsonl: no such file/);
  expect((await batch(writeRequests(at("one.jsonl"), 1), ".")).stderr).toMatch(/it is a directory/);
});
